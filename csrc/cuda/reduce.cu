#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void reduce(const ReduceArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
