// Which matrix products the kernels of gemm_mma.cuh take, and how they are cut.
//
// By arithmetic, not measured yet: a block pays for whole tiles, so products * padded volume has to stay below the rate
// of tensor cores to float32 units times the volume asked for. Tile and splits depend on the shape alone, never on the
// GPU at hand: they take one of kMultiprocessors.
#include "cuda/gemm_mma.h"

#include "cuda/context.h"
#include "cuda/gemm.h"

namespace deltarule::cuda {
namespace {

constexpr int64_t kMultiprocessors = 128;  // between A100's 108 and B200's 148
constexpr int64_t kLeast = 16;             // rows, columns
constexpr int64_t kLeastVolume = 1 << 20;  // multiply-adds: below, launching takes longer than either
constexpr int64_t kBlocksWanted = 256;     // 2 for each multiprocessor
constexpr int64_t kLeastDepth = 128;       // of k in a split
constexpr int64_t kMostSplits = 16, kMostBlocks = 0x7FFFFFFF;

struct Size {
  int64_t rows, columns;
};
constexpr Size kSizes[] = {{64, 64}, {128, 128}, {128, 256}};

// Time of 64 x 64 of C in a tile of this size by the number of planes, relative. Small tiles load more for each
// product: 4 bytes for 16, 32, 43 FLOP, which with one plane is more than L2 gives.
constexpr double kWeights[3][3] = {{2.5, 1.3, 1.0}, {1.5, 1.0, 0.0}, {1.2, 1.0, 0.0}};

constexpr int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

int planes_of(Precision precision) {
  return precision == Precision::highest ? 3 : precision == Precision::high ? 2 : 1;
}

bool worth(const GemmArgs& args, int planes) {
  if (args.M < kLeast || args.N < kLeast || args.K < kLeast) return false;
  const double volume = static_cast<double>(args.M) * static_cast<double>(args.N) * static_cast<double>(args.K);
  if (volume < kLeastVolume) return false;
  const double padded = 64.0 * 64.0 * 32.0 * static_cast<double>(blocks_of(args.M, 64)) *
                        static_cast<double>(blocks_of(args.N, 64)) * static_cast<double>(blocks_of(args.K, 32));
  const Context& gpu = here();
  if (mma_products(planes) * padded > mma_per_fma(gpu.major, gpu.minor) * volume) return false;
  return blocks_of(args.M, 64) <= kMostBlocks / blocks_of(args.N, 64);
}

MmaPlan plan_of(const GemmArgs& args, int planes) {
  MmaPlan plan{MmaSize::small, 1};
  double least = 0.0;
  for (const MmaSize tile : {MmaSize::small, MmaSize::large, MmaSize::wide}) {
    const Size size = kSizes[static_cast<int>(tile)];
    const double weight = kWeights[planes - 1][static_cast<int>(tile)];
    const int64_t blocks = blocks_of(args.M, size.rows) * blocks_of(args.N, size.columns);
    const double time = static_cast<double>(blocks_of(blocks, kMultiprocessors) * size.rows * size.columns) * weight;
    if (time > 0.0 && (least == 0.0 || time < least)) {
      least = time;
      plan.tile = tile;
    }
  }
  if (plan.tile == MmaSize::small) {
    const int64_t blocks = blocks_of(args.M, 64) * blocks_of(args.N, 64);
    const int64_t most = args.K / kLeastDepth < kMostSplits ? args.K / kLeastDepth : kMostSplits;
    const int64_t wanted = kBlocksWanted / blocks < most ? kBlocksWanted / blocks : most;
    plan.splits = wanted < 1 ? 1 : static_cast<int>(wanted);
  }
  return plan;
}

}  // namespace

bool mma_gemm(const GemmArgs& args) noexcept {
  if (args.dtype != DType::float32) return false;
  const int planes = planes_of(args.precision);
  if (!worth(args, planes)) return false;
  const MmaPlan plan = plan_of(args, planes);
  if (planes == 1) run_mma<1>(args, plan);
  else if (planes == 2) run_mma<2>(args, plan);
  else run_mma<3>(args, plan);
  return true;
}

}  // namespace deltarule::cuda
