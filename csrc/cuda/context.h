// What the slots need of the GPU the calling thread has selected, and how a launch that failed is remembered.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace deltarule::cuda {

// One GPU of this process. Everything runs on its one stream, in the order it was queued.
struct Context {
  int index;            // as cudaSetDevice takes it
  cudaStream_t stream;  // not the default one
  int major, minor;     // compute capability
  int multiprocessors;
  int64_t shared_bytes;  // that a block may ask for
  int64_t l2_bytes;

  bool at_least(int major_wanted, int minor_wanted = 0) const {
    return major > major_wanted || (major == major_wanted && minor >= minor_wanted);
  }
};

// The selected GPU. Slots are called after Device::kernels(), which selects.
Context& here() noexcept;

// Memory for what a slot needs between its own kernels (partial sums, planes): at least so many bytes, 256-byte
// aligned, contents unset. It is the same memory on every call: good until this slot returns, then the next one writes
// to it. Grows and never shrinks; null, and remembered as an error, where there is no memory left.
void* scratch(int64_t bytes) noexcept;

// What came of a launch, for every one of them: remembers the kernel as the last one launched, and the first error of a
// GPU; the next Device::kernels() or wait throws it as DeviceError.
void report(cudaError_t status, const char* kernel, const char* file, int line) noexcept;

}  // namespace deltarule::cuda
