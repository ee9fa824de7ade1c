// The matrix products of gemm's slot that run on tensor cores: each takes what it is better at than gemm.cu.
#pragma once

#include "kernels.h"

namespace deltarule::cuda {

// Planes of bfloat16, compute capability 8.0 and above. False: not this shape or precision, nothing is queued.
bool mma_gemm(const GemmArgs& args) noexcept;
// The same by wgmma, compute capability 9.0 alone.
bool hopper_gemm(const GemmArgs& args) noexcept;

}  // namespace deltarule::cuda
