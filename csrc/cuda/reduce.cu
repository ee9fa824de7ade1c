// reduce.
//
// Computes   y[outer, inner] = op over n of x[outer, n, inner].
// Layout     inner = 1, short rows: 1 to 32 lanes a row, so that a lane has about four elements or the warp is full.
//            Long rows: a block of 256 threads a row, or a chunk of one; thread t takes the packs t, t + 256, ... of 16
//            bytes each.
//            Otherwise columns: a block has X results next to each other and Y threads for each, which take every Y-th
//            row; X Y <= 512, and X = 256, Y = 1 where there are results enough for all of a GPU.
//                      x = 0 .. X-1
//                y = 0   row 0, Y, 2Y ..     joined over y in shared memory
//                y = 1   row 1, Y+1 ..
//            Few long rows or columns are cut into chunks. Their partial results go to scratch memory, and the last
//            block of a row or strip to finish joins them: who does it varies, the order does not. Cuts depend on the
//            shape alone.
// Arithmetic bound by memory; sums and products in float64, a conversion and an addition an element, of which an H100
//            could do 4 times as many as come from memory. Eight loads (columns, short rows) or four packs (long rows)
//            of a thread are on their way at once. A warp's load in columns is 128 bytes of one row as it stands:
//            packs would gain nothing.
// Measured   not run on hardware yet. Registers, sm_90a: short rows 32 to 48, long rows 28 to 32, columns 40 to 56. No
//            spills; packs are single 16-byte loads.
// Refs       kernels.h; Harris, "Optimizing parallel reduction in CUDA"; the CUDA sample threadFenceReduction.
#include "cuda/folds.cuh"
#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kShortThreads = 128, kLongThreads = 256, kColumnThreads = 512, kWideStrip = 256;
constexpr int64_t kShortRow = 512;         // elements of a row that a warp takes,
constexpr int64_t kShortRowOfMany = 8192;  // or so many, if there are
constexpr int64_t kManyRows = 4096;        // as many rows as this
constexpr int64_t kManyResults = 1 << 17;  // results that fill a GPU with one thread each
constexpr int64_t kBlocks = 1024;          // wanted at least where work is cut into chunks
constexpr int64_t kChunk = 8192;           // elements of a row's chunk at least
constexpr int64_t kChunkRows = 16;         // rows of a thread in a column's chunk, about
constexpr int64_t kRowsUncut = 32;         // rows of a thread up to which columns stay whole

__device__ unsigned tickets[kBlocks];  // of rows or strips in chunks: less than kBlocks of them

// part, and x[i stride] for i = first, first + step, ... < count; `at` is the index of x[0].
template <class Op>
__device__ __forceinline__ typename Op::Part fold_strided(typename Op::Part part, const typename Op::Element* x,
                                                          int64_t stride, int first, int count, int step, int64_t at) {
  using T = typename Op::Element;
  constexpr int kBatch = 8;
  const T* p = x + first * stride;
  stride *= step;
  int64_t i = first;  // i + 8 step may pass 2^31
  for (; i + (kBatch - 1) * int64_t{step} < count; i += kBatch * int64_t{step}, p += kBatch * stride) {
    T in[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) in[k] = p[k * stride];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) part = Op::add(part, in[k], at + i + k * int64_t{step});
  }
  if (i >= count) return part;
  T in[kBatch];
#pragma unroll
  for (int k = 0; k < kBatch; ++k) in[k] = i + k * int64_t{step} < count ? p[k * stride] : T(0);
#pragma unroll
  for (int k = 0; k < kBatch; ++k)
    if (i + k * int64_t{step} < count) part = Op::add(part, in[k], at + i + k * int64_t{step});
  return part;
}

// x[outer, n] -> y[outer], `width` lanes a row.
template <class Op>
__global__ void __launch_bounds__(kShortThreads)
    fold_short_rows(const typename Op::Element* x, int64_t outer, int n, int width, typename Op::Result* y) {
  const Lanes team{width};
  const int64_t row = (int64_t{blockIdx.x} * kShortThreads + threadIdx.x) / width;
  const int count = row < outer ? n : 0;
  const auto join = [](auto a, auto b) { return Op::join(a, b); };
  const auto part = fold_strided<Op>(Op::identity(), x + row * n, 1, team.rank(), count, width, 0);
  const auto whole = team.fold(part, join);
  if (row < outer && team.rank() == 0) y[row] = Op::result(whole);
}

// x[outer, n] -> y[outer]; `chunks` blocks a row, of `length` elements each, a multiple of the pack.
template <class Op>
__global__ void __launch_bounds__(kLongThreads)
    fold_long_rows(const typename Op::Element* x, int64_t n, unsigned chunks, int64_t length, typename Op::Part* parts,
                   typename Op::Result* y) {
  DELTARULE_SHARED(typename Op::Part, shared);
  const WholeBlock team{shared};
  const auto join = [](auto a, auto b) { return Op::join(a, b); };
  const unsigned row = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
  const int64_t begin = chunk * length, end = begin + length < n ? begin + length : n;
  const auto* const in = x + row * n;
  auto part = on_boundary(in) ? fold_packs<Op, true, kLongThreads>(in, begin, end)
                              : fold_packs<Op, false, kLongThreads>(in, begin, end);
  part = team.fold(part, join);
  if (chunks > 1) {
    if (threadIdx.x == 0) parts[blockIdx.x] = part;
    if (!last_to_come(&tickets[row], chunks)) return;
    part = Op::identity();
    for (unsigned c = threadIdx.x; c < chunks; c += kLongThreads) part = Op::join(part, parts[row * chunks + c]);
    part = team.fold(part, join);
  }
  if (threadIdx.x == 0) y[row] = Op::result(part);
}

// How columns are cut. Result r is y[r / inner, r % inner].
struct Columns {
  int64_t outer, n, inner;
  int width;        // X, a power of two
  unsigned strips;  // of X results
  unsigned chunks;  // of n
  int64_t length;   // rows of a chunk
};

// The threads of a block that share a result, joined; the block's first `width` threads get it.
template <class Op>
__device__ __forceinline__ typename Op::Part join_down(typename Op::Part part, int width, typename Op::Part* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  if (static_cast<int>(blockDim.x) == width) return part;
  shared[thread] = part;
  for (int half = static_cast<int>(blockDim.x) / 2; half >= width; half /= 2) {
    __syncthreads();
    if (thread < half) shared[thread] = Op::join(shared[thread], shared[thread + half]);
  }
  part = shared[thread];
  __syncthreads();  // the room is free again
  return part;
}

// x[outer, n, inner] -> y[outer, inner]
template <class Op>
__global__ void __launch_bounds__(kColumnThreads, 2)
    fold_columns(const typename Op::Element* x, Columns cut, typename Op::Part* parts, typename Op::Result* y) {
  DELTARULE_SHARED(typename Op::Part, shared);
  const int width = cut.width, lane = static_cast<int>(threadIdx.x) & (width - 1);
  const int step = static_cast<int>(blockDim.x) / width, rank = static_cast<int>(threadIdx.x) / width;
  const unsigned strip = blockIdx.x % cut.strips, chunk = blockIdx.x / cut.strips;
  const int64_t at = int64_t{strip} * width + lane, results = cut.outer * cut.inner;
  auto part = Op::identity();
  if (at < results) {
    const int64_t o = cut.outer == 1 ? 0 : at / cut.inner, begin = chunk * cut.length;
    const int64_t left = cut.n - begin, count = left < cut.length ? left : cut.length;
    const auto* const column = x + (o * cut.n + begin) * cut.inner + (at - o * cut.inner);
    part = fold_strided<Op>(part, column, cut.inner, rank, static_cast<int>(count), step, begin);
  }
  part = join_down<Op>(part, width, shared);
  if (cut.chunks > 1) {
    const int64_t place = int64_t{strip} * width + lane, row = int64_t{cut.strips} * width;
    if (rank == 0) parts[chunk * row + place] = part;
    if (!last_to_come(&tickets[strip], cut.chunks)) return;
    part = Op::identity();
    for (unsigned c = rank; c < cut.chunks; c += step) part = Op::join(part, parts[c * row + place]);
    part = join_down<Op>(part, width, shared);
  }
  if (rank == 0 && at < results) y[at] = Op::result(part);
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <class Op> void reduce_rows(const ReduceArgs& args) {
  using Part = typename Op::Part;
  const auto* const x = static_cast<const typename Op::Element*>(args.x);
  auto* const y = static_cast<typename Op::Result*>(args.y);
  if (args.n <= (args.outer < kManyRows ? kShortRow : kShortRowOfMany)) {
    const int width = static_cast<int>(smaller(kWarp, power_of_two(ceil_div<int64_t>(args.n, 4))));
    const int64_t blocks = ceil_div<int64_t>(args.outer, kShortThreads / width);
    return run(DELTARULE_HERE("reduce_short_rows"), static_cast<unsigned>(blocks), kShortThreads, 0,
               fold_short_rows<Op>, x, args.outer, static_cast<int>(args.n), width, y);
  }
  constexpr int64_t kTile = kLongThreads * kPack<typename Op::Element>;
  int64_t chunks = larger(1, smaller(args.n / kChunk, kBlocks / args.outer));
  const int64_t length = ceil_div(ceil_div(args.n, chunks), kTile) * kTile;
  chunks = ceil_div(args.n, length);
  Part* parts = nullptr;
  if (chunks > 1) {
    parts = static_cast<Part*>(scratch(args.outer * chunks * static_cast<int64_t>(sizeof(Part))));
    if (parts == nullptr) return;
  }
  run(DELTARULE_HERE("reduce_long_rows"), static_cast<unsigned>(args.outer * chunks), kLongThreads,
      kWarp * sizeof(Part), fold_long_rows<Op>, x, args.n, static_cast<unsigned>(chunks), length, parts, y);
}

template <class Op> void reduce_columns(const ReduceArgs& args) {
  using Part = typename Op::Part;
  const int64_t results = args.outer * args.inner;
  int64_t width = smaller(kWarp, power_of_two(results));
  int64_t step = smaller(kColumnThreads / width, power_of_two(ceil_div<int64_t>(args.n, 8)));
  if (step == 1 || results >= kManyResults) width = kWideStrip, step = 1;
  while (width * step < kWarp) step *= 2;
  const int64_t strips = ceil_div(results, width);
  int64_t chunks = 1;
  if (args.n > kRowsUncut * step) chunks = larger(1, smaller(ceil_div(args.n, kChunkRows * step), kBlocks / strips));
  const int64_t length = ceil_div(larger(1, args.n), chunks);
  chunks = larger(1, ceil_div(args.n, length));
  Part* parts = nullptr;
  if (chunks > 1) {
    parts = static_cast<Part*>(scratch(chunks * strips * width * static_cast<int64_t>(sizeof(Part))));
    if (parts == nullptr) return;
  }
  const Columns cut{args.outer,
                    args.n,
                    args.inner,
                    static_cast<int>(width),
                    static_cast<unsigned>(strips),
                    static_cast<unsigned>(chunks),
                    length};
  const int64_t threads = width * step;
  run(DELTARULE_HERE("reduce_columns"), static_cast<unsigned>(strips * chunks), static_cast<unsigned>(threads),
      static_cast<size_t>(threads) * sizeof(Part), fold_columns<Op>, static_cast<const typename Op::Element*>(args.x),
      cut, parts, static_cast<typename Op::Result*>(args.y));
}

template <class T> void reduce_of(const ReduceArgs& args) {
  with_fold<T>(args.op, [&](auto op) {
    using Op = decltype(op);
    args.inner == 1 ? reduce_rows<Op>(args) : reduce_columns<Op>(args);
  });
}

}  // namespace

void reduce(const ReduceArgs& args) noexcept {
  if (args.outer == 0 || args.inner == 0) return;
  args.dtype == DType::float32 ? reduce_of<float>(args) : reduce_of<double>(args);
}

}  // namespace deltarule::cuda
