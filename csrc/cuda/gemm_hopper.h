// How gemm_hopper.cu shares a product out: tiles, splits of K, and the order in which the blocks of threads take them.
// Plain functions of the shape, so that a test can walk through them (tests/test_cuda_gemm_hopper.py).
//
// Computes   C [M,N] is cut into tiles of 128 x `columns`, K into blocks of 64, and those into `splits` runs. A unit is
//            one run of one tile; a block of threads takes the units first, first + blocks, first + 2 blocks, ...
// Layout     Units in order: all tiles of the first split, then of the second. Tiles in bands of `band` rows of tiles,
//            each band column by column, so that the units under way at one time share rows and columns in L2:
//
//              band 2:   0  2  4  6
//                        1  3  5  7
//                        8  9 10 11
// Arithmetic The plan minimises an estimate of the time in cycles of a multiprocessor. Its constants are from
//            published figures for the H100 (see gemm_hopper.cu) and have to be measured. The number of splits depends
//            on the shape alone, also where a GPU has another number of multiprocessors: so do the results.
// Measured   Not run on hardware yet.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace deltarule::cuda {

constexpr int kHopperRows = 128, kHopperDepth = 64;  // of a tile; of a block of K

struct HopperPlan {
  int columns;  // of a tile: 128 or 256
  int splits;
  double cycles;  // estimated, all in all
};

struct HopperUnits {
  int row_tiles, column_tiles, depth_blocks, splits, band;

  constexpr int64_t count() const { return static_cast<int64_t>(row_tiles) * column_tiles * splits; }
};

struct HopperUnit {
  int row_tile, column_tile, split;
  int first_block, end_block;  // of K
};

constexpr HopperUnit hopper_unit(const HopperUnits& units, int64_t index) {
  const int tiles = units.row_tiles * units.column_tiles;
  const int split = static_cast<int>(index / tiles), tile = static_cast<int>(index % tiles);
  const int band_tiles = units.band * units.column_tiles, band = tile / band_tiles, within = tile % band_tiles;
  const int first_row = band * units.band, rows_left = units.row_tiles - first_row;
  const int height = rows_left < units.band ? rows_left : units.band;
  const int64_t blocks = units.depth_blocks;
  return {first_row + within % height, within / height, split, static_cast<int>(blocks * split / units.splits),
          static_cast<int>(blocks * (split + 1) / units.splits)};
}

constexpr int64_t hopper_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr HopperUnits hopper_units(int64_t M, int64_t N, int64_t K, const HopperPlan& plan) {
  const int columns = static_cast<int>(hopper_ceil_div(N, plan.columns));
  const int rows = static_cast<int>(hopper_ceil_div(M, kHopperRows));
  // Bands about as high as wide, in elements, where 132 tiles are under way.
  return {rows, columns, static_cast<int>(hopper_ceil_div(K, kHopperDepth)), plan.splits,
          plan.columns == 128 ? 12 : 16};
}

constexpr double kHopperClock = 1.7e9;  // cycles a second under this load
constexpr int64_t kHopperMultiprocessors = 132;
constexpr double kHopperLaunchCycles = 2500;  // from the end of one kernel to the first work of the next
constexpr double kHopperUnitCycles = 2000;    // until the first stage is loaded
constexpr double kHopperLoadBytes = 35;       // a cycle from L2 into one multiprocessor while all of them load
constexpr double kHopperStoreBytes = 20;      // the same for what the epilogue moves
constexpr double kHopperSplitRate = 2.5e12;   // bytes a second that the making of planes reads and writes
// FLOP a second of the best other kernel by the number of planes: planes made on the way to mma.sync.
constexpr double kHopperOtherwiseRate[4] = {0, 300e12, 110e12, 60e12};
constexpr double kHopperOtherwiseLeast = 5e-6;  // seconds of its launch, its first loads and its last stores

// Cycles for a block of K: 2048 multiply-adds each, or the loads.
constexpr double hopper_block_cycles(int planes, int columns) {
  const double products = planes == 3 ? 6 : planes == 2 ? 3 : 1;
  const double arithmetic = products * (kHopperRows * columns * kHopperDepth) / 2048;
  const double loads = planes * (kHopperRows + columns) * kHopperDepth * 2 / kHopperLoadBytes;
  return arithmetic > loads ? arithmetic : loads;
}

constexpr double hopper_cycles(int64_t M, int64_t N, int64_t K, int planes, int columns, int64_t splits) {
  const int64_t tiles = hopper_ceil_div(M, kHopperRows) * hopper_ceil_div(N, columns);
  const int64_t waves = hopper_ceil_div(tiles * splits, kHopperMultiprocessors);
  const int64_t blocks = hopper_ceil_div(hopper_ceil_div(K, kHopperDepth), splits);
  const double unit = kHopperUnitCycles + static_cast<double>(blocks) * hopper_block_cycles(planes, columns) +
                      kHopperRows * columns * 4 / kHopperStoreBytes;
  const double shares = static_cast<double>(splits * M * N * 4) / (kHopperMultiprocessors * kHopperStoreBytes);
  return static_cast<double>(waves) * unit + (splits > 1 ? kHopperLaunchCycles + shares : 0);
}

// planes 1 has the registers for tiles twice as wide, as it keeps one set of sums.
constexpr HopperPlan hopper_plan(int64_t M, int64_t N, int64_t K, int planes) {
  const int64_t depth_blocks = hopper_ceil_div(K, kHopperDepth);
  HopperPlan best{};
  for (int columns = 128; columns <= (planes == 1 ? 256 : 128); columns *= 2) {
    for (int splits = 1; splits <= 32 && splits <= depth_blocks; ++splits) {
      const double cycles = hopper_cycles(M, N, K, planes, columns, splits);
      if (best.splits == 0 || cycles < best.cycles) best = {columns, splits, cycles};
    }
  }
  return best;
}

// Whether this is estimated to be faster than what else there is.
constexpr bool hopper_pays(int64_t M, int64_t N, int64_t K, int planes, const HopperPlan& plan) {
  const double elements = static_cast<double>(M + N) * static_cast<double>(K);
  const double making = elements * (4 + 2 * planes) / kHopperSplitRate;
  const double here = making + (plan.cycles + kHopperLaunchCycles) / kHopperClock;
  const double flop = 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
  return here < flop / kHopperOtherwiseRate[planes] + kHopperOtherwiseLeast;
}

// hopper_gemm by this plan, whether it pays or not. False: not a Hopper GPU, not built for it, not float32, or no
// elements.
bool hopper_gemm(const GemmArgs& args, const HopperPlan& plan) noexcept;

}  // namespace deltarule::cuda
