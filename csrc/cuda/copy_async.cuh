// Copies from global to shared memory that a thread starts and waits for later (cp.async, compute capability 8.0 and
// above). Before that there are none: kCopiesAsync is false, and a kernel keeps what it loads in registers meanwhile.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace deltarule::cuda {
namespace {

#if (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800) || defined(DELTARULE_SHIM_WITHOUT_COPIES)
constexpr bool kCopiesAsync = false;
#else
constexpr bool kCopiesAsync = true;
#endif

// Bytes 4, 8 or 16, both addresses aligned to it. The first `valid` of them come from `from`, the others are 0; with
// none `from` is not read.
template <int Bytes> __device__ __forceinline__ void copy_async(void* to, const void* from, int valid) {
#if defined(DELTARULE_CUDA_SHIM)
  shim::add(shim::Queue::copy, [to, from, valid] {
    std::memset(to, 0, Bytes);
    if (valid > 0) std::memcpy(to, from, static_cast<size_t>(valid));
  });
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (Bytes == 16)  // past L1: a tile is read once by its block
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from), "n"(Bytes), "r"(valid)
                 : "memory");
#else
  (void)to, (void)from, (void)valid;
#endif
}

// What was started since the last call is one group.
__device__ __forceinline__ void commit_copies() {
#if defined(DELTARULE_CUDA_SHIM)
  shim::commit(shim::Queue::copy);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until all groups of this thread but the newest Left have landed. Others see them after the next barrier.
template <int Left> __device__ __forceinline__ void wait_copies() {
#if defined(DELTARULE_CUDA_SHIM)
  shim::wait(shim::Queue::copy, Left);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
#endif
}

}  // namespace
}  // namespace deltarule::cuda
