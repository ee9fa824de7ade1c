// gemm's slot: which of the kernels takes a product. Every choice follows from the shape, the dtype and the generation
// of the GPU.
#include "cuda/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

// A tile of gemm_tile.cuh, in numbers that time is estimated with. Not measured yet.
struct TileFigures {
  GemmTile tile;
  int rows, columns, warps;
  double efficiency;  // of fma's peak on a full card
};
constexpr TileFigures kTiles32[] = {
    {GemmTile::large, 128, 128, 8, 0.9}, {GemmTile::medium, 64, 64, 4, 0.75}, {GemmTile::small, 32, 32, 2, 0.45}};
constexpr TileFigures kTiles64[] = {{GemmTile::medium, 64, 64, 4, 0.85}, {GemmTile::small, 32, 32, 2, 0.6}};
constexpr int kSplits[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
constexpr int64_t kSplitDepth = 64;  // of K, the least a split is worth
// Of an H100, for every card, so that the order of sums is the same on all.
constexpr int64_t kMultiprocessors = 132, kMostBlocks = 8 * kMultiprocessors;

// Clock cycles of a product, roughly: the multiprocessor with the most blocks multiplies all of their steps, slower as
// long as it has few warps, and no faster than memory's latency lets the steps follow each other.
double cycles(const TileFigures& tile, int64_t size, int64_t blocks, int64_t K, int splits) {
  constexpr double kStart = 2000, kStepLatency = 250, kDepth = 16;
  const double each = static_cast<double>(ceil_div(blocks, kMultiprocessors));
  const double steps = std::ceil(static_cast<double>(ceil_div<int64_t>(K, splits)) / kDepth);
  const double fma = (size == 4 ? 128 : 64) * tile.efficiency * std::min(1.0, 0.1 + 0.15 * tile.warps * each);
  return kStart + steps * std::max(kStepLatency, each * tile.rows * tile.columns * kDepth / fma);
}

// What adding up the splits costs: a block reads its tile's shares, or a kernel of its own all of them.
double cycles_of_shares(const TileFigures& tile, int64_t size, int64_t M, int64_t N, int splits) {
  if (splits == 1) return 0;
  const double tile_bytes = static_cast<double>(tile.rows * tile.columns * size) * splits;
  const double all_bytes = 2.0 * static_cast<double>(size * M) * static_cast<double>(N) * splits;
  return shares_have_a_kernel(tile.rows, tile.columns, size) ? 6000 + all_bytes / 1500 : 2000 + tile_bytes / 40;
}

GemmPlan plan(const GemmArgs& args) {
  const bool single = args.dtype == DType::float32;
  const int64_t size = single ? 4 : 8;
  GemmPlan best{};
  double least = 0;
  const auto consider = [&](const TileFigures& tile) {
    const int64_t tiles = ceil_div<int64_t>(args.M, tile.rows) * ceil_div<int64_t>(args.N, tile.columns);
    for (const int splits : kSplits) {
      if (splits > 1 && (args.K < kSplitDepth * splits || tiles * splits > kMostBlocks)) break;
      const double time =
          cycles(tile, size, tiles * splits, args.K, splits) + cycles_of_shares(tile, size, args.M, args.N, splits);
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

namespace {

// DELTARULE_CUDA_GEMM=ffma|mma|hopper: the best kernel to be considered, for benches.
enum class Best : uint8_t { ffma, mma, hopper, unknown };
Best best_allowed() {
  static const Best best = [] {
    const char* const given = std::getenv("DELTARULE_CUDA_GEMM");
    const std::string_view name = given == nullptr || *given == '\0' ? "hopper" : given;
    return name == "ffma" ? Best::ffma : name == "mma" ? Best::mma : name == "hopper" ? Best::hopper : Best::unknown;
  }();
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
    const Best best = best_allowed();
    if (best == Best::unknown)
      return report(cudaErrorInvalidValue, DELTARULE_HERE("gemm (DELTARULE_CUDA_GEMM wants ffma, mma or hopper)"));
    if (best >= Best::hopper && here().major == 9 && hopper_gemm(args)) return;
    if (best >= Best::mma && here().major >= 8 && mma_gemm(args)) return;
  }
  if (single) ffma_gemm(args, plan(args));
  else dfma_gemm(args, plan(args));
}

}  // namespace deltarule::cuda
