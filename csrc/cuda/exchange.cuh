// What the blocks of one running kernel tell each other through L2: numbers that carry their own time, and a barrier.
//
// A word holds 32 bits of a number and a stamp, written and read in one access of 64 bits: who finds the stamp has the
// number, and neither side needs a fence. Who writes a place again must know that its last stamp was read everywhere.
// For what is too much to be stamped there is the barrier: plain stores before grid_arrive are seen by plain loads,
// past L1, after grid_wait; what is done in between hides the way. Blocks that wait for each other must all be running:
// launch cooperatively.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"

namespace deltarule::cuda {
namespace {

__device__ __forceinline__ uint64_t load_relaxed(const uint64_t* address) {
#if defined(DELTARULE_CUDA_SHIM)
  return *static_cast<const volatile uint64_t*>(address);
#else
  uint64_t value;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
  return value;
#endif
}

__device__ __forceinline__ void store_relaxed(uint64_t* address, uint64_t value) {
#if defined(DELTARULE_CUDA_SHIM)
  *static_cast<volatile uint64_t*>(address) = value;
#else
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(address), "l"(value) : "memory");
#endif
}

__device__ __forceinline__ unsigned load_acquire(const unsigned* address) {
#if defined(DELTARULE_CUDA_SHIM)
  return *static_cast<const volatile unsigned*>(address);
#else
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
#endif
}

// A number as words: float in one, double in two.
template <class T> constexpr int kWords = sizeof(T) / 4;

__device__ __forceinline__ uint64_t stamped(uint32_t bits, uint32_t stamp) { return uint64_t{stamp} << 32 | bits; }

__device__ __forceinline__ void put(uint64_t* words, float value, uint32_t stamp) {
  store_relaxed(words, stamped(__float_as_uint(value), stamp));
}
__device__ __forceinline__ void put(uint64_t* words, double value, uint32_t stamp) {
  store_relaxed(words, stamped(static_cast<uint32_t>(__double2loint(value)), stamp));
  store_relaxed(words + 1, stamped(static_cast<uint32_t>(__double2hiint(value)), stamp));
}

__device__ __forceinline__ float value_of(const uint64_t (&words)[1]) {
  return __uint_as_float(static_cast<uint32_t>(words[0]));
}
__device__ __forceinline__ double value_of(const uint64_t (&words)[2]) {
  return __hiloint2double(static_cast<int>(static_cast<uint32_t>(words[1])),
                          static_cast<int>(static_cast<uint32_t>(words[0])));
}

// words[n] -> to[n] by a block of Threads threads, once all have this stamp: element i by thread i % Threads, which
// needs no barrier to read it again.
template <int Threads, class T>
__device__ __forceinline__ void receive(const uint64_t* words, int n, uint32_t stamp, T* to) {
  constexpr int kAtOnce = 32 / sizeof(T);
  for (int first = static_cast<int>(threadIdx.x); first < n; first += kAtOnce * Threads) {
    uint64_t got[kAtOnce][kWords<T>];
    for (;;) {
      bool fresh = true;
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int i = first + k * Threads;
#pragma unroll
        for (int part = 0; part < kWords<T>; ++part)
          got[k][part] = i < n ? load_relaxed(words + int64_t{i} * kWords<T> + part) : stamped(0, stamp);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
#pragma unroll
        for (int part = 0; part < kWords<T>; ++part) fresh = fresh && (got[k][part] >> 32) == stamp;
      }
      if (fresh) break;
      relax();
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (first + k * Threads < n) to[first + k * Threads] = value_of(got[k]);
    }
  }
}

// Barrier of all blocks of a grid. The counter starts at 0 and only grows, so that nothing is ever reset: `arrivals` is
// how often each block has arrived, this time included.
__device__ __forceinline__ void grid_arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();  // with the barrier above, for what every thread of the block has written
    atomicAdd(counter, 1u);
  }
}

__device__ __forceinline__ void grid_wait(const unsigned* counter, unsigned arrivals) {
  if (threadIdx.x == 0) {
    while (static_cast<int>(load_acquire(counter) - arrivals * gridDim.x) < 0) relax();
  }
  __syncthreads();
}

}  // namespace
}  // namespace deltarule::cuda
