// peak: multiply-adds that never leave the registers, the ceiling that benches print percentages of.
//
// Computes   nothing of use: every thread of a full GPU does `rounds` times x = x m + a in each of 16 float32
// registers. Arithmetic a multiprocessor full of threads hides the latency of 4 cycles many times over. Eight rounds
// are unrolled:
//            128 multiply-adds to a handful of counting.
// Measured   not run on hardware yet. sm_90a: 31 registers, no spill.
#include <cstdint>

#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 128, kChains = 16;
constexpr int kBlocks = 48;  // a multiprocessor: whole turns of the 8, 12 or 16 that run on it at the same time

// Writes only what no sum is, so that the loop stays.
__global__ void __launch_bounds__(kThreads) peak_kernel(int64_t rounds, float half, float* out) {
  float x[kChains];
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) x[chain] = half + static_cast<float>(chain + threadIdx.x);
#pragma unroll 8
  for (int64_t i = 0; i < rounds; ++i) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) x[chain] = ::fmaf(x[chain], half, half);
  }
  float sum = 0.0f;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += x[chain];
  if (sum < 0.0f) *out = sum;
}

}  // namespace

int64_t peak(int64_t rounds) noexcept {
  void* const out = scratch(sizeof(float));
  if (out == nullptr) return 0;
  const int blocks = here().multiprocessors * kBlocks;
  run(DELTARULE_HERE("peak"), dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, peak_kernel, rounds, 0.5f,
      static_cast<float*>(out));
  return rounds * kChains * 2 * kThreads * blocks;
}

}  // namespace deltarule::cuda
