// deform: random affine and elastic deformations of grey images, the CPU's bits.
//
// Computes   kernels.h has the formula. A block an image at a time: noise, smoothed along columns, then along rows
// while
//            the image is looked up at the sum of affine map and displacement.
// Layout     all in shared memory, 17 KB for 29 x 29: the map; noise and smooth, [height][width] pairs (x, y); the
// image
//            in a ring of background, [1 + height + 2][1 + width + 2]. Images that do not fit: in scratch memory.
// Arithmetic reads of shared memory bound it: 4 radius + 2 pairs a pixel. Every operation is rounded by itself.
// Measured   not run on hardware yet. sm_90a: 40 registers, no spill.
// Refs       formulas/deform.h, cpu/deform.inl.
#include <cstdint>

#include "cuda/run.cuh"
#include "cuda/slots.h"
#include "formulas/deform.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 256;

struct alignas(8) Pair {
  float x, y;
};

__device__ __forceinline__ float minus(float a, float b) { return plus(a, -b); }

struct DeformSpace {
  int height, width, ring;
  int64_t noise, smooth, source, bytes;  // offsets in bytes; the map is at 0

  __host__ __device__ explicit DeformSpace(const DeformArgs& args)
      : height(static_cast<int>(args.height)), width(static_cast<int>(args.width)), ring(width + 3) {
    const int64_t pairs = args.radius < 0 ? 0 : args.height * args.width * int64_t{sizeof(Pair)};
    noise = sizeof(DeformMap);
    smooth = noise + pairs;
    source = smooth + pairs;
    bytes = (source + (args.height + 3) * ring * int64_t{sizeof(float)} + 15) / 16 * 16;
  }
};

__device__ __forceinline__ Pair weighted(const Pair& a, float tap) { return {times(a.x, tap), times(a.y, tap)}; }

// The taps' sum around place `at` of `count`, neighbours `step` apart.
__device__ __forceinline__ Pair smooth_at(const DeformArgs& args, const Pair* from, int at, int count, int step) {
  Pair sum = weighted(*from, args.taps[0]);
  for (int k = 1; k <= args.radius; ++k) {
    Pair two = at - k >= 0 ? from[-k * step] : Pair{0.0f, 0.0f};
    if (at + k < count) two = {plus(two.x, from[k * step].x), plus(two.y, from[k * step].y)};
    const Pair more = weighted(two, args.taps[k]);
    sum = {plus(sum.x, more.x), plus(sum.y, more.y)};
  }
  return sum;
}

__device__ __forceinline__ void draw_noise(const DeformArgs& args, const DeformSpace& at, uint64_t counter,
                                           Pair* noise) {
  const int in_row = static_cast<int>(noise_counters(at.width));
  for (int c = threadIdx.x; c < at.height * in_row; c += kThreads) {
    const Philox4 draw = philox(args.seed, args.stream, counter + static_cast<uint64_t>(c));
    const int i = c / in_row, first = (c - i * in_row) * 4;
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (first + k < at.width) noise[i * at.width + first + k] = {noise_x(draw.word[k]), noise_y(draw.word[k])};
  }
}

// The image in the ring at (u, v).
__device__ __forceinline__ float interpolate(const DeformSpace& at, const float* source, float u, float v) {
  const float right = static_cast<float>(at.width), bottom = static_cast<float>(at.height);
  u = u > -1.0f ? (u < right ? u : right) : -1.0f;
  v = v > -1.0f ? (v < bottom ? v : bottom) : -1.0f;
  const float left = floorf(u), top = floorf(v), right_share = minus(u, left), lower_share = minus(v, top);
  const float* p = source + (static_cast<int>(top) + 1) * at.ring + static_cast<int>(left) + 1;
  const float upper = plus(p[0], times(right_share, minus(p[1], p[0])));
  const float lower = plus(p[at.ring], times(right_share, minus(p[at.ring + 1], p[at.ring])));
  return plus(upper, times(lower_share, minus(lower, upper)));
}

__device__ __forceinline__ void deform_pixel(const DeformArgs& args, const DeformSpace& at, const char* space,
                                             int64_t r, int p) {
  const DeformMap& map = *reinterpret_cast<const DeformMap*>(space);
  const int i = p / at.width, j = p - i * at.width;
  const float centre_x = 0.5f * static_cast<float>(at.width - 1), centre_y = 0.5f * static_cast<float>(at.height - 1);
  const float x = static_cast<float>(j) - centre_x, y = static_cast<float>(i) - centre_y;
  float u = plus(times(map.xx, x), plus(times(map.xy, y), centre_x));
  float v = plus(times(map.yx, x), plus(times(map.yy, y), centre_y));
  const int64_t pixels = int64_t{at.height} * at.width;
  if (args.radius >= 0) {
    const Pair* smooth = reinterpret_cast<const Pair*>(space + at.smooth) + p;
    const Pair moved = weighted(smooth_at(args, smooth, j, at.width, 1), args.alpha);
    u = plus(u, moved.x);
    v = plus(v, moved.y);
    if (args.fields != nullptr) {
      args.fields[2 * r * pixels + p] = moved.x;
      args.fields[(2 * r + 1) * pixels + p] = moved.y;
    }
  }
  args.y[r * pixels + p] = interpolate(at, reinterpret_cast<const float*>(space + at.source), u, v);
}

// spill: `bytes` of it for every block, or null where they are in shared memory.
template <class From>
__global__ void __launch_bounds__(kThreads) deform_kernel(const __grid_constant__ DeformArgs args, char* spill) {
  DELTARULE_SHARED(char, shared);
  const DeformSpace at(args);
  char* const space = spill != nullptr ? spill + blockIdx.x * at.bytes : shared;
  Pair* const noise = reinterpret_cast<Pair*>(space + at.noise);
  Pair* const smooth = reinterpret_cast<Pair*>(space + at.smooth);
  float* const source = reinterpret_cast<float*>(space + at.source);
  const int pixels = at.height * at.width, in_ring = (at.height + 3) * at.ring;
  for (int64_t r = blockIdx.x; r < args.rows; r += gridDim.x) {
    const int64_t from = args.index != nullptr ? args.index[r] : r;
    const uint64_t counter = first_counter(args.first + from, args.height, args.width);
    const From* x = static_cast<const From*>(args.x) + from * args.ldx;
    __syncthreads();  // nobody reads the image before this one any more
    if (threadIdx.x == 0)
      *reinterpret_cast<DeformMap*>(space) =
          draw_map(args.rotation, args.shear, args.scale_x, args.scale_y,
                   args.factor != nullptr ? args.factor[from] : 1.0f, philox(args.seed, args.stream, counter));
    for (int p = threadIdx.x; p < in_ring; p += kThreads) {
      const int i = p / at.ring, j = p - i * at.ring;
      const bool inside = i > 0 && i <= at.height && j > 0 && j <= at.width;
      source[p] = inside ? static_cast<float>(x[(i - 1) * at.width + j - 1]) : args.background;
    }
    if (args.radius >= 0) {
      draw_noise(args, at, counter + 1, noise);
      __syncthreads();
      for (int p = threadIdx.x; p < pixels; p += kThreads)
        smooth[p] = smooth_at(args, noise + p, p / at.width, at.height, at.width);
    }
    __syncthreads();
    for (int p = threadIdx.x; p < pixels; p += kThreads) deform_pixel(args, at, space, r, p);
  }
}

}  // namespace

void deform(const DeformArgs& args) noexcept {
  if (args.rows == 0 || args.height * args.width == 0) return;
  constexpr int64_t kMostBlocks = int64_t{1} << 30, kMostSpill = int64_t{256} << 20;
  const DeformSpace at(args);
  const bool fits = at.bytes <= here().shared_bytes;
  const int64_t wanted = fits ? kMostBlocks : 4 * here().multiprocessors;
  const int64_t most = fits || wanted * at.bytes <= kMostSpill ? wanted : 1 + kMostSpill / at.bytes;
  const unsigned blocks = static_cast<unsigned>(args.rows < most ? args.rows : most);
  char* const spill = fits ? nullptr : static_cast<char*>(scratch(blocks * at.bytes));
  if (!fits && spill == nullptr) return;
  const size_t shared = fits ? static_cast<size_t>(at.bytes) : 0;
  if (args.from == DType::uint8)
    run(DELTARULE_HERE("deform"), dim3(blocks), dim3(kThreads), shared, deform_kernel<uint8_t>, args, spill);
  else run(DELTARULE_HERE("deform"), dim3(blocks), dim3(kThreads), shared, deform_kernel<float>, args, spill);
}

}  // namespace deltarule::cuda
