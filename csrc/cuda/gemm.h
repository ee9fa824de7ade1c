// The kernels behind gemm's slot: each file's part of the shapes, gemm.cu chooses.
#pragma once

#include "kernels.h"

namespace deltarule::cuda {

// Tensor cores. False: not this shape or precision, nothing is queued.
bool mma_gemm(const GemmArgs& args) noexcept;     // gemm_mma.cu: planes of bfloat16, compute capability 8.0 and above
bool hopper_gemm(const GemmArgs& args) noexcept;  // gemm_hopper.cu: the same by wgmma, compute capability 9.0 alone

// CUDA cores: every shape but M = 0 and N = 0.
enum class GemmTile : uint8_t { small, medium, large };
struct GemmPlan {
  GemmTile tile;
  int splits;  // of K
};
// Whether its splits are added by a kernel of their own: one block takes longer for a large tile.
constexpr bool shares_have_a_kernel(int rows, int columns, int64_t size) { return rows * columns * size > 32768; }
void ffma_gemm(const GemmArgs& args, const GemmPlan& plan) noexcept;  // gemm_ffma.cu: float32
void dfma_gemm(const GemmArgs& args, const GemmPlan& plan) noexcept;  // gemm_dfma.cu: float64; large is medium

// A few rows or columns times a matrix that is read once; the smaller of M and N at most kFew.
constexpr int64_t kFew = 8;
void few_gemm(const GemmArgs& args) noexcept;  // gemm_few.cu

}  // namespace deltarule::cuda
