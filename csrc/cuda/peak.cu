#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
int64_t peak(int64_t) noexcept { std::abort(); }
}  // namespace deltarule::cuda
