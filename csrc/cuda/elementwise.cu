#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void unary(const UnaryArgs&) noexcept { std::abort(); }
void binary(const BinaryArgs&) noexcept { std::abort(); }
void activate(const ActivateArgs&) noexcept { std::abort(); }
void activate_grad(const ActivateGradArgs&) noexcept { std::abort(); }
void dropout(const DropoutArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
