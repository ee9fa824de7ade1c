// The tiles of gemm_tile.cuh for float32.
#include "cuda/gemm.h"
#include "cuda/gemm_tile.cuh"

namespace deltarule::cuda {

void ffma_gemm(const GemmArgs& args, const GemmPlan& plan) noexcept {
  const Product<float> product = product_of<float>(args);
  const EpilogueParams<float> p = epilogue_params<float>(args);
  switch (plan.tile) {
    case GemmTile::large:
      return run_tiles<Tile<float, 128, 128, 16, 8, 8, 2, 2>>(product, p, plan.splits);
    case GemmTile::medium:
      return run_tiles<Tile<float, 64, 64, 16, 8, 4, 3, 5>>(product, p, plan.splits);
    case GemmTile::small:
      return run_tiles<Tile<float, 32, 32, 16, 4, 4, 4, 8>>(product, p, plan.splits);
  }
}

}  // namespace deltarule::cuda
