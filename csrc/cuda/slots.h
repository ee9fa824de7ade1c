// The slots of the CUDA table (kernels.h), each in the file named behind it.
#pragma once

#include "kernels.h"

namespace deltarule::cuda {

void gemm(const GemmArgs&) noexcept;                   // gemm.cu
void online(const OnlineArgs&) noexcept;               // online.cu
void unary(const UnaryArgs&) noexcept;                 // elementwise.cu
void binary(const BinaryArgs&) noexcept;               // elementwise.cu
void copy(const CopyArgs&) noexcept;                   // copy.cu
void activate(const ActivateArgs&) noexcept;           // elementwise.cu
void activate_grad(const ActivateGradArgs&) noexcept;  // elementwise.cu
void reduce(const ReduceArgs&) noexcept;               // reduce.cu
void softmax(const SoftmaxArgs&) noexcept;             // softmax.cu
void loss(const LossArgs&) noexcept;                   // loss.cu
void step(const StepArgs&) noexcept;                   // step.cu
void gather_rows(const GatherArgs&) noexcept;          // rows.cu
void find(const FindArgs&) noexcept;                   // rows.cu
void fill_random(const RandomArgs&) noexcept;          // random.cu
void dropout(const DropoutArgs&) noexcept;             // elementwise.cu
void deform(const DeformArgs&) noexcept;               // deform.cu
int64_t peak(int64_t rounds) noexcept;                 // peak.cu
void advance(const AdvanceArgs&) noexcept;             // step.cu
void clip(const ClipArgs&) noexcept;                   // step.cu
void train_rows(const TrainRowsArgs&) noexcept;        // train_rows.cu
bool trains_rows(const TrainRowsArgs&) noexcept;       // train_rows.cu

extern const Kernels table;  // table.cpp

}  // namespace deltarule::cuda
