// How kernels are launched, get their shared memory and wait: the same source for nvcc and for the emulator of
// tests/cuda/shim, which runs them on the CPU.
//
// Rule: kernels use the block's dynamic shared memory alone, never static __shared__ variables. The emulator runs the
// blocks of a cooperative launch together on one thread, where a static variable would be one for all of them.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#if defined(DELTARULE_CUDA_SHIM)
#define DELTARULE_SHARED(T, name) T* name = reinterpret_cast<T*>(::shim::shared_base())
#else
#define DELTARULE_SHARED(T, name)                                     \
  extern __shared__ __align__(1024) unsigned char deltarule_shared[]; \
  T* name = reinterpret_cast<T*>(deltarule_shared)
#endif

namespace deltarule::cuda {

// Stands in the body of every loop that waits for another thread.
__device__ __forceinline__ void relax() {
#if defined(DELTARULE_CUDA_SHIM)
  ::shim::relax();
#else
  __nanosleep(20);
#endif
}

// Barrier `id` (0 is that of __syncthreads) for `threads` threads of the block, a multiple of 32.
__device__ __forceinline__ void barrier_sync(int id, int threads) {
#if defined(DELTARULE_CUDA_SHIM)
  ::shim::barrier_sync(id, threads);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// As barrier_sync, but does not wait.
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
#if defined(DELTARULE_CUDA_SHIM)
  ::shim::barrier_arrive(id, threads);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// Above this a kernel has to ask for dynamic shared memory before its launch.
constexpr size_t kSharedWithoutAsking = 48 * 1024;

enum class Together { no, cooperative, cluster };

template <class... P, class... A>
cudaError_t launch_as(Together together, cudaStream_t stream, dim3 grid, dim3 block, dim3 cluster, size_t shared,
                      void (*kernel)(P...), A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
  static_assert((std::is_convertible_v<A&&, P> && ...), "an argument is of another type than its parameter");
  if (shared > kSharedWithoutAsking) {
    const cudaError_t asked =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (asked != cudaSuccess) return asked;
  }
  std::tuple<P...> values(static_cast<P>(std::forward<A>(args))...);
#if defined(DELTARULE_CUDA_SHIM)
  const shim::Shape shape{grid, block, together == Together::cluster ? cluster : dim3(1, 1, 1), shared,
                          together == Together::cooperative};
  return shim::launch(stream, shape, reinterpret_cast<const void*>(kernel),
                      [kernel, values]() { std::apply(kernel, values); });
#else
  return std::apply(
      [&](P&... value) {
        void* pointers[sizeof...(P) + 1] = {const_cast<void*>(static_cast<const volatile void*>(&value))..., nullptr};
        const void* function = reinterpret_cast<const void*>(kernel);
        if (together == Together::no) return cudaLaunchKernel(function, grid, block, pointers, shared, stream);
        if (together == Together::cooperative)
          return cudaLaunchCooperativeKernel(function, grid, block, pointers, shared, stream);
        cudaLaunchAttribute attribute{};
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim.x = cluster.x;
        attribute.val.clusterDim.y = cluster.y;
        attribute.val.clusterDim.z = cluster.z;
        cudaLaunchConfig_t config{};
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared;
        config.stream = stream;
        config.attrs = &attribute;
        config.numAttrs = 1;
        return cudaLaunchKernelExC(&config, function, pointers);
      },
      values);
#endif
}

// Queues `kernel` on `stream`: launch(stream, grid, block, shared, kernel<...>, args...). Arguments become what the
// kernel's parameters are before they are queued. `shared` is in bytes.
template <class... P, class... A>
cudaError_t launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...), A&&... args) {
  return launch_as(Together::no, stream, grid, block, dim3(), shared, kernel, std::forward<A>(args)...);
}

// All blocks of the grid run at the same time, so that they may wait for each other.
template <class... P, class... A>
cudaError_t launch_cooperative(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...),
                               A&&... args) {
  return launch_as(Together::cooperative, stream, grid, block, dim3(), shared, kernel, std::forward<A>(args)...);
}

// The blocks of every cluster run at the same time and reach each other's shared memory. Hopper and later.
template <class... P, class... A>
cudaError_t launch_cluster(cudaStream_t stream, dim3 grid, dim3 block, dim3 cluster, size_t shared,
                           void (*kernel)(P...), A&&... args) {
  return launch_as(Together::cluster, stream, grid, block, cluster, shared, kernel, std::forward<A>(args)...);
}

}  // namespace deltarule::cuda
