// Planes of bfloat16 whose sum a float32 matrix is, for gemm_hopper.cu.
//
// Computes   x[rows,cols] -> plane[0..kPlanes-1][rows,pitch], x = plane 0 + plane 1 + ..., each the rest rounded to
//            nearest; pitch is cols rounded up to 8. And the largest and the smallest magnitude of each operand, by
//            which the product decides whether its planes hold it.
// Layout     A thread makes 8 neighbours of a row at a time: 32 bytes read, 16 written for each plane.
// Arithmetic 4 bytes read and 2 kPlanes written an element: bound by memory.
// Measured   Not run on hardware yet.
// Refs       Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//            Computations", 2019.
#pragma once

#include "cuda/gemm_hopper.h"
#include "cuda/ptx_hopper.cuh"
#include "cuda/run.cuh"
#include "kernels.h"

namespace deltarule::cuda {
namespace {

constexpr int kPlaneThreads = 512, kPlaneBlocks = 384, kChunk = 8;

// Largest and smallest nonzero magnitude as bits of float32, the latter minus 1; NaN and inf count as largest.
struct alignas(16) Magnitudes {
  unsigned largest_a, below_smallest_a, largest_b, below_smallest_b;
};

struct PlaneSource {
  const float* x;
  int64_t rows, cols, ld;
  uint16_t* planes;
  int64_t pitch, plane;  // elements from row to row, from plane to plane
  unsigned chunks;       // of a row
  bool wide;             // rows begin at multiples of 16 bytes

  int64_t count() const { return rows * chunks; }
};

inline PlaneSource plane_source(const void* x, int64_t rows, int64_t cols, int64_t ld) {
  PlaneSource source{};
  source.x = static_cast<const float*>(x);
  source.rows = rows;
  source.cols = cols;
  source.ld = ld;
  source.chunks = static_cast<unsigned>(ceil_div<int64_t>(cols, kChunk));
  source.pitch = static_cast<int64_t>(source.chunks) * kChunk;
  source.plane = rows * source.pitch;
  source.wide = reinterpret_cast<uintptr_t>(x) % 16 == 0 && ld % 4 == 0;
  return source;
}

struct PlaneJob {
  PlaneSource a, b;
  unsigned count_a, count;  // chunks of A, of both
  Magnitudes* magnitudes;   // [blocks]
  const StepState* stopped_by;
};

// What a product of planes can take: no operand, plane or product that is lost beyond what float32 loses, no sum that
// overflows on the way.
struct PlaneLimits {
  int least;  // exponent of an element: the lowest plane, a subnormal bfloat16 there, loses no bit it should have
  int least_product;  // of two: what the precision allows is well above the smallest subnormal float32
  int log2_k;
};

constexpr PlaneLimits plane_limits(int planes, int64_t K) {
  int log2_k = 0;
  while (K >> (log2_k + 1) != 0) ++log2_k;
  if (planes == 1) return {-126, -136, log2_k};
  return planes == 2 ? PlaneLimits{-117, -128, log2_k} : PlaneLimits{-110, -120, log2_k};
}

#if defined(DELTARULE_HOPPER)

__device__ __forceinline__ Magnitudes over_warp(Magnitudes m) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  return {__reduce_max_sync(kAll, m.largest_a), __reduce_min_sync(kAll, m.below_smallest_a),
          __reduce_max_sync(kAll, m.largest_b), __reduce_min_sync(kAll, m.below_smallest_b)};
}

// Over the whole block, in all threads; shared: a Magnitudes a warp. Two barriers, the first before shared is written.
__device__ inline Magnitudes over_block(Magnitudes m, Magnitudes* shared) {
  m = over_warp(m);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = m;
  __syncthreads();
  const Magnitudes none{0, 0xFFFFFFFFu, 0, 0xFFFFFFFFu};
  return over_warp(threadIdx.x % 32 < blockDim.x / 32 ? shared[threadIdx.x % 32] : none);
}

__device__ inline bool planes_hold(const Magnitudes& m, PlaneLimits limits) {
  const auto exponent = [](unsigned bits) { return static_cast<int>(bits >> 23) - 127; };
  const int largest_a = exponent(m.largest_a), largest_b = exponent(m.largest_b);
  if (largest_a > 126 || largest_b > 126) return false;  // inf, NaN, or may round to inf
  if (m.largest_a == 0 || m.largest_b == 0) return true;
  const int smallest_a = exponent(m.below_smallest_a + 1), smallest_b = exponent(m.below_smallest_b + 1);
  return largest_a + largest_b + limits.log2_k + 3 <= 127 && smallest_a >= limits.least && smallest_b >= limits.least &&
         smallest_a + smallest_b >= limits.least_product;
}

// For all threads of a block: what make_planes found. shared: a Magnitudes a warp.
__device__ inline bool planes_hold(const Magnitudes* found, int count, PlaneLimits limits, void* shared) {
  Magnitudes m{0, 0xFFFFFFFFu, 0, 0xFFFFFFFFu};
  if (static_cast<int>(threadIdx.x) < count) m = found[threadIdx.x];
  return planes_hold(over_block(m, static_cast<Magnitudes*>(shared)), limits);
}

template <int kPlanes>
__device__ __forceinline__ void split_chunk(const PlaneSource& from, unsigned chunk, unsigned& largest,
                                            unsigned& below_smallest) {
  const unsigned row = chunk / from.chunks, column = chunk % from.chunks * kChunk;
  const float* const source = from.x + row * from.ld + column;
  const int64_t left = from.cols - column;
  float x[kChunk];
  if (from.wide && left >= kChunk) {
    const float4 low = *reinterpret_cast<const float4*>(source), high = *reinterpret_cast<const float4*>(source + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) x[i] = i < left ? source[i] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const unsigned bits = __builtin_bit_cast(unsigned, x[i]) & 0x7FFFFFFFu;
    largest = max(largest, bits);
    below_smallest = min(below_smallest, bits - 1);  // 0 becomes the largest of all
  }
#pragma unroll
  for (int plane = 0; plane < kPlanes; ++plane) {
    unsigned pair[kChunk / 2];
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      pair[i] = bfloat16_pair(x[2 * i], x[2 * i + 1]);
      x[2 * i] -= __builtin_bit_cast(float, pair[i] << 16);
      x[2 * i + 1] -= __builtin_bit_cast(float, pair[i] & 0xFFFF0000u);
    }
    uint16_t* const to = from.planes + plane * from.plane + row * from.pitch + column;
    *reinterpret_cast<uint4*>(to) = {pair[0], pair[1], pair[2], pair[3]};
  }
}

#endif  // DELTARULE_HOPPER

template <int kPlanes>
__global__ void __launch_bounds__(kPlaneThreads) make_planes(const __grid_constant__ PlaneJob job) {
#if defined(DELTARULE_HOPPER)
  DELTARULE_SHARED(Magnitudes, shared);
  if (job.stopped_by != nullptr && job.stopped_by->stopped != 0) return;
  Magnitudes m{0, 0xFFFFFFFFu, 0, 0xFFFFFFFFu};
  for (unsigned chunk = blockIdx.x * kPlaneThreads + threadIdx.x; chunk < job.count;
       chunk += gridDim.x * kPlaneThreads) {
    if (chunk < job.count_a) split_chunk<kPlanes>(job.a, chunk, m.largest_a, m.below_smallest_a);
    else split_chunk<kPlanes>(job.b, chunk - job.count_a, m.largest_b, m.below_smallest_b);
  }
  m = over_block(m, shared);
  if (threadIdx.x == 0) job.magnitudes[blockIdx.x] = m;
#endif
}

}  // namespace
}  // namespace deltarule::cuda
