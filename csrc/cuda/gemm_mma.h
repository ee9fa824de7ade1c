// What gemm_mma.cu decides and the kernels of gemm_mma.cuh carry out, one file for each number of planes.
#pragma once

#include "kernels.h"

namespace deltarule::cuda {

enum class MmaSize : uint8_t { small, large, wide };  // of a block's tile: SmallTile, LargeTile, WideTile

struct MmaPlan {
  MmaSize tile;
  int splits;  // of K
};

// By the shape alone.
MmaPlan mma_plan(const GemmArgs& args) noexcept;

// Whether float32 without tensor cores would be slower on a GPU of this capability.
bool mma_pays(const GemmArgs& args, int major, int minor) noexcept;

template <int Planes> void run_mma(const GemmArgs& args, const MmaPlan& plan) noexcept;
extern template void run_mma<1>(const GemmArgs&, const MmaPlan&) noexcept;  // gemm_mma_medium.cu
extern template void run_mma<2>(const GemmArgs&, const MmaPlan&) noexcept;  // gemm_mma_high.cu
extern template void run_mma<3>(const GemmArgs&, const MmaPlan&) noexcept;  // gemm_mma_highest.cu

// Multiply-adds of the tensor cores by mma.sync for one of the float32 units: with as many products of planes float32
// is as fast. Estimates until measured: published are 16 for A100, 15 for H100 by wgmma, of which mma.sync reaches
// about 0.6, and 2 for GPUs for graphics where sums are float32 (4 on some workstation cards).
constexpr int mma_per_fma(int major, int minor) {
  return major == 8 && minor == 0 ? 12 : major == 9 ? 9 : major == 10 ? 7 : major >= 8 ? 2 : 0;
}

constexpr int mma_products(int planes) { return planes * (planes + 1) / 2; }

}  // namespace deltarule::cuda
