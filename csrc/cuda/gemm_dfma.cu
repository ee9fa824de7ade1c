// The tiles of gemm_tile.cuh for float64.
#include "cuda/gemm.h"
#include "cuda/gemm_tile.cuh"

namespace deltarule::cuda {

void dfma_gemm(const GemmArgs& args, const GemmPlan& plan) noexcept {
  const Product<double> product = product_of<double>(args);
  const EpilogueParams<double> p = epilogue_params<double>(args);
  if (plan.tile == GemmTile::small) return run_tiles<Tile<double, 32, 32, 16, 4, 4, 3, 6>>(product, p, plan.splits);
  run_tiles<Tile<double, 64, 64, 16, 8, 4, 2, 3>>(product, p, plan.splits);
}

}  // namespace deltarule::cuda
