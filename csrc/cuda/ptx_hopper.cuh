// The instructions of Hopper that its matrix product is made of, one leaf function each: mbarriers, copies by the
// tensor memory accelerator (TMA), products of warpgroups (wgmma), the trade in registers.
//
// tests/cuda/shim/cuda/ptx_hopper.cuh is found before this file where kernels run in software: the same functions, made
// from what the PTX ISA says of the instructions.
//
// Refs       PTX ISA 9.0: mbarrier, cp.async.bulk.tensor, "Asynchronous Warpgroup Level Matrix Instructions",
//            setmaxnreg. CUDA driver API, cuTensorMapEncodeTiled.
#pragma once

#include <cuda.h>

#include "cuda/launch.cuh"

// Device code of this pass can hold the instructions; kernels are empty without.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DELTARULE_HOPPER 1

namespace deltarule::cuda {
namespace {

// The address space of shared memory, as instructions take it.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Two floats rounded to nearest even: the first in the lower half.
__device__ __forceinline__ uint32_t bfloat16_pair(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

// --- mbarrier: 8 bytes of shared memory. A phase ends with `count` arrivals and all the bytes that were expected.

__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

// After the inits, before the barrier of the block that shows them to its other threads: TMA sees them too.
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// One arrival, and so many bytes more to wait for.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// Until the phase of this parity has ended. The one before the first counts as ended, with parity 1.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, int parity) {
  const uint32_t address = shared_address(barrier);
  uint32_t done = 0;
  while (done == 0) {  // the instruction itself sleeps for a while
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}\n"
        : "=r"(done)
        : "r"(address), "r"(parity)
        : "memory");
  }
}

// --- TMA. The map is a kernel's parameter, __grid_constant__.

__device__ __forceinline__ void tensor_prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// The map's box whose first element is (x, y, z), x innermost, to `to` in shared memory, swizzled as the map says;
// elements outside of the tensor are zero. The box's bytes count for the barrier.
__device__ __forceinline__ void tensor_load(void* to, const CUtensorMap& map, uint64_t* barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// --- wgmma. All 128 threads of a warpgroup call these.

// Before the first product, and between other uses of the accumulators' registers and a product.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until all groups but the newest kLeft are complete.
template <int kLeft> __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// The compiler takes the accumulators to be written here: after the wait no use of them moves above it.
template <int kCount> __device__ __forceinline__ void wgmma_settle(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define DELTARULE_FLOATS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define DELTARULE_FLOATS_16(d, i) \
  DELTARULE_FLOATS_4(d, i), DELTARULE_FLOATS_4(d, i + 4), DELTARULE_FLOATS_4(d, i + 8), DELTARULE_FLOATS_4(d, i + 12)
#define DELTARULE_FLOATS_64(d, i)                                                            \
  DELTARULE_FLOATS_16(d, i), DELTARULE_FLOATS_16(d, i + 16), DELTARULE_FLOATS_16(d, i + 32), \
      DELTARULE_FLOATS_16(d, i + 48)

// D[64,N] = A[64,16] B[16,N] + D, or without D, of bfloat16 operands in shared memory behind the descriptors `a` and
// `b`; kMajor 0: k innermost there, 1: rows of A, columns of B. N = 2 kCount, 128 or 256. Thread t of the warpgroup has
// in d[4 j + 2 h + e] the element at row 16 (t / 32) + t % 32 / 4 + 8 h and column 8 j + 2 (t % 4) + e.
template <int kMajorA, int kMajorB>
__device__ __forceinline__ void wgmma(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, accumulate, 1, 1, %67, %68;\n"
      "}\n"
      : DELTARULE_FLOATS_64(d, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kMajorA), "n"(kMajorB));
}

template <int kMajorA, int kMajorB>
__device__ __forceinline__ void wgmma(float (&d)[128], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, accumulate, 1, 1, %131, %132;\n"
      "}\n"
      : DELTARULE_FLOATS_64(d, 0), DELTARULE_FLOATS_64(d, 64)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kMajorA), "n"(kMajorB));
}

#undef DELTARULE_FLOATS_4
#undef DELTARULE_FLOATS_16
#undef DELTARULE_FLOATS_64

// --- Registers of each thread of this warpgroup from now on, a multiple of 8: fewer, or more (waits until they are
// free).
template <int kCount> __device__ __forceinline__ void registers_give() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount> __device__ __forceinline__ void registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

}  // namespace
}  // namespace deltarule::cuda
#endif
