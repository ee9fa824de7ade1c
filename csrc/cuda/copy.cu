#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void copy(const CopyArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
