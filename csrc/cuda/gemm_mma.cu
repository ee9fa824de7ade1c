// Which matrix products the kernels of gemm_mma.cuh take, and how they are cut.
//
// By arithmetic, not measured yet: a block pays for whole tiles, so products times padded volume has to stay below the
// volume asked for times the rate of tensor cores to float32 units (mma_per_fma). Tile and splits depend on the shape
// alone, never on the GPU at hand: they take one of kMultiprocessors.
#include "cuda/gemm_mma.h"

#include "cuda/context.h"
#include "cuda/gemm.h"

namespace deltarule::cuda {
namespace {

constexpr int64_t kMultiprocessors = 128;  // between A100's 108 and B200's 148
constexpr int64_t kLeast = 16;             // rows, columns, k
constexpr double kLeastVolume = 1 << 20;   // multiply-adds; below, launching takes longer than either
constexpr int64_t kBlocksWanted = 256;     // 2 for each multiprocessor
constexpr int64_t kLeastDepth = 128;       // of k in a split
constexpr int64_t kMostSplits = 16;
constexpr int64_t kMostBlocks = 0x7FFFFFFF;

constexpr int64_t kRows[] = {64, 128, 128}, kColumns[] = {64, 128, 256};  // by MmaSize

// Time for the same part of C by the number of planes and MmaSize, relative; 0: there is none. Small tiles load more
// for each product (an operand's 4 bytes serve 32, 64 and 85 FLOP), which with one plane is more than L2 gives.
constexpr double kWeights[3][3] = {{2.5, 1.3, 1.0}, {1.5, 1.0, 0.0}, {1.2, 1.0, 0.0}};

constexpr int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

int planes_of(Precision precision) {
  return precision == Precision::highest ? 3 : precision == Precision::high ? 2 : 1;
}

}  // namespace

bool mma_pays(const GemmArgs& args, int major, int minor) noexcept {
  if (args.M < kLeast || args.N < kLeast || args.K < kLeast || args.K > kMostBlocks) return false;
  const auto volume = [](int64_t m, int64_t n, int64_t k) {
    return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  };
  const int64_t rows = blocks_of(args.M, 64), columns = blocks_of(args.N, 64);
  const double asked = volume(args.M, args.N, args.K);
  const double padded = volume(64 * rows, 64 * columns, 32 * blocks_of(args.K, 32));
  return asked >= kLeastVolume && rows <= kMostBlocks / columns &&
         mma_products(planes_of(args.precision)) * padded <= mma_per_fma(major, minor) * asked;
}

MmaPlan mma_plan(const GemmArgs& args) noexcept {
  MmaPlan plan{MmaSize::small, 1};
  double least = 0.0;
  for (int size = 0; size < 3; ++size) {
    const double weight = kWeights[planes_of(args.precision) - 1][size];
    const int64_t blocks = blocks_of(args.M, kRows[size]) * blocks_of(args.N, kColumns[size]);
    const int64_t area = blocks_of(blocks, kMultiprocessors) * kRows[size] * kColumns[size];
    const double time = weight * static_cast<double>(area);
    if (weight > 0.0 && (size == 0 || time < least)) {
      least = time;
      plan.tile = static_cast<MmaSize>(size);
    }
  }
  if (plan.tile == MmaSize::small) {
    int64_t splits = kBlocksWanted / (blocks_of(args.M, kRows[0]) * blocks_of(args.N, kColumns[0]));
    if (splits > args.K / kLeastDepth) splits = args.K / kLeastDepth;
    if (splits > kMostSplits) splits = kMostSplits;
    if (splits > 1) plan.splits = static_cast<int>(splits);
  }
  return plan;
}

bool mma_gemm(const GemmArgs& args) noexcept {
  if (args.dtype != DType::float32 || !mma_pays(args, here().major, here().minor)) return false;
  const MmaPlan plan = mma_plan(args);
  if (args.precision == Precision::highest) run_mma<3>(args, plan);
  else if (args.precision == Precision::high) run_mma<2>(args, plan);
  else run_mma<1>(args, plan);
  return true;
}

}  // namespace deltarule::cuda
