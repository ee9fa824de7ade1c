// Tensor cores as warps use them, compute capability 8.0 and above: PTX in leaf functions and nothing else.
// tests/cuda/shim/cuda/ptx_mma.cuh has the same functions in C++, with the tables of who holds what.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace deltarule::cuda {

// Two numbers rounded to nearest even, `low` in bits 0 to 15.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// Four 8 x 8 matrices from shared memory: lane l gives the address of row l % 8 of matrix l / 8, 16-byte aligned. The
// clobber keeps stores to shared memory before it and loads of the next tile from sinking below it.
__device__ __forceinline__ void load_matrices(uint32_t (&part)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&part)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
               : "r"(address)
               : "memory");
}

// d[16,8] = a[16,16] b[16,8] + c[16,8]
__device__ __forceinline__ void multiply_matrices(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                  const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

}  // namespace deltarule::cuda
