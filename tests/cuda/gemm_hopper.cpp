// gemm_hopper.cu for tests/tensor_cores.py.
#include "cuda/gemm_hopper.h"

#include "cuda/gemm.h"
#include "gemm_call.h"

using namespace deltarule::cuda;

// The tile is its number of columns.
EXPORTED const char* multiply(const Call* call, const Memory* memory, int count) {
  return run_call(*call, memory, count, [&](const deltarule::GemmArgs& args) {
    return call->tile < 0 ? hopper_gemm(args) : hopper_gemm(args, HopperPlan{call->tile, call->splits, 0});
  });
}

// Walks through all units: visits[row tile][column tile][block of K] += 1; the order is returned as tiles in `order`.
EXPORTED void hopper_walk(int64_t M, int64_t N, int64_t K, int columns, int splits, int32_t* visits, int32_t* order) {
  const HopperUnits units = hopper_units(M, N, K, {columns, splits, 0});
  for (int64_t index = 0; index < units.count(); ++index) {
    const HopperUnit unit = hopper_unit(units, index);
    const int64_t tile = static_cast<int64_t>(unit.row_tile) * units.column_tiles + unit.column_tile;
    order[index] = static_cast<int32_t>(tile);
    for (int block = unit.first_block; block < unit.end_block; ++block) ++visits[tile * units.depth_blocks + block];
  }
}

// columns, splits, pays
EXPORTED void hopper_planned(int64_t M, int64_t N, int64_t K, int planes, int32_t* plan) {
  const HopperPlan made = hopper_plan(M, N, K, planes);
  plan[0] = made.columns;
  plan[1] = made.splits;
  plan[2] = hopper_pays(M, N, K, planes, made);
}
