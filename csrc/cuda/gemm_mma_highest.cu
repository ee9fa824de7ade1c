// The kernels of gemm_mma.cuh for three planes.
#include "cuda/gemm_mma.cuh"

template void deltarule::cuda::run_mma<3>(const GemmArgs&, const MmaPlan&) noexcept;
