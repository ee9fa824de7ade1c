#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void gemm(const GemmArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
