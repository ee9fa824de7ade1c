// Threads that work on one row together, and blocks that work on one result together: what the kernels that fold rows
// (reduce, softmax, loss) share. Every fold has an order fixed by the launch, so results have the same bits each time.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kWarp = 32;

template <class T> __device__ __forceinline__ T from_lane_across(T x, int bits) {
  return __shfl_xor_sync(0xFFFFFFFFu, x, bits);
}

// `width` neighbouring lanes of a warp, a power of two. All lanes of the warp call each method together.
struct Lanes {
  int width;

  __device__ int rank() const { return static_cast<int>(threadIdx.x) & (width - 1); }

  // The same in every thread of the team, if join(a, b) is join(b, a).
  template <class T, class Join> __device__ T fold(T x, const Join& join) const {
    for (int bits = width / 2; bits > 0; bits /= 2) x = join(x, from_lane_across(x, bits));
    return x;
  }

  __device__ bool any(bool mine) const {
    const unsigned votes = __ballot_sync(0xFFFFFFFFu, mine) >> (threadIdx.x & (kWarp - 1) & ~(width - 1));
    return (votes & (0xFFFFFFFFu >> (kWarp - width))) != 0;
  }
};

// All threads of the block, a power of two of warps. `shared` has room for one value a warp.
struct WholeBlock {
  void* shared;

  __device__ int rank() const { return static_cast<int>(threadIdx.x); }

  template <class T, class Join> __device__ T fold(T x, const Join& join) const {
    const int lane = rank() & (kWarp - 1), warps = static_cast<int>(blockDim.x) / kWarp;
    T* const of_warps = static_cast<T*>(shared);
    x = Lanes{kWarp}.fold(x, join);
    if (lane == 0) of_warps[rank() / kWarp] = x;
    __syncthreads();
    x = Lanes{warps}.fold(of_warps[lane & (warps - 1)], join);
    __syncthreads();  // the room is free again
    return x;
  }

  __device__ bool any(bool mine) const { return __syncthreads_or(mine) != 0; }
};

struct AddUp {
  template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};

// Whether this block is the last of `blocks` to come to the ticket, which is 0 before the first and after the last. It
// then sees what the others wrote before they came. All threads of the block call it. One thread's fences are enough:
// the barriers around them order them with what the block's other threads wrote and will read, as in a grid's barrier.
__device__ __forceinline__ bool last_to_come(unsigned* ticket, unsigned blocks) {
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(ticket, blocks - 1) == blocks - 1;
    __threadfence();
  }
  return __syncthreads_or(last) != 0;
}

// Smallest power of two that is at least n, 1 to 2^30.
constexpr int power_of_two(int64_t n) {
  int result = 1;
  while (result < n && result < (1 << 30)) result *= 2;
  return result;
}

}  // namespace
}  // namespace deltarule::cuda
