#include <cstdlib>

#include "cuda/slots.h"

namespace deltarule::cuda {
void step(const StepArgs&) noexcept { std::abort(); }
void advance(const AdvanceArgs&) noexcept { std::abort(); }
void clip(const ClipArgs&) noexcept { std::abort(); }
}  // namespace deltarule::cuda
