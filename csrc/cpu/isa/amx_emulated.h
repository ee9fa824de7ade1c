// What isa/amx.h has, in AVX-512: for testing the kernels over it on CPUs without AMX. As Intel's SDM has TDPBF16PS:
// the even and the odd elements of the pairs are summed apart, each by one fma after the other from zero; the two sums
// are added, then their sum to D; rounded to nearest even, subnormals taken and given as zero.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/isa/avx512.h"

namespace {

struct Tiles {
  alignas(64) uint32_t tile[8][16][16];

  Tiles() { std::memset(tile, 0, sizeof tile); }

  template <int R> void zero() { std::memset(tile[R], 0, sizeof tile[R]); }
  template <int R> void load(const void* p, int64_t stride) {
    for (int row = 0; row < 16; ++row) std::memcpy(tile[R][row], static_cast<const char*>(p) + row * stride, 64);
  }
  template <int R> void store(void* p, int64_t stride) const {
    for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(p) + row * stride, tile[R][row], 64);
  }
  template <int D, int A, int B> void multiply() {
    for (int row = 0; row < 16; ++row) {
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      for (int k = 0; k < 16; ++k) {
        const __m512i a = _mm512_set1_epi32(static_cast<int>(tile[A][row][k])), b = _mm512_load_si512(tile[B][k]);
        even = normal(_mm512_fmadd_ps(lower(a), lower(b), even));
        odd = normal(_mm512_fmadd_ps(upper(a), upper(b), odd));
      }
      const __m512 sum = normal(_mm512_add_ps(even, odd)), old = normal(_mm512_load_ps(tile[D][row]));
      _mm512_store_ps(tile[D][row], normal(_mm512_add_ps(old, sum)));
    }
  }

  // Subnormals to zero with their sign; inf and NaN stay.
  static __m512 normal(__m512 x) {
    const __mmask16 subnormal = _mm512_fpclass_ps_mask(x, 0x20);
    return _mm512_mask_and_ps(x, subnormal, x, _mm512_set1_ps(-0.0f));
  }
  static __m512 lower(__m512i pairs) { return normal(_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))); }
  static __m512 upper(__m512i pairs) {
    return normal(_mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000)))));
  }
};

}  // namespace
