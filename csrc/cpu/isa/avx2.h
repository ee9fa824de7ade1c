// Lane types of AVX2 with FMA: F32 (8 floats) and F64 (4 doubles). The names' meaning stands in isa/avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct F32 {
  using scalar = float;
  struct Mask {
    __m256 v;
  };
  static constexpr int N = 8;
  __m256 v;

  static F32 zero() { return {_mm256_setzero_ps()}; }
  static F32 set(float x) { return {_mm256_set1_ps(x)}; }
  static F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F32 load_n(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
  static F32 load_n(const float* p, int n, F32 rest) {
    const __m256i mask = first(n);
    return {_mm256_blendv_ps(rest.v, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask))};
  }
  static F32 load_u8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  static int before_stream(const float* p) {
    return static_cast<int>(-reinterpret_cast<uintptr_t>(p) % 32 / sizeof *p);
  }
  static void end_stream() { _mm_sfence(); }
  void store_n(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 fnma(F32 a, F32 b, F32 c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.v)}; }
inline F32 abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline F32 copysign(F32 magnitude, F32 sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
inline F32 round(F32 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 floor(F32 a) { return {_mm256_floor_ps(a.v)}; }
inline F32 look_up(const float* p, F32 x) { return {_mm256_i32gather_ps(p, _mm256_cvttps_epi32(x.v), 4)}; }
inline F32::Mask less(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline F32::Mask equal(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
inline F32::Mask is_nan(F32 a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
inline bool any(F32::Mask m) { return _mm256_movemask_ps(m.v) != 0; }
inline F32 select(F32::Mask m, F32 a, F32 b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
inline F32 scale2(F32 x, F32 n) {
  // Two factors 2^(n/2): each stays a normal number while n is in [-252, 254]; beyond that the result is 0 or inf.
  const __m256 clamped = _mm256_max_ps(_mm256_min_ps(n.v, _mm256_set1_ps(254.0f)), _mm256_set1_ps(-252.0f));
  const __m256i whole = _mm256_cvtps_epi32(_mm256_floor_ps(clamped));
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 f0 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 f1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(x.v, f0), f1)};
}
inline F32 pick(const float (&table)[16], F32 x, int drop) {
  const __m256i index = _mm256_srli_epi32(_mm256_castps_si256(x.v), drop);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
  return {_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)))};
}
inline F32 split2(F32 x, F32& e) {
  // Lift subnormals by 2^24 first. Subtracting the bits of sqrt(1/2) makes the exponent field count from there.
  const __m256 tiny = _mm256_cmp_ps(x.v, _mm256_set1_ps(1.17549435e-38f), _CMP_LT_OQ);
  const __m256 lifted = _mm256_blendv_ps(x.v, _mm256_mul_ps(x.v, _mm256_set1_ps(16777216.0f)), tiny);
  const __m256i root = _mm256_set1_epi32(0x3f3504f3);
  const __m256i offset = _mm256_sub_epi32(_mm256_castps_si256(lifted), root);
  const __m256 exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(offset, 23));
  e = {_mm256_sub_ps(exponent, _mm256_and_ps(tiny, _mm256_set1_ps(24.0f)))};
  const __m256i mantissa = _mm256_add_epi32(_mm256_and_si256(offset, _mm256_set1_epi32(0x007fffff)), root);
  return {_mm256_castsi256_ps(mantissa)};
}
inline float sum_lanes(F32 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max_lanes(F32 a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline float min_lanes(F32 a) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}
inline void transpose(F32 (&r)[8]) {
  __m256 u[2][4];  // u[g][c]: lane L of 128 bits has rows 4g..4g+3 of column 4L + c
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {
    const __m256d t0 = _mm256_castps_pd(_mm256_unpacklo_ps(r[4 * g].v, r[4 * g + 1].v));
    const __m256d t1 = _mm256_castps_pd(_mm256_unpackhi_ps(r[4 * g].v, r[4 * g + 1].v));
    const __m256d t2 = _mm256_castps_pd(_mm256_unpacklo_ps(r[4 * g + 2].v, r[4 * g + 3].v));
    const __m256d t3 = _mm256_castps_pd(_mm256_unpackhi_ps(r[4 * g + 2].v, r[4 * g + 3].v));
    u[g][0] = _mm256_castpd_ps(_mm256_unpacklo_pd(t0, t2));
    u[g][1] = _mm256_castpd_ps(_mm256_unpackhi_pd(t0, t2));
    u[g][2] = _mm256_castpd_ps(_mm256_unpacklo_pd(t1, t3));
    u[g][3] = _mm256_castpd_ps(_mm256_unpackhi_pd(t1, t3));
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    r[c].v = _mm256_permute2f128_ps(u[0][c], u[1][c], 0x20);
    r[4 + c].v = _mm256_permute2f128_ps(u[0][c], u[1][c], 0x31);
  }
}

struct F64 {
  using scalar = double;
  struct Mask {
    __m256d v;
  };
  static constexpr int N = 4;
  __m256d v;

  static F64 zero() { return {_mm256_setzero_pd()}; }
  static F64 set(double x) { return {_mm256_set1_pd(x)}; }
  static F64 load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static F64 load_n(const double* p, int n) { return {_mm256_maskload_pd(p, first(n))}; }
  static F64 load_n(const double* p, int n, F64 rest) {
    const __m256i mask = first(n);
    return {_mm256_blendv_pd(rest.v, _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask))};
  }
  static F64 load_u8(const uint8_t* p) { return {_mm256_setr_pd(p[0], p[1], p[2], p[3])}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void stream(double* p) const { _mm256_stream_pd(p, v); }
  static int before_stream(const double* p) {
    return static_cast<int>(-reinterpret_cast<uintptr_t>(p) % 32 / sizeof *p);
  }
  static void end_stream() { _mm_sfence(); }
  void store_n(double* p, int n) const { _mm256_maskstore_pd(p, first(n), v); }
  static __m256i first(int n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
};

inline F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.v, b.v)}; }
inline F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline F64 operator*(F64 a, F64 b) { return {_mm256_mul_pd(a.v, b.v)}; }
inline F64 operator/(F64 a, F64 b) { return {_mm256_div_pd(a.v, b.v)}; }
inline F64 fma(F64 a, F64 b, F64 c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
inline F64 fnma(F64 a, F64 b, F64 c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
inline F64 min(F64 a, F64 b) { return {_mm256_min_pd(a.v, b.v)}; }
inline F64 max(F64 a, F64 b) { return {_mm256_max_pd(a.v, b.v)}; }
inline F64 sqrt(F64 a) { return {_mm256_sqrt_pd(a.v)}; }
inline F64 abs(F64 a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
inline F64 copysign(F64 magnitude, F64 sign) {
  const __m256d bit = _mm256_set1_pd(-0.0);
  return {_mm256_or_pd(_mm256_andnot_pd(bit, magnitude.v), _mm256_and_pd(bit, sign.v))};
}
inline F64 round(F64 a) { return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F64::Mask less(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
inline F64::Mask equal(F64 a, F64 b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
inline F64::Mask is_nan(F64 a) { return {_mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q)}; }
inline bool any(F64::Mask m) { return _mm256_movemask_pd(m.v) != 0; }
inline F64 select(F64::Mask m, F64 a, F64 b) { return {_mm256_blendv_pd(b.v, a.v, m.v)}; }
inline F64 scale2(F64 x, F64 n) {
  const __m256d clamped = _mm256_max_pd(_mm256_min_pd(n.v, _mm256_set1_pd(2046.0)), _mm256_set1_pd(-2044.0));
  const __m128i whole = _mm256_cvtpd_epi32(clamped);
  const __m128i half = _mm_srai_epi32(whole, 1);
  const __m128i bias = _mm_set1_epi32(1023);
  const auto power = [](__m128i exponent) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepi32_epi64(exponent), 52));
  };
  const __m256d f0 = power(_mm_add_epi32(half, bias));
  const __m256d f1 = power(_mm_add_epi32(_mm_sub_epi32(whole, half), bias));
  return {_mm256_mul_pd(_mm256_mul_pd(x.v, f0), f1)};
}
inline F64 split2(F64 x, F64& e) {
  const __m256d tiny = _mm256_cmp_pd(x.v, _mm256_set1_pd(2.2250738585072014e-308), _CMP_LT_OQ);
  const __m256d lifted = _mm256_blendv_pd(x.v, _mm256_mul_pd(x.v, _mm256_set1_pd(0x1p54)), tiny);
  const __m256i root = _mm256_set1_epi64x(0x3fe6a09e667f3bcd);
  const __m256i offset = _mm256_sub_epi64(_mm256_castpd_si256(lifted), root);
  // AVX2 has no 64-bit arithmetic shift: the exponent lies in the upper 32 bits, shift those and collect them.
  const __m256i shifted = _mm256_srai_epi32(offset, 20);
  const __m256i upper = _mm256_permutevar8x32_epi32(shifted, _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7));
  const __m256d exponent = _mm256_cvtepi32_pd(_mm256_castsi256_si128(upper));
  e = {_mm256_sub_pd(exponent, _mm256_and_pd(tiny, _mm256_set1_pd(54.0)))};
  const __m256i mantissa = _mm256_add_epi64(_mm256_and_si256(offset, _mm256_set1_epi64x(0x000fffffffffffff)), root);
  return {_mm256_castsi256_pd(mantissa)};
}
inline double sum_lanes(F64 a) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
inline double max_lanes(F64 a) {
  const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}
inline double min_lanes(F64 a) {
  const __m128d s = _mm_min_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_min_sd(s, _mm_unpackhi_pd(s, s)));
}
inline void transpose(F64 (&r)[4]) {
  const __m256d t0 = _mm256_unpacklo_pd(r[0].v, r[1].v), t1 = _mm256_unpackhi_pd(r[0].v, r[1].v);
  const __m256d t2 = _mm256_unpacklo_pd(r[2].v, r[3].v), t3 = _mm256_unpackhi_pd(r[2].v, r[3].v);
  r[0].v = _mm256_permute2f128_pd(t0, t2, 0x20);
  r[1].v = _mm256_permute2f128_pd(t1, t3, 0x20);
  r[2].v = _mm256_permute2f128_pd(t0, t2, 0x31);
  r[3].v = _mm256_permute2f128_pd(t1, t3, 0x31);
}

}  // namespace
