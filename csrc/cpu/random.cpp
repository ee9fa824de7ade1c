// fill_random: uniform, normal and permutation from Philox counters; one body for every table.
//
// Computes   element i from (seed, stream, i) alone, as kernels.h says; threads share blocks of 16384 elements.
//            A permutation sorts (key, i): bucketed by the key's leading bits, then each bucket sorted.
// Arithmetic ten rounds of two 32 x 32 bit products for four words: bound by the multiplier.
// Measured   ns a float32 number, AMD EPYC, one thread, `python bench/elementwise.py --slots`: uniform 1.7,
//            normal 15 (NumPy's ziggurat: 9.5).
// Refs       base/philox.h, formulas/random.h.
#include <algorithm>
#include <cstdlib>

#include "base/parallel.h"
#include "cpu/isa/scalar.h"
#include "cpu/tables.h"
#include "formulas/random.h"

namespace deltarule::cpu {
namespace {

#include "cpu/loops.inl"

// visit(words, i, n) for the numbers [i, i + n) of which `per_counter` come from one counter.
template <class Visit> void for_words(const RandomArgs& args, int64_t per_counter, const Visit& visit) {
  const int64_t step = kPhiloxWords / 4 * per_counter;
  for_blocks(args.n, kBlock, args.n >= kCostlyParallel, [&](int64_t begin, int64_t end) {
    uint32_t words[kPhiloxWords];
    for (int64_t i = begin; i < end; i += step) {
      philox_words(args.seed, args.stream, static_cast<uint64_t>(i / per_counter), words);
      visit(words, i, least(step, end - i));
    }
  });
}

void uniform(const RandomArgs& args) {
  const double lo = args.lo, width = args.hi - args.lo;
  if (args.dtype == DType::float32) {
    for_words(args, 4, [&](const uint32_t* words, int64_t i, int64_t n) {
      float* y = static_cast<float*>(args.y) + i;
      for (int64_t k = 0; k < n; ++k)
        y[k] = static_cast<float>(plus(lo, times(width, static_cast<double>(unit_float(words[k])))));
    });
  } else {
    for_words(args, 2, [&](const uint32_t* words, int64_t i, int64_t n) {
      double* y = static_cast<double*>(args.y) + i;
      for (int64_t k = 0; k < n; ++k) y[k] = plus(lo, times(width, unit_double(words[2 * k], words[2 * k + 1])));
    });
  }
}

template <class T> void normal(const RandomArgs& args) {
  for_words(args, 2, [&](const uint32_t* words, int64_t i, int64_t n) {
    T* y = static_cast<T*>(args.y) + i;
    for (int64_t k = 0; k < n; k += 2) {
      double z[2];
      normal_pair(words + 2 * k, z[0], z[1]);
      for (int64_t j = 0; j < least(2, n - k); ++j) y[k + j] = static_cast<T>(plus(args.lo, times(args.hi, z[j])));
    }
  });
}

struct Entry {
  uint64_t key;
  int64_t index;
  bool operator<(const Entry& other) const { return key != other.key ? key < other.key : index < other.index; }
};

uint64_t key_of(const RandomArgs& args, int64_t i) {
  const Philox4 draw = philox(args.seed, args.stream, static_cast<uint64_t>(i));
  return (uint64_t{draw.word[1]} << 32) | draw.word[0];
}

constexpr int kMaxBucketBits = 16;

// start holds 2^bits + 1 zeros; about 8 entries a bucket.
void sort_in_buckets(const RandomArgs& args, int bits, int64_t* start, Entry* entries) {
  const auto bucket = [&](uint64_t key) { return bits == 0 ? 0 : key >> (64 - bits); };
  int64_t* const y = static_cast<int64_t*>(args.y);
  // y holds the keys until the indices are known.
  for_words(args, 1, [&](const uint32_t* words, int64_t i, int64_t n) {
    for (int64_t k = 0; k < n; ++k) y[i + k] = static_cast<int64_t>((uint64_t{words[4 * k + 1]} << 32) | words[4 * k]);
  });
  const int64_t buckets = int64_t{1} << bits;
  for (int64_t i = 0; i < args.n; ++i) ++start[bucket(static_cast<uint64_t>(y[i])) + 1];
  for (int64_t b = 0; b < buckets; ++b) start[b + 1] += start[b];
  for (int64_t i = 0; i < args.n; ++i) {
    const uint64_t key = static_cast<uint64_t>(y[i]);
    entries[start[bucket(key)]++] = {key, i};
  }
  // Filling has moved every start to its bucket's end.
  for_blocks(buckets, 1024, args.n >= kCostlyParallel, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) std::sort(entries + (b == 0 ? 0 : start[b - 1]), entries + start[b]);
    for (int64_t i = begin == 0 ? 0 : start[begin - 1]; i < start[end - 1]; ++i) y[i] = entries[i].index;
  });
}

void permutation(const RandomArgs& args) {
  int bits = 0;
  while (bits < kMaxBucketBits && (args.n >> (bits + 3)) > 0) ++bits;
  int64_t* start = static_cast<int64_t*>(std::calloc((size_t{1} << bits) + 1, sizeof(int64_t)));
  Entry* entries = static_cast<Entry*>(std::malloc(static_cast<size_t>(args.n) * sizeof(Entry)));
  if (start != nullptr && entries != nullptr) {
    sort_in_buckets(args, bits, start, entries);
  } else {  // without the memory: the same order, slower, in place
    int64_t* const y = static_cast<int64_t*>(args.y);
    for (int64_t i = 0; i < args.n; ++i) y[i] = i;
    std::sort(y, y + args.n,
              [&](int64_t a, int64_t b) { return Entry{key_of(args, a), a} < Entry{key_of(args, b), b}; });
  }
  std::free(entries);
  std::free(start);
}

}  // namespace

void fill_random(const RandomArgs& args) noexcept {
  if (args.n == 0) return;
  switch (args.kind) {
    case Random::uniform:
      return uniform(args);
    case Random::normal:
      return args.dtype == DType::float32 ? normal<float>(args) : normal<double>(args);
    case Random::permutation:
      return permutation(args);
  }
}

}  // namespace deltarule::cpu
