// Philox4x32-10, the counter-based generator behind every random number of the library.
//
// A draw is a pure function of (seed, stream, index): no state, so any thread, device or resumed run that
// asks for the same number gets the same bits.
//   key     = seed (64 bits)
//   counter = (index low, index high, stream low, stream high)
//
// Ref: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DELTARULE_HD __host__ __device__
#else
#define DELTARULE_HD
#endif

namespace deltarule {

struct Philox4 {
  uint32_t word[4];
};

namespace {  // of each file's own: the kernels' files are compiled for different instruction sets

DELTARULE_HD constexpr Philox4 philox(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

#if !defined(__CUDACC__)
// The words of the counters index .. index+31, in order: round by round over all of them, so that it vectorises.
// The pragmas are load-bearing: GCC 12 unrolls loops of known length before it looks for vectors (4 ns a word, with
// them 0.8 to 1.4).
inline constexpr int kPhiloxWords = 128;
inline void philox_words(uint64_t seed, uint64_t stream, uint64_t index, uint32_t* words) {
  constexpr int kCounters = kPhiloxWords / 4;
  uint32_t c0[kCounters], c1[kCounters], c2[kCounters], c3[kCounters];
#pragma GCC unroll 1
  for (int i = 0; i < kCounters; ++i) {
    c0[i] = static_cast<uint32_t>(index + static_cast<uint64_t>(i));
    c1[i] = static_cast<uint32_t>((index + static_cast<uint64_t>(i)) >> 32);
    c2[i] = static_cast<uint32_t>(stream);
    c3[i] = static_cast<uint32_t>(stream >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 1
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 1
    for (int i = 0; i < kCounters; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0[i];
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2[i];
      c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = static_cast<uint32_t>(p1);
      c3[i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
#pragma GCC unroll 1
  for (int i = 0; i < kCounters; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}
#endif

// Uniform on [0, 1): 24 bits fill a float32 exactly, 53 bits a float64, so no rounding can return 1.
DELTARULE_HD constexpr float unit_float(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
DELTARULE_HD constexpr double unit_double(uint32_t low, uint32_t high) {
  return static_cast<double>(((uint64_t{high} << 32) | low) >> 11) * 0x1p-53;
}

}  // namespace
}  // namespace deltarule
