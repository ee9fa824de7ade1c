#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void loss(const LossArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
