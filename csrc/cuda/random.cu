#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void fill_random(const RandomArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
