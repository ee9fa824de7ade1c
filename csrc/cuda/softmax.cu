#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void softmax(const SoftmaxArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
