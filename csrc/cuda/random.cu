// fill_random: uniform, normal and permutation from Philox counters, the CPU's bits.
//
// Computes   element i from (seed, stream, i) alone, as kernels.h says; a thread draws one counter and writes its two
//            or four numbers. A permutation sorts (key, i): counted by the key's leading bits into buckets of some 130
//            to 260 entries, the buckets' sizes summed up, every i dropped into its bucket in whatever order; then an
//            entry's place is the number of smaller ones in its bucket, which no order changes.
// Layout     buckets of the permutation: index[start[b] .. start[b + 1]), scratch memory of 8 bytes an entry and a
//            bucket. Keys are drawn again where they are needed: ten rounds cost less than 8 bytes.
// Arithmetic float64 throughout, each operation rounded by itself, so that bits agree with the CPU's: bound by the
//            float64 units. Ranks: 130 to 260 comparisons an entry.
// Measured   not run on hardware yet. sm_90a: 14 to 32 registers, no spill.
// Refs       base/philox.h, formulas/random.h.
#include <cstdint>

#include "cuda/map.cuh"
#include "cuda/slots.h"
#include "formulas/random.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 256;

struct Generator {
  uint64_t seed, stream;
  double base, factor;  // a number is base + factor * draw
  __device__ __forceinline__ Philox4 words(int64_t counter) const {
    return philox(seed, stream, static_cast<uint64_t>(counter));
  }
};

template <class T> struct Uniform {
  static constexpr int count = 16 / sizeof(T);
  static __device__ __forceinline__ void draw(const Philox4& words, double (&out)[count]) {
    if constexpr (count == 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = static_cast<double>(unit_float(words.word[i]));
    } else {
      out[0] = unit_double(words.word[0], words.word[1]);
      out[1] = unit_double(words.word[2], words.word[3]);
    }
  }
};

struct Normal {
  static constexpr int count = 2;
  static __device__ __forceinline__ void draw(const Philox4& words, double (&out)[count]) {
    normal_pair(words.word, out[0], out[1]);
  }
};

template <class Draw, class T>
__global__ void __launch_bounds__(kThreads) fill_kernel(Generator generator, bool aligned, int64_t n, T* y) {
  constexpr int kCount = Draw::count;
  const int64_t counter = int64_t{blockIdx.x} * kThreads + threadIdx.x, rest = n - counter * kCount;
  if (rest <= 0) return;
  double draw[kCount];
  Draw::draw(generator.words(counter), draw);
  Group<T, kCount> out;
#pragma unroll
  for (int i = 0; i < kCount; ++i) out.lane[i] = static_cast<T>(plus(generator.base, times(generator.factor, draw[i])));
  store_group<kCount>(y + counter * kCount, out, aligned && rest >= kCount,
                      static_cast<int>(rest < kCount ? rest : kCount));
}

template <class Draw, class T> void fill(const RandomArgs& args, double factor) {
  const int64_t threads = ceil_div<int64_t>(args.n, Draw::count);
  const unsigned blocks = static_cast<unsigned>(ceil_div<int64_t>(threads, kThreads));
  const Generator generator{args.seed, args.stream, args.lo, factor};
  run(DELTARULE_HERE("fill_random"), dim3(blocks), dim3(kThreads), 0, fill_kernel<Draw, T>, generator,
      is_aligned(args.y, Draw::count * sizeof(T)), args.n, static_cast<T*>(args.y));
}

// --- Permutation

using Count = unsigned long long;  // as atomicAdd has it

struct Sorter {
  uint64_t seed, stream;
  int64_t n;
  int bits;        // of the key that number its bucket
  Count* start;    // [2^bits]
  int64_t* index;  // [n]

  __device__ __forceinline__ uint64_t key(int64_t i) const {
    const Philox4 draw = philox(seed, stream, static_cast<uint64_t>(i));
    return (uint64_t{draw.word[1]} << 32) | draw.word[0];
  }
  __device__ __forceinline__ uint64_t bucket(uint64_t key) const { return bits == 0 ? 0 : key >> (64 - bits); }
};

// start[b] = entries of bucket b; zeros before
__global__ void __launch_bounds__(kThreads) count_kernel(Sorter sorter) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < sorter.n) atomicAdd(sorter.start + sorter.bucket(sorter.key(i)), Count{1});
}

constexpr int kScanThreads = 1024;

// start[b] = entries of the buckets before b, in place, by one block: 1024 buckets at a time.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(Count* start, int64_t buckets) {
  DELTARULE_SHARED(Count, sums);  // of the warps
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Count before = 0;
  for (int64_t first = 0; first < buckets; first += kScanThreads) {
    const int64_t b = first + threadIdx.x;
    const Count own = b < buckets ? start[b] : 0;
    Count sum = own;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const Count other = __shfl_up_sync(~0u, sum, distance);
      if (lane >= distance) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    Count earlier = before, all = 0;
    for (int w = 0; w < kScanThreads / 32; ++w) {
      if (w < warp) earlier += sums[w];
      all += sums[w];
    }
    if (b < buckets) start[b] = earlier + sum - own;
    before += all;
    __syncthreads();
  }
}

// Afterwards start[b] is where bucket b ends.
__global__ void __launch_bounds__(kThreads) scatter_kernel(Sorter sorter) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= sorter.n) return;
  sorter.index[atomicAdd(sorter.start + sorter.bucket(sorter.key(i)), Count{1})] = i;
}

struct Entry {
  uint64_t key;
  int64_t index;
};

constexpr int kRankThreads = 128;

// A block a bucket, as many entries at a time as it has threads, against as many at a time.
__global__ void __launch_bounds__(kRankThreads) rank_kernel(Sorter sorter, int64_t* y) {
  DELTARULE_SHARED(Entry, entries);
  const Count begin = blockIdx.x == 0 ? 0 : sorter.start[blockIdx.x - 1];
  const int64_t size = static_cast<int64_t>(sorter.start[blockIdx.x] - begin);
  const int64_t* const bucket = sorter.index + begin;
  for (int64_t own = 0; own < size; own += kRankThreads) {
    const bool inside = own + threadIdx.x < size;
    const int64_t index = inside ? bucket[own + threadIdx.x] : 0;
    const uint64_t key = sorter.key(index);
    int64_t smaller = 0;
    for (int64_t first = 0; first < size; first += kRankThreads) {
      const int count = static_cast<int>(size - first < kRankThreads ? size - first : kRankThreads);
      __syncthreads();
      if (static_cast<int>(threadIdx.x) < count) {
        const int64_t other = bucket[first + threadIdx.x];
        entries[threadIdx.x] = {sorter.key(other), other};
      }
      __syncthreads();
      for (int i = 0; i < count; ++i)
        smaller += entries[i].key < key || (entries[i].key == key && entries[i].index < index);
    }
    if (inside) y[begin + smaller] = index;
  }
}

constexpr int64_t kLargestBucket = 2 * kRankThreads;  // on average: two turns of a block

void permutation(const RandomArgs& args) {
  int bits = 0;
  while ((args.n >> bits) > kLargestBucket) ++bits;
  const int64_t buckets = int64_t{1} << bits, sizes = buckets * static_cast<int64_t>(sizeof(Count));
  char* const memory = static_cast<char*>(scratch(sizes + args.n * static_cast<int64_t>(sizeof(int64_t))));
  if (memory == nullptr) return;
  const Sorter sorter{args.seed,
                      args.stream,
                      args.n,
                      bits,
                      reinterpret_cast<Count*>(memory),
                      reinterpret_cast<int64_t*>(memory + sizes)};
  const dim3 blocks(static_cast<unsigned>(ceil_div<int64_t>(args.n, kThreads))), threads(kThreads);
  report(cudaMemsetAsync(sorter.start, 0, static_cast<size_t>(sizes), here().stream), DELTARULE_HERE("permutation"));
  run(DELTARULE_HERE("permutation: count"), blocks, threads, 0, count_kernel, sorter);
  run(DELTARULE_HERE("permutation: scan"), dim3(1), dim3(kScanThreads), kScanThreads / 32 * sizeof(Count), scan_kernel,
      sorter.start, buckets);
  run(DELTARULE_HERE("permutation: scatter"), blocks, threads, 0, scatter_kernel, sorter);
  run(DELTARULE_HERE("permutation: rank"), dim3(static_cast<unsigned>(buckets)), dim3(kRankThreads),
      kRankThreads * sizeof(Entry), rank_kernel, sorter, static_cast<int64_t*>(args.y));
}

}  // namespace

void fill_random(const RandomArgs& args) noexcept {
  if (args.n == 0) return;
  const bool single = args.dtype == DType::float32;
  switch (args.kind) {
    case Random::uniform:
      if (single) fill<Uniform<float>, float>(args, args.hi - args.lo);
      else fill<Uniform<double>, double>(args, args.hi - args.lo);
      break;
    case Random::normal:
      if (single) fill<Normal, float>(args, args.hi);
      else fill<Normal, double>(args, args.hi);
      break;
    case Random::permutation:
      permutation(args);
  }
}

}  // namespace deltarule::cuda
