// The matrix product on CUDA cores: one tile of C a block, each thread a rectangle of it in registers.
//
// Computes   P[M,N] = op(A)[M,K] op(B)[K,N] by fma in the operands' own precision, then gemm_epilogue.cuh.
// Layout     Steps of BK along K pass through a ring of kStages buffers in shared memory, both operands with k outside,
//            whatever their storage; rows are padded by 16 bytes.
//
//                             B[BK][BN + pad]           cp.async fills the buffer of step t + kStages - 1
//                           +-----------------+         while step t is multiplied; one barrier a step.
//              A[BK]        |  W   .   W   .  |
//              [BM + pad]   +-----------------+         A thread has rows and columns in runs of W (16 bytes), the
//                 +-+       | w w w w         |         runs of its warp side by side (4 x 8 lanes), so that a warp
//                 | |       | w w w w    C    |         reads each shared row without bank conflicts:
//                 | |       |                 |
//                 +-+       +-----------------+           row = run * BM / runs + warp * 4 W + lane * W + r
//
//            An operand that is contiguous along m or n comes in 16-byte copies if it is aligned; all others come
//            element by element: 8 neighbours along k by 4 rows a warp, whole sectors of 32 bytes.
// Arithmetic A step of k in the tile 128 x 128: 4 loads of 16 bytes for 64 fma a thread (3 for 32, 2 for 16 in the
//            smaller ones). 8 x 8 sums and 16 operands leave room for two blocks of 256 threads in 64 K registers.
//            P[i,j] is one chain of fma over its split of K, in ascending order, the same in every tile size.
// Measured   Not run on hardware yet. ptxas, registers a thread for sm_90a (sm_80), no spills: float32 large 123 (121),
//            medium 95 (90), small 92 (95); float64 medium 142 (138), small 130 (126). So a multiprocessor holds 2, 5
//            and 10 (8) blocks, 3 and 7 (6). sm_100 spills 28 bytes of the large tile, outside of its loop.
//            Dead ends: adding up the splits in the loop over phases of the epilogue, 100 bytes of spills in the
//            multiplying loop, because the sums stay alive; unrolling all 16 k of a step, 40 bytes.
// Refs       Kerr et al., "CUTLASS: fast linear algebra in CUDA C++", 2017.
#pragma once

#include "cuda/copy_async.cuh"
#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"

namespace deltarule::cuda {
namespace {

template <class Scalar, int BM_, int BN_, int BK_, int TM_, int TN_, int Stages, int Blocks> struct Tile {
  using T = Scalar;
  static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_, kStages = Stages, kBlocks = Blocks;
  static constexpr int W = kWide<T>, kRowRuns = TM / W, kColumnRuns = TN / W;
  static constexpr int kRowLanes = 4, kColumnLanes = 8;
  static constexpr int kRowWarps = BM / TM / kRowLanes, kColumnWarps = BN / TN / kColumnLanes;
  static constexpr int kThreads = 32 * kRowWarps * kColumnWarps;
  static constexpr int kPhases = kRowRuns > 1 ? 2 : 1;  // of the epilogue
  static constexpr int kStrideA = BM + W, kStrideB = BN + W;
  static constexpr int kStageElements = BK * (kStrideA + kStrideB);
  static constexpr int kStaged = BM / kPhases * kStrideB;  // elements of a phase
  static constexpr int kSharedBytes = std::max(
      {kStages * kStageElements * int(sizeof(T)), kStaged * int(sizeof(T)), TileFinish<T, BN, kThreads>::kSharedBytes});
  static_assert(BM % (TM * kRowLanes) == 0 && BN % (TN * kColumnLanes) == 0 && BK % 8 == 0);
};

// One operand: X[extent, K] with `ld` between rows of k (along_k) or of the extent.
template <class T> struct Operand {
  const T* data;
  int64_t ld, extent;
  bool along_k;  // contiguous along k
  bool wide;     // contiguous along the extent, rows aligned to 16 bytes
};

template <class T> struct Product {
  Operand<T> a, b;
  int64_t K;
};

template <class T> Operand<T> operand_of(const void* data, int64_t ld, int64_t extent, bool along_k) {
  return {static_cast<const T*>(data), ld, extent, along_k,
          !along_k && is_wide(data, ld * static_cast<int64_t>(sizeof(T)))};
}

template <class T> Product<T> product_of(const GemmArgs& args) {
  return {operand_of<T>(args.A, args.lda, args.M, !args.trans_a), operand_of<T>(args.B, args.ldb, args.N, args.trans_b),
          args.K};
}

// A thread's part in copying [BK, BX] of an operand into shared memory, step after step.
template <class T, int BX, int BK, int kThreads> class Loader {
 public:
  static constexpr int W = kWide<T>, kStride = BX + W;
  static constexpr int kCount = BX * BK / kThreads;  // elements of a thread
  static constexpr int kRunK = 8;                    // neighbours along k
  static constexpr int kAcrossWide = BX / W, kAcrossK = kThreads / kRunK;
  static_assert(kCount % W == 0 && kThreads % BX == 0 && BX % kAcrossK == 0 && kThreads % kAcrossWide == 0);

  __device__ Loader(const Operand<T>& operand, int64_t x0, int64_t k0, int thread) : operand_(operand) {
    int x;
    if (operand.wide) {
      k_ = thread / kAcrossWide;
      x = thread % kAcrossWide * W;
    } else if (operand.along_k) {
      k_ = thread % kRunK;
      x = thread / kRunK;
    } else {
      k_ = thread / BX;
      x = thread % BX;
    }
    const int64_t left = operand.extent - x0 - x;
    left_ = left < BX ? static_cast<int>(left) : BX;
    to_ = k_ * kStride + x;
    at_ = operand.data + (operand.along_k ? (x0 + x) * operand.ld + k0 + k_ : (k0 + k_) * operand.ld + x0 + x);
  }

  // The next BK of K, of which `depth` are there, zeros beyond them and the extent: on their way to `to`, or held.
  __device__ __forceinline__ void fetch(int depth, T* to) {
    each([&](int n, int k, int x, const T* from, auto width) {
      int valid = left_ - x < width ? left_ - x : width;
      valid = k_ + k < depth && valid > 0 ? valid : 0;
      // Where none are valid the address may be outside of the operand; nothing is read then.
      if constexpr (kCopiesAsync)
        copy_async<width* int(sizeof(T))>(to + to_ + k * kStride + x, from, valid * int(sizeof(T)));
      else hold<width>(n, from, valid);
    });
    at_ += operand_.along_k ? BK : BK * operand_.ld;
  }

  // What fetch has held goes to `to`.
  __device__ __forceinline__ void put(T* to) const {
    if constexpr (!kCopiesAsync)
      each([&](int n, int k, int x, const T*, auto width) {
#pragma unroll
        for (int c = 0; c < width; ++c) to[to_ + k * kStride + x + c] = held_[n * width + c];
      });
  }

 private:
  // visit(n, k, x, from, width): the thread's n-th copy, its distance from the first, its source. The pointer moves
  // along: multiples of ld would be kept in registers over the whole kernel.
  template <class Visit> __device__ __forceinline__ void each(const Visit& visit) const {
    const T* from = at_;
    if (operand_.wide) {
      constexpr int kStep = kThreads / kAcrossWide;
#pragma unroll
      for (int n = 0; n < kCount / W; ++n, from += kStep * operand_.ld)
        visit(n, n * kStep, 0, from, std::integral_constant<int, W>());
    } else if (operand_.along_k) {
#pragma unroll
      for (int n = 0; n < kCount; ++n) {
        const int k = n % (BK / kRunK) * kRunK, x = n / (BK / kRunK) * kAcrossK;
        visit(n, k, x, from + k, std::integral_constant<int, 1>());
        if ((n + 1) % (BK / kRunK) == 0) from += kAcrossK * operand_.ld;
      }
    } else {
      constexpr int kStep = kThreads / BX;
#pragma unroll
      for (int n = 0; n < kCount; ++n, from += kStep * operand_.ld)
        visit(n, n * kStep, 0, from, std::integral_constant<int, 1>());
    }
  }

  template <int Width> __device__ __forceinline__ void hold(int n, const T* from, int valid) {
    T run[Width] = {};
    if constexpr (Width == 1) {
      if (valid > 0) run[0] = *from;
    } else if (valid == Width) {
      load_wide(from, run);
    } else {
#pragma unroll
      for (int c = 0; c < Width; ++c)
        if (c < valid) run[c] = from[c];
    }
#pragma unroll
    for (int c = 0; c < Width; ++c) held_[n * Width + c] = run[c];
  }

  const Operand<T>& operand_;
  const T* at_;  // of the first copy of the next step
  int k_, to_;   // of the first copy: its row, its place in shared memory
  int left_;     // of the extent, from the first copy on
  T held_[kCopiesAsync ? 1 : kCount];
};

// The sums of one thread, and where they lie in the tile.
template <class Tile> struct Sums {
  using T = typename Tile::T;
  static constexpr int W = Tile::W, TM = Tile::TM, TN = Tile::TN;
  int row, column;  // of the first run
  T sum[TM][TN] = {};

  __device__ explicit Sums(int thread) { place(thread); }

  __device__ void place(int thread) {
    const int warp = thread / 32, lane = thread % 32;
    row = (warp / Tile::kColumnWarps * Tile::kRowLanes + lane / Tile::kColumnLanes) * W;
    column = (warp % Tile::kColumnWarps * Tile::kColumnLanes + lane % Tile::kColumnLanes) * W;
  }

  // One step: a[BK][kStrideA], b[BK][kStrideB] in shared memory.
  __device__ __forceinline__ void multiply(const T* a, const T* b) {
#pragma unroll 4
    for (int k = 0; k < Tile::BK; ++k) {
      T x[TM / W][W], y[TN / W][W];
#pragma unroll
      for (int run = 0; run < TM / W; ++run)
        load_wide(a + k * Tile::kStrideA + row + run * (Tile::BM / (TM / W)), x[run]);
#pragma unroll
      for (int run = 0; run < TN / W; ++run)
        load_wide(b + k * Tile::kStrideB + column + run * (Tile::BN / (TN / W)), y[run]);
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] = fma(x[i / W][i % W], y[j / W][j % W], sum[i][j]);
    }
  }

  // The upper rows of those that are left, kPhases-th part of all, into the rows of a phase. The others move up, so
  // that half of the registers are free while the epilogue works.
  __device__ __forceinline__ void stage(T* staged) {
    constexpr int kRows = TM / Tile::kPhases;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int run = 0; run < TN / W; ++run) {
        T values[W];
#pragma unroll
        for (int c = 0; c < W; ++c) values[c] = sum[i][run * W + c];
        const int r = row + i / W * (Tile::BM / (TM / W)) + i % W;
        store_wide(staged + r * Tile::kStrideB + column + run * (Tile::BN / (TN / W)), values);
      }
#pragma unroll
    for (int i = kRows; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) {
        sum[i - kRows][j] = sum[i][j];
        sum[i][j] = T(0);
      }
  }
};

// The same number, of which the compiler does not know that.
template <class Number> __device__ __forceinline__ Number anew(Number x) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

// Tiles in bands of kBand rows of tiles, down each column of a band: blocks that run together share operands in L2.
struct TilePlace {
  int64_t row, column;
  int split;

  template <class T> __device__ static TilePlace of(const EpilogueParams<T>& p, unsigned block) {
    constexpr unsigned kBand = 8;
    const unsigned rows = static_cast<unsigned>(p.row_tiles), columns = static_cast<unsigned>(p.column_tiles);
    const unsigned split = block / (rows * columns), tile = block % (rows * columns);
    const unsigned band = tile / (kBand * columns), within = tile % (kBand * columns);
    const unsigned height = rows - band * kBand < kBand ? rows - band * kBand : kBand;
    return {band * kBand + within % height, within / height, static_cast<int>(split)};
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    multiply_tiles(const __grid_constant__ Product<typename Tile::T> product,
                   const __grid_constant__ EpilogueParams<typename Tile::T> p) {
  using T = typename Tile::T;
  constexpr int BK = Tile::BK, kAhead = kCopiesAsync ? Tile::kStages - 1 : 1;
  DELTARULE_SHARED(T, shared);
  if (p.stopped()) return;
  const int thread = static_cast<int>(threadIdx.x);
  const TilePlace place = TilePlace::of(p, blockIdx.x);
  const int64_t all_steps = ceil_div<int64_t>(product.K, BK), first = all_steps * place.split / p.splits;
  const int64_t depth = min((all_steps * (place.split + 1) / p.splits) * BK, product.K) - first * BK;
  const int steps = static_cast<int>(ceil_div<int64_t>(depth, BK));
  const int last_depth = static_cast<int>(depth - (steps - 1) * int64_t{BK});

  Loader<T, Tile::BM, BK, Tile::kThreads> a(product.a, place.row * Tile::BM, first * BK, thread);
  Loader<T, Tile::BN, BK, Tile::kThreads> b(product.b, place.column * Tile::BN, first * BK, thread);
  Sums<Tile> sums(thread);
  const auto fetch = [&](int step, T* to) {
    if (step < steps) {
      a.fetch(step == steps - 1 ? last_depth : BK, to);
      b.fetch(step == steps - 1 ? last_depth : BK, to + BK * Tile::kStrideA);
    }
    commit_copies();  // of nothing too: the wait counts groups
  };
  const auto put = [&](int step, T* to) {
    if (step >= steps) return;
    a.put(to);
    b.put(to + BK * Tile::kStrideA);
  };
  const auto after = [&](T* buffer) {
    return buffer == shared + (Tile::kStages - 1) * Tile::kStageElements ? shared : buffer + Tile::kStageElements;
  };

  T *full = shared, *empty = shared;
  for (int step = 0; step < kAhead; ++step, empty = after(empty)) {
    fetch(step, empty);
    put(step, empty);
  }
#pragma unroll 1
  for (int step = 0; step < steps; ++step, full = after(full), empty = after(empty)) {
    wait_copies<kAhead - 1>();
    __syncthreads();  // this step's buffer is full, and nobody reads that of the step before any more
    fetch(step + kAhead, empty);
    sums.multiply(full, full + BK * Tile::kStrideA);
    put(step + kAhead, empty);
  }
  __syncthreads();
  // What the epilogue needs is computed here, anew: the loop has no registers left for it.
  const int again = anew(thread);
  const TilePlace to = TilePlace::of(p, anew(blockIdx.x));
  sums.place(again);
  TileFinish<T, Tile::BN, Tile::kThreads> finish(p, {again, Tile::kThreads, 0}, to.row, to.column);
  finish.run(shared, Tile::kStrideB, Tile::kPhases, to.split, [&](int) { sums.stage(shared); });
}

// Queues the product; p as epilogue_params made it.
template <class Tile>
void run_tiles(const Product<typename Tile::T>& product, EpilogueParams<typename Tile::T> p, int splits) noexcept {
  using T = typename Tile::T;
  set_tiles(p, Tile::BM, Tile::BN, splits, !shares_have_a_kernel(Tile::BM, Tile::BN, sizeof(T)));
  if (!set_scratch(p)) return;
  const unsigned blocks = static_cast<unsigned>(p.row_tiles * p.column_tiles * splits);
  run(DELTARULE_HERE("gemm"), blocks, Tile::kThreads, Tile::kSharedBytes, multiply_tiles<Tile>, product, p);
  finish_splits(p);
  finish_column_sums(p);
}

}  // namespace
}  // namespace deltarule::cuda
