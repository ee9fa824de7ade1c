// What becomes of a tile of products while its block still has it: the part every matrix product on the GPU shares.
//
// Computes   C = epilogue(alpha P) for the four epilogues of kernels.h, backprop's db, and the sum over splits of K.
// Layout     A block stages its tile in shared memory, in phases if it is large, and walks it row by row:
//
//              registers --stage(phase)--> staged[rows of the phase][stride] --> 16 bytes a thread of rows of C
//
//            so that C, z, y and the velocity are read and written in whole lines, whatever fragments the products were
//            made in, and each thread owns the same columns all the way down: db's sums stay in registers. Where rows
//            are no multiple of 16 bytes, or not aligned, the threads of a warp take neighbouring elements instead.
//
//            With K split, a block stores its share in partial[split][M][N]; the last block of a tile to arrive adds
//            the shares, in the order of the splits, and finishes the tile (or `finish_splits` does, in a kernel of its
//            own). db: each tile's sums go to sums[row tile][N]; the last to arrive in a column of tiles adds them, in
//            the order of the rows. Who is last varies from run to run, what is summed in which order does not.
// Arithmetic The kind of epilogue is a uniform switch outside the loop over rows, the activation one per 16 bytes: a
//            branch every 4 elements costs less than their exponentials, and a kernel per kind and activation would
//            be 96 for each tile and pair of transposes.
// Measured   Not run on hardware yet. ptxas, registers a thread for sm_90a, no spills: finish_splits 74, float64 82.
//            The epilogue is some 2,500 instructions of a kernel.
// Refs       CUDA samples, threadFenceReduction: the last block to arrive.
#pragma once

#include <algorithm>

#include "cuda/run.cuh"
#include "cuda/vec.cuh"
#include "kernels.h"

namespace deltarule::cuda {
namespace {

constexpr int64_t kColumnCounters = 4096;  // columns of tiles and tiles for which there are counters
constexpr int64_t kTileCounters = 4096;

// Blocks that have arrived; back at 0 when the kernel ends.
__device__ unsigned column_arrivals[kColumnCounters];
__device__ unsigned tile_arrivals[kTileCounters];

template <class T> constexpr int kWide = 16 / sizeof(T);  // elements of a thread's access

template <class T> struct WideType;
template <> struct WideType<float> {
  using type = float4;
};
template <> struct WideType<double> {
  using type = double2;
};

template <class T> __device__ __forceinline__ void load_wide(const T* from, T (&x)[kWide<T>]) {
  const auto value = *reinterpret_cast<const typename WideType<T>::type*>(from);
  x[0] = value.x;
  x[1] = value.y;
  if constexpr (sizeof(T) == 4) {
    x[2] = value.z;
    x[3] = value.w;
  }
}

template <class T> __device__ __forceinline__ void store_wide(T* to, const T (&x)[kWide<T>]) {
  typename WideType<T>::type value;
  value.x = x[0];
  value.y = x[1];
  if constexpr (sizeof(T) == 4) {
    value.z = x[2];
    value.w = x[3];
  }
  *reinterpret_cast<typename WideType<T>::type*>(to) = value;
}

// From L2: another block may have written it during this kernel.
template <class T> __device__ __forceinline__ void load_wide_fresh(const T* from, T (&x)[kWide<T>]) {
  const auto value = __ldcg(reinterpret_cast<const typename WideType<T>::type*>(from));
  x[0] = value.x;
  x[1] = value.y;
  if constexpr (sizeof(T) == 4) {
    x[2] = value.z;
    x[3] = value.w;
  }
}

// GemmArgs as kernels take them. Made by epilogue_params, then set_tiles.
template <class T> struct EpilogueParams {
  Epilogue kind;
  Activation activation;
  bool nesterov;
  bool wide;            // rows of all operands begin at multiples of 16 bytes and end there
  bool last_finishes;   // splits: the last block of a tile does it; else finish_splits
  bool last_adds_sums;  // db: the last block of a column of tiles does it; else finish_column_sums
  T alpha, beta, slope, lr, momentum, weight_decay;
  T* c;
  T* velocity;
  const T* bias;
  T* z;
  const T* y;
  T* db;
  const StepState* state;
  int64_t M, N, ldc, ldz, ldy;

  int tile_rows, splits;
  int64_t row_tiles, column_tiles;
  T* sums;     // [row_tiles, N]
  T* partial;  // [splits, M, ld_partial]
  int64_t ld_partial;

  // Nothing may be updated any more: true for the whole kernel, which had best return at once.
  __device__ bool stopped() const { return kind == Epilogue::sgd && state != nullptr && state->stopped != 0; }
};

inline bool is_wide(const void* pointer, int64_t bytes_between_rows) {
  return (reinterpret_cast<uintptr_t>(pointer) | static_cast<uintptr_t>(bytes_between_rows)) % 16 == 0;
}

template <class T> EpilogueParams<T> epilogue_params(const GemmArgs& args) {
  const bool act = args.epilogue == Epilogue::bias_act, back = args.epilogue == Epilogue::backprop;
  const bool sgd = args.epilogue == Epilogue::sgd;
  EpilogueParams<T> p{};
  p.kind = args.epilogue;
  p.activation = args.activation;
  p.nesterov = args.nesterov;
  p.alpha = static_cast<T>(args.alpha);
  p.beta = static_cast<T>(args.beta);
  p.slope = static_cast<T>(args.slope);
  p.lr = static_cast<T>(args.lr);
  p.momentum = static_cast<T>(args.momentum);
  p.weight_decay = static_cast<T>(args.weight_decay);
  p.c = static_cast<T*>(args.C);
  p.velocity = sgd ? static_cast<T*>(args.velocity) : nullptr;
  p.bias = act ? static_cast<const T*>(args.bias) : nullptr;
  p.z = act || back ? static_cast<T*>(args.z) : nullptr;
  p.y = back ? static_cast<const T*>(args.y) : nullptr;
  p.db = back ? static_cast<T*>(args.db) : nullptr;
  p.state = sgd ? args.state : nullptr;
  p.M = args.M;
  p.N = args.N;
  p.ldc = args.ldc;
  p.ldz = args.ldz;
  p.ldy = args.ldy;
  constexpr int64_t size = sizeof(T);
  p.wide = p.N % kWide<T> == 0 && is_wide(p.c, p.ldc * size) && is_wide(p.velocity, 0) && is_wide(p.bias, 0) &&
           (p.z == nullptr || is_wide(p.z, p.ldz * size)) && (p.y == nullptr || is_wide(p.y, p.ldy * size));
  p.tile_rows = 1;
  p.splits = 1;
  return p;
}

// Cuts C into tiles and K into splits. Then `memory` has to be set: scratch of epilogue_bytes(p).
// last_finishes: splits are added in the same kernel, which pays as long as a tile is small.
template <class T>
void set_tiles(EpilogueParams<T>& p, int tile_rows, int tile_columns, int splits, bool last_finishes) {
  p.tile_rows = tile_rows;
  p.row_tiles = ceil_div<int64_t>(p.M, tile_rows);
  p.column_tiles = ceil_div<int64_t>(p.N, tile_columns);
  p.splits = splits;
  p.ld_partial = ceil_div<int64_t>(p.N, kWide<T>) * kWide<T>;
  p.last_finishes = last_finishes && p.row_tiles * p.column_tiles <= kTileCounters;
  p.last_adds_sums = p.column_tiles <= kColumnCounters;
}

constexpr int kShareRows = 16, kShareColumns = 128, kShareThreads = 256;  // tiles of finish_splits

template <class T> int64_t sums_bytes(const EpilogueParams<T>& p) {
  const int64_t tiles = p.splits > 1 && !p.last_finishes ? ceil_div<int64_t>(p.M, kShareRows) : p.row_tiles;
  const int64_t bytes = tiles * p.N * static_cast<int64_t>(sizeof(T));
  return p.db != nullptr && tiles > 1 ? ceil_div<int64_t>(bytes, 256) * 256 : 0;
}

// Of scratch that the epilogue needs, a multiple of 256; 0 in the common case of one split and no db.
template <class T> int64_t epilogue_bytes(const EpilogueParams<T>& p) {
  const int64_t shares = p.splits > 1 ? p.splits * p.M * p.ld_partial * static_cast<int64_t>(sizeof(T)) : 0;
  return sums_bytes(p) + ceil_div<int64_t>(shares, 256) * 256;
}

// memory: epilogue_bytes(p) bytes, aligned to 256.
template <class T> void set_memory(EpilogueParams<T>& p, void* memory) {
  p.sums = static_cast<T*>(memory);
  p.partial = reinterpret_cast<T*>(static_cast<char*>(memory) + sums_bytes(p));
}

// epilogue_bytes and set_memory for kernels that need no other scratch. False: there is no memory, launch nothing.
template <class T> bool set_scratch(EpilogueParams<T>& p) noexcept {
  const int64_t bytes = epilogue_bytes(p);
  if (bytes == 0) return true;
  void* const memory = scratch(bytes);
  if (memory != nullptr) set_memory(p, memory);
  return memory != nullptr;
}

// Barrier `id` of launch.cuh for the `threads` threads that have a tile.
struct Team {
  int thread, threads, barrier;
  __device__ void sync() const { barrier_sync(barrier, threads); }
};

// True in every thread of the last of `expected` teams to come here, which sees what the others wrote before.
// flag: a word of shared memory that nobody else uses until all threads have returned.
__device__ inline bool last_to_arrive(const Team& team, unsigned* counter, unsigned expected, unsigned* flag) {
  __threadfence();
  team.sync();
  if (team.thread == 0) *flag = atomicInc(counter, expected - 1) == expected - 1 ? 1 : 0;
  team.sync();
  const bool last = *flag != 0;
  if (last) __threadfence();
  return last;
}

// y = f(x), or x = x f'(z, y), for a few elements.
template <class T, int W> __device__ void activate_few(const EpilogueParams<T>& p, const T (&x)[W], T (&y)[W]) {
  using V = Lane<T>;
  with_activation(p.activation, [&](auto activation) {
#pragma unroll
    for (int c = 0; c < W; ++c) y[c] = activation.f(V{x[c]}, V{p.slope}).v;
  });
}

template <class T, int W>
__device__ void through_few(const EpilogueParams<T>& p, const T (&z)[W], const T (&y)[W], T (&x)[W]) {
  using V = Lane<T>;
  with_activation(p.activation, [&](auto activation) {
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] = x[c] * activation.df(V{z[c]}, V{y[c]}, V{p.slope}).v;
  });
}

// The columns of a row that one thread has: W of them, `step` apart, of which `count` are in the matrix. Wide: step 1,
// and all or none.
template <int W> struct Columns {
  int64_t first;
  int step, count;
  bool wide;

  template <class T> __device__ __forceinline__ void load(const T* row, T (&x)[W]) const {
    if constexpr (W == kWide<T>) {
      if (wide) return load_wide(row + first, x);
    }
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] = c < count ? row[first + c * step] : T(0);
  }
  template <class T> __device__ __forceinline__ void store(T* row, const T (&x)[W]) const {
    if constexpr (W == kWide<T>) {
      if (wide) return store_wide(row + first, x);
    }
#pragma unroll
    for (int c = 0; c < W; ++c)
      if (c < count) row[first + c * step] = x[c];
  }
};

// The epilogue for a thread's columns of row i, count > 0. x: products without alpha; afterwards C's values (backprop:
// for the sums of columns). rate: rate_of(p).
template <Epilogue kKind, class T, int W>
__device__ __forceinline__ void finish_row(const EpilogueParams<T>& p, T rate, const Columns<W>& at, int64_t i,
                                           T (&x)[W]) {
  T* const c_row = p.c + i * p.ldc;
  T old[W] = {};
  if (kKind == Epilogue::sgd || (kKind != Epilogue::backprop && p.beta != T(0))) at.load(c_row, old);
  if constexpr (kKind == Epilogue::none) {
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] = p.beta == T(0) ? p.alpha * x[c] : fma(p.alpha, x[c], p.beta * old[c]);
  } else if constexpr (kKind == Epilogue::bias_act) {
    T bias[W] = {}, z[W];
    if (p.bias != nullptr) at.load(p.bias, bias);
#pragma unroll
    for (int c = 0; c < W; ++c) z[c] = p.alpha * x[c] + old[c] + bias[c];
    if (p.z != nullptr) at.store(p.z + i * p.ldz, z);
    activate_few(p, z, x);
  } else if constexpr (kKind == Epilogue::backprop) {
    T z[W] = {}, y[W];
    if (p.z != nullptr) at.load(p.z + i * p.ldz, z);
    at.load(p.y + i * p.ldy, y);
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] *= p.alpha;
    through_few(p, z, y, x);
  } else {
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] = fma(p.weight_decay, old[c], p.alpha * x[c]);
    if (p.velocity != nullptr) {
      T v[W];
      at.load(p.velocity + i * p.ldc, v);
#pragma unroll
      for (int c = 0; c < W; ++c) {
        v[c] = fma(p.momentum, v[c], x[c]);
        x[c] = p.nesterov ? fma(p.momentum, v[c], x[c]) : v[c];
      }
      at.store(p.velocity + i * p.ldc, v);
    }
#pragma unroll
    for (int c = 0; c < W; ++c) x[c] = fma(-rate, x[c], old[c]);
  }
  at.store(c_row, x);
}

// sgd's learning rate; once a thread.
template <class T> __device__ T rate_of(const EpilogueParams<T>& p) {
  return p.state != nullptr ? static_cast<T>(p.state->lr) : p.lr;
}

// One element: for kernels whose blocks have no tile.
template <class T> __device__ T finish_element(const EpilogueParams<T>& p, T rate, int64_t i, int64_t j, T product) {
  const Columns<1> at{j, 1, 1, false};
  T x[1] = {product};
  switch (p.kind) {
    case Epilogue::none:
      finish_row<Epilogue::none>(p, rate, at, i, x);
      break;
    case Epilogue::bias_act:
      finish_row<Epilogue::bias_act>(p, rate, at, i, x);
      break;
    case Epilogue::backprop:
      finish_row<Epilogue::backprop>(p, rate, at, i, x);
      break;
    case Epilogue::sgd:
      finish_row<Epilogue::sgd>(p, rate, at, i, x);
      break;
  }
  return x[0];
}

// sums[row_tiles, j] -> db[j]
template <class T> __device__ __forceinline__ T add_tiles(const EpilogueParams<T>& p, int64_t j) {
  T total = T(0);
#pragma unroll 8
  for (int64_t tile = 0; tile < p.row_tiles; ++tile) total += __ldcg(p.sums + tile * p.N + j);
  return total;
}

// One tile [p.tile_rows, kColumns] of C and the kThreads threads (whole warps) that finish it.
//
//   TileFinish<float, 128, 256> finish(p, {thread, 256, barrier}, row_tile, column_tile);
//   finish.run(staged, stride, phases, split, [&](int phase) { ... });
//
// The lambda puts the rows [phase, phase + 1) * tile_rows / phases into staged[rows][stride], products without alpha.
// It is called once a phase, in order, by all threads and between barriers. The loop over phases is not unrolled, so
// its indices into registers must not depend on the phase: write the first part of them and move the others up, or let
// threads whose rows are in another phase do nothing. stride: a multiple of 16 bytes. staged: aligned to 16, at least
// kSharedBytes; nobody may still be reading from it when run is called.
template <class T, int kColumns, int kThreads> class TileFinish {
 public:
  static constexpr int W = kWide<T>;
  static constexpr int kGroups = kColumns / W;             // threads of a row
  static constexpr int kRowsAtOnce = kThreads / kGroups;   // rows the block has in hand
  static constexpr int kSharedBytes = kThreads * 16 + 16;  // the sums of columns, and a flag
  static_assert(kThreads % kGroups == 0, "rows are finished by as many threads each");

  __device__ TileFinish(const EpilogueParams<T>& params, const Team& team, int64_t row_tile, int64_t column_tile)
      : p(params), team_(team), row_tile_(row_tile), column_tile_(column_tile), i0_(row_tile * params.tile_rows) {
    const int group = team.thread % kGroups;
    at_.wide = p.wide;
    at_.step = p.wide ? 1 : kGroups;
    column_ = p.wide ? group * W : group;
    at_.first = column_tile * kColumns + column_;
    const int64_t left = ceil_div<int64_t>(p.N - at_.first, at_.step);
    at_.count = left <= 0 ? 0 : left < W ? static_cast<int>(left) : W;
  }

  template <class Stage> __device__ void run(T* staged, int stride, int phases, int split, const Stage& stage) {
    const int height = p.tile_rows / phases;
    const bool shares = p.splits > 1;
#pragma unroll 1
    for (int phase = 0; phase < phases; ++phase) {
      stage(phase);
      team_.sync();
      if (shares) store_share(staged, stride, phase * height, height, split);
      else rows(staged, stride, phase * height, height);
      team_.sync();
    }
    if (shares) {
      if (!p.last_finishes) return;
      unsigned* arrivals = tile_arrivals + (row_tile_ * p.column_tiles + column_tile_);
      unsigned* flag = reinterpret_cast<unsigned*>(staged);
      if (!last_to_arrive(team_, arrivals, static_cast<unsigned>(p.splits), flag)) return;
      team_.sync();
      // A loop of its own: in the one above the products would stay in registers meanwhile.
#pragma unroll 1
      for (int phase = 0; phase < phases; ++phase) run_shares(staged, stride, phase * height, height);
    }
    if (p.db != nullptr) add_columns(staged);
  }

  // The tile's rows where all shares have been stored by a kernel before this.
  __device__ void run_shares(T* staged, int stride) {
    run_shares(staged, stride, 0, p.tile_rows);
    if (p.db != nullptr) add_columns(staged);
  }

 private:
  __device__ __forceinline__ void run_shares(T* staged, int stride, int first, int count) {
    stage_shares(staged, stride, first, count);
    team_.sync();
    rows(staged, stride, first, count);
    team_.sync();
  }

  // Rows [first, first + count) of the tile, from shared memory to C.
  __device__ __forceinline__ void rows(const T* staged, int stride, int first, int count) {
    if (at_.count == 0) return;
    const T rate = rate_of(p);
    switch (p.kind) {
      case Epilogue::none:
        return rows_of<Epilogue::none>(rate, staged, stride, first, count);
      case Epilogue::bias_act:
        return rows_of<Epilogue::bias_act>(rate, staged, stride, first, count);
      case Epilogue::backprop:
        return rows_of<Epilogue::backprop>(rate, staged, stride, first, count);
      case Epilogue::sgd:
        return rows_of<Epilogue::sgd>(rate, staged, stride, first, count);
    }
  }

  template <Epilogue kKind>
  __device__ __forceinline__ void rows_of(T rate, const T* staged, int stride, int first, int count) {
#pragma unroll 1
    for (int r = team_.thread / kGroups; r < count; r += kRowsAtOnce) {
      const int64_t i = i0_ + first + r;
      if (i >= p.M) return;
      T x[W];
      if (at_.wide) {
        load_wide(staged + r * stride + column_, x);
      } else {
#pragma unroll
        for (int c = 0; c < W; ++c) x[c] = staged[r * stride + column_ + c * kGroups];
      }
      finish_row<kKind>(p, rate, at_, i, x);
      if constexpr (kKind == Epilogue::backprop) {
#pragma unroll
        for (int c = 0; c < W; ++c) sum_[c] += x[c];
      }
    }
  }

  // The sum of the splits' shares of these rows, in the order of the splits; some rows at a time, for loads in flight.
  __device__ __forceinline__ void stage_shares(T* staged, int stride, int first, int count) const {
    constexpr int kRows = 4;
    const int column = team_.thread % kGroups * W;
    const int64_t j = column_tile_ * kColumns + column;
    if (j >= p.N) return;
#pragma unroll 1
    for (int r = team_.thread / kGroups; r < count; r += kRows * kRowsAtOnce) {
      T sum[kRows][W] = {};
#pragma unroll 2
      for (int split = 0; split < p.splits; ++split) {
        const T* row = p.partial + (split * p.M + i0_ + first + r) * p.ld_partial + j;
#pragma unroll
        for (int n = 0; n < kRows; ++n) {
          if (r + n * kRowsAtOnce >= count || i0_ + first + r + n * kRowsAtOnce >= p.M) continue;
          T share[W];
          load_wide_fresh(row + n * kRowsAtOnce * p.ld_partial, share);
#pragma unroll
          for (int c = 0; c < W; ++c) sum[n][c] += share[c];
        }
      }
#pragma unroll
      for (int n = 0; n < kRows; ++n)
        if (r + n * kRowsAtOnce < count) store_wide(staged + (r + n * kRowsAtOnce) * stride + column, sum[n]);
    }
  }

  // The last group of a row may reach beyond N, into ld_partial.
  __device__ __forceinline__ void store_share(const T* staged, int stride, int first, int count, int split) const {
    const int column = team_.thread % kGroups * W;
    const int64_t j = column_tile_ * kColumns + column;
    if (j >= p.N) return;
#pragma unroll 1
    for (int r = team_.thread / kGroups; r < count; r += kRowsAtOnce) {
      const int64_t i = i0_ + first + r;
      if (i >= p.M) return;
      T x[W];
      load_wide(staged + r * stride + column, x);
      store_wide(p.partial + (split * p.M + i) * p.ld_partial + j, x);
    }
  }

  // db, or the tile's share of it: threads in order, tiles in order.
  __device__ __forceinline__ void add_columns(T* shared) {
    T* mine = shared + team_.thread / kGroups * kColumns + column_;
#pragma unroll
    for (int c = 0; c < W; ++c) mine[c * at_.step] = sum_[c];
    team_.sync();
    T* to = p.row_tiles == 1 ? p.db : p.sums + row_tile_ * p.N;
    for (int column = team_.thread; column < kColumns; column += kThreads) {
      T total = shared[column];
#pragma unroll 8
      for (int r = 1; r < kRowsAtOnce; ++r) total += shared[r * kColumns + column];
      const int64_t j = column_tile_ * kColumns + column;
      if (j < p.N) to[j] = total;
    }
    if (p.row_tiles == 1 || !p.last_adds_sums) return;
    unsigned* flag = reinterpret_cast<unsigned*>(shared + kThreads * W);
    if (!last_to_arrive(team_, column_arrivals + column_tile_, static_cast<unsigned>(p.row_tiles), flag)) return;
    for (int column = team_.thread; column < kColumns; column += kThreads) {
      const int64_t j = column_tile_ * kColumns + column;
      if (j < p.N) p.db[j] = add_tiles(p, j);
    }
  }

  const EpilogueParams<T>& p;
  Team team_;
  int64_t row_tile_, column_tile_, i0_;
  Columns<W> at_;
  int column_;  // of at_.first, within the tile
  T sum_[W] = {};
};

// db where no block of the product's own kernel adds it up.
template <class T> __global__ void add_column_sums(const __grid_constant__ EpilogueParams<T> p) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j < p.N) p.db[j] = add_tiles(p, j);
}

template <class T>
__global__ void __launch_bounds__(kShareThreads, 2) add_shares_and_finish(const __grid_constant__ EpilogueParams<T> p) {
  DELTARULE_SHARED(T, shared);
  if (p.stopped()) return;
  const Team team{static_cast<int>(threadIdx.x), kShareThreads, 0};
  for (int64_t row_tile = blockIdx.y; row_tile < p.row_tiles; row_tile += gridDim.y) {
    TileFinish<T, kShareColumns, kShareThreads>(p, team, row_tile, blockIdx.x).run_shares(shared, kShareColumns);
    __syncthreads();
  }
}

// Host: after a kernel that finished its tiles; nothing after one that only stored shares. Launches nothing in the
// common case.
template <class T> void finish_column_sums(const EpilogueParams<T>& p) noexcept {
  if (p.db == nullptr || p.M == 0 || p.N == 0 || p.row_tiles == 1 || p.last_adds_sums) return;
  if (p.splits > 1 && !p.last_finishes) return;
  run(DELTARULE_HERE("add_column_sums"), static_cast<unsigned>(ceil_div<int64_t>(p.N, 128)), 128, 0, add_column_sums<T>,
      p);
}

// Host: after a kernel that stored shares of K and whose last blocks do not finish them; p as the kernel had it.
// Launches nothing with one split, or last_finishes.
template <class T> void finish_splits(EpilogueParams<T> p) noexcept {
  using Finish = TileFinish<T, kShareColumns, kShareThreads>;
  constexpr size_t kShared = std::max<size_t>(kShareRows * kShareColumns * sizeof(T), Finish::kSharedBytes);
  if (p.splits == 1 || p.last_finishes || p.M == 0 || p.N == 0) return;
  p.tile_rows = kShareRows;
  p.row_tiles = ceil_div<int64_t>(p.M, kShareRows);
  p.column_tiles = ceil_div<int64_t>(p.N, kShareColumns);
  p.last_adds_sums = p.column_tiles <= kColumnCounters;
  p.last_finishes = true;  // the tiles as they are cut now
  const dim3 grid(static_cast<unsigned>(p.column_tiles), static_cast<unsigned>(std::min<int64_t>(p.row_tiles, 65535)));
  run(DELTARULE_HERE("add_shares_and_finish"), grid, kShareThreads, kShared, add_shares_and_finish<T>, p);
  finish_column_sums(p);
}

}  // namespace
}  // namespace deltarule::cuda
