// gemm_mma.cuh for tests/tensor_cores.py.
#include "cuda/gemm_mma.h"

#include "cuda/gemm.h"
#include "gemm_call.h"

using namespace deltarule;
using namespace deltarule::cuda;

// The tile is its MmaSize.
EXPORTED const char* multiply(const Call* call, const Memory* memory, int count) {
  return run_call(*call, memory, count, [&](const GemmArgs& args) {
    if (call->tile < 0) return mma_gemm(args);
    const MmaPlan plan{static_cast<MmaSize>(call->tile), call->splits};
    if (args.precision == Precision::highest) run_mma<3>(args, plan);
    else if (args.precision == Precision::high) run_mma<2>(args, plan);
    else run_mma<1>(args, plan);
    return true;
  });
}

// tile, splits; false: not taken on this GPU.
EXPORTED bool mma_planned(int64_t M, int64_t N, int64_t K, int precision, int32_t* plan) {
  GemmArgs args;
  args.precision = static_cast<Precision>(precision);
  args.M = M;
  args.N = N;
  args.K = K;
  const MmaPlan made = mma_plan(args);
  plan[0] = static_cast<int32_t>(made.tile);
  plan[1] = made.splits;
  return mma_pays(args, here().major, here().minor);
}
