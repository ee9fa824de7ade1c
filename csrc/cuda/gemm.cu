// gemm's slot: which of the kernels takes a product. Every choice follows from the shape, the dtype and the generation
// of the GPU.
#include "cuda/gemm.h"

#include <algorithm>

#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

// A tile of gemm_tile.cuh, in numbers that time is estimated with. Not measured yet.
struct TileFigures {
  GemmTile tile;
  int rows, columns;
  double efficiency;  // of fma's peak with the card full
};
constexpr TileFigures kTiles32[] = {
    {GemmTile::large, 128, 128, 0.9}, {GemmTile::medium, 64, 64, 0.75}, {GemmTile::small, 32, 32, 0.45}};
constexpr TileFigures kTiles64[] = {{GemmTile::medium, 64, 64, 0.85}, {GemmTile::small, 32, 32, 0.6}};
constexpr int kSplits[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};

// Clock cycles of a product on a card of 132 multiprocessors, roughly: the busiest one's blocks, but no block faster
// than memory's latency lets its steps of k follow each other, and the splits' second pass. The constant number keeps
// the order of sums the same on every card.
double cycles(const TileFigures& tile, double fma_a_cycle, int64_t M, int64_t N, int64_t K, int splits) {
  constexpr double kMultiprocessors = 132, kStep = 16, kStepCycles = 250, kBlockCycles = 2000, kSplitCycles = 2000;
  const double tiles = static_cast<double>(ceil_div<int64_t>(M, tile.rows) * ceil_div<int64_t>(N, tile.columns));
  const double steps = static_cast<double>(ceil_div<int64_t>(ceil_div<int64_t>(K, splits), 16));
  const double blocks_each =
      static_cast<double>(static_cast<int64_t>((tiles * splits + kMultiprocessors - 1) / kMultiprocessors));
  const double step = tile.rows * tile.columns * kStep / (fma_a_cycle * tile.efficiency);
  const double alone = steps * std::max(step, kStepCycles);
  const double shares = splits == 1 ? 0 : kSplitCycles + 100.0 * splits;
  return kBlockCycles + std::max(alone, blocks_each * steps * step) + shares;
}

GemmPlan plan(const GemmArgs& args) {
  const bool single = args.dtype == DType::float32;
  GemmPlan best{};
  double least = 0;
  const auto consider = [&](const TileFigures& tile) {
    for (const int splits : kSplits) {
      if (splits > 1 && args.K < 64 * int64_t{splits}) break;
      const double time = cycles(tile, single ? 128 : 64, args.M, args.N, args.K, splits);
      if (least != 0 && time >= least) continue;
      least = time;
      best = {tile.tile, splits};
    }
  };
  if (single) std::for_each(std::begin(kTiles32), std::end(kTiles32), consider);
  else std::for_each(std::begin(kTiles64), std::end(kTiles64), consider);
  return best;
}

}  // namespace

void gemm(const GemmArgs& args) noexcept {
  if (args.N == 0) return;
  const bool single = args.dtype == DType::float32;
  if (args.M == 0) {
    if (args.epilogue == Epilogue::backprop && args.db != nullptr)
      report(cudaMemsetAsync(args.db, 0, static_cast<size_t>(args.N) * (single ? 4 : 8), here().stream),
             DELTARULE_HERE("gemm"));
    return;
  }
  if (std::min(args.M, args.N) <= kFew) return few_gemm(args);
  if (single && args.K > 0) {
    if (here().major == 9 && hopper_gemm(args)) return;
    if (here().major >= 8 && mma_gemm(args)) return;
  }
  if (single) ffma_gemm(args, plan(args));
  else dfma_gemm(args, plan(args));
}

}  // namespace deltarule::cuda
