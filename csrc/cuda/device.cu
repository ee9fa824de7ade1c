#include <cstdlib>

#include "cuda/context.h"
#include "cuda/devices.h"

namespace deltarule::cuda {
const std::vector<Device*>& devices() {
  static const std::vector<Device*> none;
  return none;
}
std::string missing() { return "not written yet"; }
Context& here() noexcept { std::abort(); }
void* scratch(int64_t) noexcept { std::abort(); }
void report(cudaError_t, const char*, const char*, int) noexcept {}
Memory memory(Device&) { return {}; }
void set_memory_limit(Device&, int64_t) {}
void release_cached(Device&) {}
}  // namespace deltarule::cuda
