// The kernels of gemm_mma.cuh for one plane.
#include "cuda/gemm_mma.cuh"

template void deltarule::cuda::run_mma<1>(const GemmArgs&, const MmaPlan&) noexcept;
