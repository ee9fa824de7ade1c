// A few rows (or columns) times a matrix: what counts is reading the matrix once.
//
// Computes   P[few, longs] = X[few, K] W[K, longs], few <= 8, then gemm_epilogue.cuh. C = P; or its transpose where it
//            is N that is small: both operands then change places.
// Layout     32 columns of W a block, all few rows, a split of K; X passes through shared memory, 256 of k at a time.
//
//              W contiguous along its columns           W contiguous along k
//                   lane = column                            a warp: 4 columns, lanes along k
//                 +----------------+                      +------------------------+
//              k  | 4 rows: warp 0 |             column   | lane 0 | lane 1 | ...  |  16 bytes a lane
//                 | 4 rows: warp 1 |                      |                        |
//                 |      ..        |                      +------------------------+
//                 +----------------+                      then a tree over the lanes
//                 then the warps, in order
//
//            Every sum's order depends on the shape alone.
// Arithmetic 2 few FLOP for an element of W: bound by memory. 4 to 8 loads in flight a thread; X costs as many shared
//            loads, broadcast, as there are fma for 8 rows, below what L2 delivers.
// Measured   Not run on hardware yet. ptxas, registers a thread for sm_90a, no spills: one row float32 78, float64 80,
//            three blocks of 256 threads a multiprocessor; eight rows 128, two blocks, and 204, one.
// Refs       -
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kLongs = 32;   // columns of W a block
constexpr int kDepth = 256;  // of k in shared memory
constexpr int kUnit = 128;   // splits of K are made of so many

template <class T> struct FewOperands {
  const T* x;  // [few, K] with strides
  int64_t x_few, x_k;
  const T* w;  // [K, longs], or [longs, K] if along_k
  int64_t ldw;
  bool along_k, wide;  // wide: along_k, rows aligned to 16 bytes
  int64_t few, longs, K;
};

// Few: rows of X there is room for. kSwapped: N is small, C has W's columns as rows.
template <class T, int Few, bool kSwapped> struct FewKernel {
  static constexpr int W = kWide<T>;
  static constexpr int kStrideX = kDepth + W;
  static constexpr int kTileRows = kSwapped ? kLongs : Few, kTileColumns = kSwapped ? kFew : kLongs;
  using Finish = TileFinish<T, kTileColumns, kThreads>;
  static constexpr int kStaged = std::max<int>(kTileRows * kTileColumns, Finish::kSharedBytes / int(sizeof(T)));
  static constexpr int kSharedBytes = (Few * kStrideX + kWarps * Few * kLongs + kStaged) * int(sizeof(T));

  // X[0..few, k0..k0 + kDepth) into shared memory, zeros beyond.
  static __device__ void load_x(const FewOperands<T>& from, int64_t k0, int64_t k_end, T* x) {
    for (int at = static_cast<int>(threadIdx.x); at < Few * kDepth; at += kThreads) {
      const int f = at / kDepth, k = at % kDepth;
      const bool inside = f < from.few && k0 + k < k_end;
      x[f * kStrideX + k] = inside ? from.x[f * from.x_few + (k0 + k) * from.x_k] : T(0);
    }
  }

  // W contiguous along its columns. sum[f]: of this lane's column and this warp's share of k.
  static __device__ void add_columns(const FewOperands<T>& from, int64_t column, int64_t k0, int64_t k_end, const T* x,
                                     T (&sum)[Few]) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int depth = static_cast<int>(min(k_end - k0, int64_t{kDepth}));
    const T* at = from.w + (k0 + 4 * warp) * from.ldw + column;
    if (column >= from.longs) return;
#pragma unroll 2
    for (int k = 4 * warp; k < depth; k += 4 * kWarps, at += 4 * kWarps * from.ldw) {
      T w[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) w[c] = k + c < depth ? at[c * from.ldw] : T(0);
#pragma unroll
      for (int f = 0; f < Few; ++f) {
        T part[4];
#pragma unroll
        for (int c = 0; c < 4; c += W) load_wide(x + f * kStrideX + k + c, *reinterpret_cast<T(*)[W]>(part + c));
#pragma unroll
        for (int c = 0; c < 4; ++c) sum[f] = fma(part[c], w[c], sum[f]);
      }
    }
  }

  // W neighbours along k of one column, zeros beyond `left` of them.
  static __device__ __forceinline__ void load_w(const T* at, bool wide, int left, T (&w)[W]) {
    if (wide && left >= W) return load_wide(at, w);
#pragma unroll
    for (int c = 0; c < W; ++c) w[c] = c < left ? at[c] : T(0);
  }

  // W contiguous along k. sum[n][f]: of the warp's column n and this lane's share of k.
  static constexpr int kColumns = kLongs / kWarps;
  static __device__ void add_dots(const FewOperands<T>& from, int64_t column, int64_t k0, int64_t k_end, const T* x,
                                  T (&sum)[kColumns][Few]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int depth = static_cast<int>(min(k_end - k0, int64_t{kDepth}));
    const T* at = from.w + column * from.ldw + k0;
#pragma unroll 1
    for (int k = lane * W; k < depth; k += 32 * W) {
      T w[kColumns][W];
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
        load_w(at + n * from.ldw + k, from.wide, column + n < from.longs ? depth - k : 0, w[n]);
#pragma unroll
      for (int f = 0; f < Few; ++f) {
        T part[W];
        load_wide(x + f * kStrideX + k, part);
#pragma unroll
        for (int n = 0; n < kColumns; ++n)
#pragma unroll
          for (int c = 0; c < W; ++c) sum[n][f] = fma(part[c], w[n][c], sum[n][f]);
      }
    }
  }

  // for k0 in [k_begin, k_end) by kDepth: load, add(k0)
  template <class Add>
  static __device__ void each_depth(const FewOperands<T>& from, int64_t k_begin, int64_t k_end, T* x, const Add& add) {
#pragma unroll 1
    for (int64_t k0 = k_begin; k0 < k_end; k0 += kDepth) {
      __syncthreads();
      load_x(from, k0, k_end, x);
      __syncthreads();
      add(k0);
    }
  }

  // parts[warps or 1][Few][kLongs]; returns how many there are.
  static __device__ int multiply(const FewOperands<T>& from, int64_t first, int64_t k_begin, int64_t k_end, T* x,
                                 T* parts) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    if (!from.along_k) {
      T sum[Few] = {};
      each_depth(from, k_begin, k_end, x, [&](int64_t k0) { add_columns(from, first + lane, k0, k_end, x, sum); });
#pragma unroll
      for (int f = 0; f < Few; ++f) parts[(warp * Few + f) * kLongs + lane] = sum[f];
      return kWarps;
    }
    T sum[kColumns][Few] = {};
    const int64_t column = first + warp * kColumns;
    each_depth(from, k_begin, k_end, x, [&](int64_t k0) { add_dots(from, column, k0, k_end, x, sum); });
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
#pragma unroll
      for (int f = 0; f < Few; ++f) {
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2)
          sum[n][f] += __shfl_xor_sync(0xFFFFFFFFu, sum[n][f], distance);
        if (lane == 0) parts[f * kLongs + warp * kColumns + n] = sum[n][f];
      }
    return 1;
  }
};

template <class T, int Few, bool kSwapped>
__global__ void __launch_bounds__(kThreads, Few == 1         ? 3
                                            : sizeof(T) == 4 ? 2
                                                             : 1)
    multiply_few(const __grid_constant__ FewOperands<T> from, const __grid_constant__ EpilogueParams<T> p) {
  using Kernel = FewKernel<T, Few, kSwapped>;
  DELTARULE_SHARED(T, x);
  T* const parts = x + Few * Kernel::kStrideX;
  T* const staged = parts + kWarps * Few * kLongs;
  if (p.stopped()) return;
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned blocks = static_cast<unsigned>(kSwapped ? p.row_tiles : p.column_tiles);
  const int64_t tile = blockIdx.x % blocks, split = blockIdx.x / blocks;
  const int64_t units = ceil_div<int64_t>(from.K, kUnit);
  const int64_t k_begin = units * split / p.splits * kUnit;
  const int64_t k_end = min(units * (split + 1) / p.splits * kUnit, from.K);
  const int count = Kernel::multiply(from, tile * kLongs, k_begin, k_end, x, parts);
  __syncthreads();
  typename Kernel::Finish finish(p, {thread, kThreads, 0}, kSwapped ? tile : 0, kSwapped ? 0 : tile);
  finish.run(staged, Kernel::kTileColumns, 1, static_cast<int>(split), [&](int) {
    if (thread >= Few * kLongs) return;
    const int f = thread / kLongs, column = thread % kLongs;
    T total = parts[thread];
    for (int part = 1; part < count; ++part) total += parts[part * Few * kLongs + thread];
    staged[kSwapped ? column * Kernel::kTileColumns + f : f * Kernel::kTileColumns + column] = total;
  });
}

template <class T, int Few, bool kSwapped> void run_few(const FewOperands<T>& from, EpilogueParams<T> p) noexcept {
  using Kernel = FewKernel<T, Few, kSwapped>;
  // 264 blocks are two for each of 132 multiprocessors; a split of 256 k reads 32 KB.
  const int64_t blocks = ceil_div<int64_t>(from.longs, kLongs), most = std::min<int64_t>(from.K / 256, 64);
  const int64_t splits = std::max<int64_t>(1, std::min(ceil_div<int64_t>(264, blocks), most));
  set_tiles(p, Kernel::kTileRows, Kernel::kTileColumns, static_cast<int>(splits), true);
  if (!set_scratch(p)) return;
  run(DELTARULE_HERE("gemm_few"), static_cast<unsigned>(blocks * splits), kThreads, Kernel::kSharedBytes,
      multiply_few<T, Few, kSwapped>, from, p);
  finish_splits(p);
  finish_column_sums(p);
}

template <class T> void few_of(const GemmArgs& args) noexcept {
  const T *a = static_cast<const T*>(args.A), *b = static_cast<const T*>(args.B);
  const int64_t size = sizeof(T);
  const EpilogueParams<T> p = epilogue_params<T>(args);
  if (args.M <= args.N) {
    const FewOperands<T> from{a,
                              args.trans_a ? 1 : args.lda,
                              args.trans_a ? args.lda : 1,
                              b,
                              args.ldb,
                              args.trans_b,
                              args.trans_b && is_wide(b, args.ldb * size),
                              args.M,
                              args.N,
                              args.K};
    if (args.M == 1) run_few<T, 1, false>(from, p);
    else run_few<T, kFew, false>(from, p);
  } else {
    const FewOperands<T> from{b,
                              args.trans_b ? args.ldb : 1,
                              args.trans_b ? 1 : args.ldb,
                              a,
                              args.lda,
                              !args.trans_a,
                              !args.trans_a && is_wide(a, args.lda * size),
                              args.N,
                              args.M,
                              args.K};
    if (args.N == 1) run_few<T, 1, true>(from, p);
    else run_few<T, kFew, true>(from, p);
  }
}

}  // namespace

void few_gemm(const GemmArgs& args) noexcept {
  if (args.dtype == DType::float32) few_of<float>(args);
  else few_of<double>(args);
}

}  // namespace deltarule::cuda
