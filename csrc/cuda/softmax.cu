// softmax.
//
// Computes   y = e^(x - max x) / sum e^(x - max x) over contiguous rows, or its logarithm.
// Layout     rows of at most 1024 (float64: 512): 1 to 32 lanes a row, so that a lane has up to four elements or the
//            warp is full; a row is read once and stays in registers, lane l has the elements l, l + width, ... .
//            Longer rows: a block a row, three passes (maximum; sum; result, from the exponential once more) of which
//            the last two mostly read the caches. Maximum and sum in one pass would save one of them, for a rule about
//            rows that begin with -inf.
// Arithmetic bound by memory; the exponential is 26 instructions.
// Measured   not run on hardware yet. Registers, sm_90a: 4, 8, 16, 32 elements a lane 29, 44, 63, 108 (float64: 40, 62,
//            111), long rows 36 (56). No spills.
// Refs       kernels.h; cpu/softmax.inl (what becomes of NaN and inf).
#include "cuda/pack.cuh"
#include "cuda/run.cuh"
#include "cuda/slots.h"
#include "cuda/team.cuh"
#include "cuda/vec.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kShortThreads = 128;
constexpr int64_t kMiddleRow = 8192;  // up to which a block has few threads

// Keeps a number where there is one; NaN comes back with the sum.
struct Larger {
  template <class T> __device__ T operator()(T a, T b) const { return a > b ? a : b; }
};

template <class V> __device__ constexpr typename V::scalar lowest() {
  return -static_cast<typename V::scalar>(__builtin_inf());
}

// x[rows, cols] -> y[rows, cols], cols <= width * Items. y may be x.
template <class V, int Items>
__global__ void __launch_bounds__(kShortThreads) softmax_short_rows(const typename V::scalar* x, int64_t rows, int cols,
                                                                    int width, bool logarithm, typename V::scalar* y) {
  using T = typename V::scalar;
  const Lanes team{width};
  const int64_t row = (int64_t{blockIdx.x} * kShortThreads + threadIdx.x) / width;
  const int first = team.rank(), count = row < rows ? cols : 0;
  x += row * cols;
  y += row * cols;
  T in[Items];  // e^-inf = 0 beyond the end
#pragma unroll
  for (int k = 0; k < Items; ++k) in[k] = first + k * width < count ? x[first + k * width] : lowest<V>();
  T top = in[0];
#pragma unroll
  for (int k = 1; k < Items; ++k) top = Larger{}(top, in[k]);
  top = team.fold(top, Larger{});
  T sum = T(0);
#pragma unroll
  for (int k = 0; k < Items; ++k) {
    in[k] -= top;
    const T e = exp(V{in[k]}).v;
    sum += e;
    if (!logarithm) in[k] = e;
  }
  sum = team.fold(sum, AddUp{});
  const T factor = T(1) / sum, log_sum = logarithm ? log(V{sum}).v : T(0);
#pragma unroll
  for (int k = 0; k < Items; ++k)
    if (first + k * width < count) y[first + k * width] = logarithm ? in[k] - log_sum : in[k] * factor;
}

// visit(pack of x, its elements, index of the first) for this thread's packs of a row.
template <bool Aligned, class T, class Visit>
__device__ __forceinline__ void for_packs(const T* x, int64_t cols, const Visit& visit) {
  const int64_t tile = int64_t{blockDim.x} * kPack<T>;
#pragma unroll 2
  for (int64_t i = int64_t{threadIdx.x} * kPack<T>; i < cols; i += tile) {
    if (i + kPack<T> <= cols) {
      visit(load_pack<Aligned>(x + i), kPack<T>, i);
    } else {
      Pack<T> pack;
#pragma unroll
      for (int e = 0; e < kPack<T>; ++e) pack.element[e] = i + e < cols ? x[i + e] : -static_cast<T>(__builtin_inf());
      visit(pack, static_cast<int>(cols - i), i);
    }
  }
}

template <class V, bool Aligned>
__device__ __forceinline__ void softmax_long_row(const typename V::scalar* x, int64_t cols, bool logarithm,
                                                 typename V::scalar* y, const WholeBlock& team) {
  using T = typename V::scalar;
  T top = lowest<V>();
  for_packs<Aligned>(x, cols, [&](const Pack<T>& pack, int, int64_t) {
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) top = Larger{}(top, pack.element[e]);
  });
  top = team.fold(top, Larger{});
  double sum = 0.0;
  for_packs<Aligned>(x, cols, [&](const Pack<T>& pack, int, int64_t) {
    T part = T(0);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) part += exp(V{pack.element[e] - top}).v;
    sum += static_cast<double>(part);
  });
  const T total = static_cast<T>(team.fold(sum, AddUp{}));
  const T factor = T(1) / total, log_sum = logarithm ? log(V{total}).v : T(0);
  for_packs<Aligned>(x, cols, [&](const Pack<T>& pack, int count, int64_t i) {
    Pack<T> out;
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      const T in = pack.element[e] - top;
      out.element[e] = logarithm ? in - log_sum : exp(V{in}).v * factor;
    }
    if (count == kPack<T>) return store_pack<Aligned>(out, y + i);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e)
      if (e < count) y[i + e] = out.element[e];
  });
}

// x[rows, cols] -> y[rows, cols], a block a row. y may be x.
template <class V>
__global__ void __launch_bounds__(1024, 1)
    softmax_long_rows(const typename V::scalar* x, int64_t cols, bool logarithm, typename V::scalar* y) {
  DELTARULE_SHARED(double, shared);
  x += blockIdx.x * cols;
  y += blockIdx.x * cols;
  if (on_boundary(x) && on_boundary(y)) softmax_long_row<V, true>(x, cols, logarithm, y, WholeBlock{shared});
  else softmax_long_row<V, false>(x, cols, logarithm, y, WholeBlock{shared});
}

template <class V, int Items> void softmax_short(const SoftmaxArgs& args) {
  using T = typename V::scalar;
  const int cols = static_cast<int>(args.cols), width = power_of_two(ceil_div(cols, Items));
  const int64_t blocks = ceil_div<int64_t>(args.rows, kShortThreads / width);
  run(DELTARULE_HERE("softmax_short_rows"), static_cast<unsigned>(blocks), kShortThreads, 0,
      softmax_short_rows<V, Items>, static_cast<const T*>(args.x), args.rows, cols, width, args.log,
      static_cast<T*>(args.y));
}

template <class V> void softmax_of(const SoftmaxArgs& args) {
  using T = typename V::scalar;
  if (args.cols <= 128) return softmax_short<V, 4>(args);
  if (args.cols <= 256) return softmax_short<V, 8>(args);
  if (args.cols <= 512) return softmax_short<V, 16>(args);
  if constexpr (is_single<V>)  // float64 has not the registers
    if (args.cols <= 1024) return softmax_short<V, 32>(args);
  const int threads = args.cols <= kMiddleRow ? 256 : 1024;
  run(DELTARULE_HERE("softmax_long_rows"), static_cast<unsigned>(args.rows), threads, kWarp * sizeof(double),
      softmax_long_rows<V>, static_cast<const T*>(args.x), args.cols, args.log, static_cast<T*>(args.y));
}

}  // namespace

void softmax(const SoftmaxArgs& args) noexcept {
  if (args.rows == 0 || args.cols == 0) return;
  args.dtype == DType::float32 ? softmax_of<F32>(args) : softmax_of<F64>(args);
}

}  // namespace deltarule::cuda
