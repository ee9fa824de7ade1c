#include "base/workspace.h"

#include <cstdio>
#include <cstdlib>

namespace deltarule {
namespace {

constexpr int64_t kAlign = 64;

struct Buffer {
  void* memory = nullptr;
  int64_t bytes = 0;
  ~Buffer() { std::free(memory); }
};

thread_local Buffer buffers[static_cast<int>(Workspace::count)];

}  // namespace

void* workspace(Workspace which, int64_t bytes) noexcept {
  Buffer& buffer = buffers[static_cast<int>(which)];
  if (bytes <= buffer.bytes) return buffer.memory;
  std::free(buffer.memory);
  buffer.bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  buffer.memory = std::aligned_alloc(kAlign, static_cast<size_t>(buffer.bytes));
  if (buffer.memory == nullptr) {
    // A kernel has no way to report it, and its result would be missing.
    std::fprintf(stderr, "deltarule: no memory for a kernel's workspace of %lld bytes\n",
                 static_cast<long long>(buffer.bytes));
    std::abort();
  }
  return buffer.memory;
}

}  // namespace deltarule
