// The kernels of gemm_mma.cuh for two planes.
#include "cuda/gemm_mma.cuh"

template void deltarule::cuda::run_mma<2>(const GemmArgs&, const MmaPlan&) noexcept;
