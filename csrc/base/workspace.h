// Memory a kernel needs during one call, kept per thread so that no step allocates: it grows to the largest size asked
// for and is freed when the thread ends.
#pragma once

#include <cstdint>

namespace deltarule {

// One buffer each, so that a kernel may hold several at once.
enum class Workspace : uint8_t { panel_a, panel_b, sums, tiles, count };

// 64-byte aligned, uninitialised; the previous content of this thread's buffer is lost when it has to grow.
void* workspace(Workspace which, int64_t bytes) noexcept;

}  // namespace deltarule
