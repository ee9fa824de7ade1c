// Lane types of AVX-512: F32 (16 floats) and F64 (8 doubles). The same names stand in every file of this folder;
// the generic kernels (*.inl) and formulas are written over them.
//
//   load store load_n store_n set zero     load_n reads n < N lanes (the rest 0, or those given), store_n writes n
//   fma(a,b,c) = a*b + c   fnma(a,b,c) = c - a*b   min max: the second operand when either is NaN
//   select(m,a,b) = m ? a : b              scale2(x,n) = x * 2^floor(n), gradual underflow, overflow to inf (F64 of the
//                                          other files: n integral)
//   floor(x), look_up(p,x) (F32 alone)     |x| < 2^31; p[x] of each lane, x integral
//   pick(table,x,drop) (F32 alone)         table[j], j the lowest four bits of x without its last `drop`
//   split2(x,e) = m with x = m * 2^e, m in [sqrt(1/2), sqrt(2)), for x > 0 finite
//   sum_lanes max_lanes min_lanes          in one fixed order
//   stream before_stream end_stream        store past the caches where aligned, before_stream lanes after a place;
//                                          end_stream after the last
//   any(m)                                 whether the mask has a lane set
//   transpose(r)                           N registers as a matrix, in place
#pragma once

// GCC 12 takes the undefined upper operands inside its own intrinsics for a mistake of ours.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

namespace {

struct F32 {
  using scalar = float;
  using Mask = __mmask16;
  static constexpr int N = 16;
  __m512 v;

  static F32 zero() { return {_mm512_setzero_ps()}; }
  static F32 set(float x) { return {_mm512_set1_ps(x)}; }
  static F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F32 load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  static F32 load_n(const float* p, int n, F32 rest) { return {_mm512_mask_loadu_ps(rest.v, first(n), p)}; }
  static F32 load_u8(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  static int before_stream(const float* p) {
    return static_cast<int>(-reinterpret_cast<uintptr_t>(p) % 64 / sizeof *p);
  }
  static void end_stream() { _mm_sfence(); }
  void store_n(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
  static Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
};

inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 fnma(F32 a, F32 b, F32 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32 abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline F32 copysign(F32 magnitude, F32 sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}
inline F32 round(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 floor(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
inline F32 look_up(const float* p, F32 x) { return {_mm512_i32gather_ps(_mm512_cvttps_epi32(x.v), p, 4)}; }
inline F32::Mask less(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
inline F32::Mask equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
inline F32::Mask is_nan(F32 a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }
inline bool any(F32::Mask m) { return m != 0; }
inline F32 select(F32::Mask m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m, b.v, a.v)}; }
inline F32 scale2(F32 x, F32 n) { return {_mm512_scalef_ps(x.v, n.v)}; }
inline F32 pick(const float (&table)[16], F32 x, int drop) {
  const __m512i index = _mm512_srli_epi32(_mm512_castps_si512(x.v), static_cast<unsigned>(drop));
  return {_mm512_permutexvar_ps(index, _mm512_loadu_ps(table))};
}
inline F32 split2(F32 x, F32& e) {
  // getmant gives [1,2): fold the upper part down so that the mantissa straddles 1.
  const __m512 m = _mm512_getmant_ps(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  const __mmask16 high = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.41421356f), _CMP_GE_OQ);
  const __m512 exponent = _mm512_getexp_ps(x.v);
  e = {_mm512_mask_add_ps(exponent, high, exponent, _mm512_set1_ps(1.0f))};
  return {_mm512_mask_mul_ps(m, high, m, _mm512_set1_ps(0.5f))};
}
inline float sum_lanes(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline float max_lanes(F32 a) { return _mm512_reduce_max_ps(a.v); }
inline float min_lanes(F32 a) { return _mm512_reduce_min_ps(a.v); }
inline void transpose(F32 (&r)[16]) {
  __m512 u[4][4];  // u[g][c]: lane L of 128 bits has rows 4g..4g+3 of column 4L + c
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    const __m512d t0 = _mm512_castps_pd(_mm512_unpacklo_ps(r[4 * g].v, r[4 * g + 1].v));
    const __m512d t1 = _mm512_castps_pd(_mm512_unpackhi_ps(r[4 * g].v, r[4 * g + 1].v));
    const __m512d t2 = _mm512_castps_pd(_mm512_unpacklo_ps(r[4 * g + 2].v, r[4 * g + 3].v));
    const __m512d t3 = _mm512_castps_pd(_mm512_unpackhi_ps(r[4 * g + 2].v, r[4 * g + 3].v));
    u[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(t0, t2));
    u[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(t0, t2));
    u[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(t1, t3));
    u[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(t1, t3));
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512 even0 = _mm512_shuffle_f32x4(u[0][c], u[1][c], 0x88),
                 odd0 = _mm512_shuffle_f32x4(u[0][c], u[1][c], 0xdd);
    const __m512 even1 = _mm512_shuffle_f32x4(u[2][c], u[3][c], 0x88),
                 odd1 = _mm512_shuffle_f32x4(u[2][c], u[3][c], 0xdd);
    r[c].v = _mm512_shuffle_f32x4(even0, even1, 0x88);
    r[4 + c].v = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
    r[8 + c].v = _mm512_shuffle_f32x4(even0, even1, 0xdd);
    r[12 + c].v = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
  }
}

struct F64 {
  using scalar = double;
  using Mask = __mmask8;
  static constexpr int N = 8;
  __m512d v;

  static F64 zero() { return {_mm512_setzero_pd()}; }
  static F64 set(double x) { return {_mm512_set1_pd(x)}; }
  static F64 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static F64 load_n(const double* p, int n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
  static F64 load_n(const double* p, int n, F64 rest) { return {_mm512_mask_loadu_pd(rest.v, first(n), p)}; }
  static F64 load_u8(const uint8_t* p) {
    return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void stream(double* p) const { _mm512_stream_pd(p, v); }
  static int before_stream(const double* p) {
    return static_cast<int>(-reinterpret_cast<uintptr_t>(p) % 64 / sizeof *p);
  }
  static void end_stream() { _mm_sfence(); }
  void store_n(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), v); }
  static Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
};

inline F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.v, b.v)}; }
inline F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline F64 operator*(F64 a, F64 b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline F64 operator/(F64 a, F64 b) { return {_mm512_div_pd(a.v, b.v)}; }
inline F64 fma(F64 a, F64 b, F64 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
inline F64 fnma(F64 a, F64 b, F64 c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
inline F64 min(F64 a, F64 b) { return {_mm512_min_pd(a.v, b.v)}; }
inline F64 max(F64 a, F64 b) { return {_mm512_max_pd(a.v, b.v)}; }
inline F64 sqrt(F64 a) { return {_mm512_sqrt_pd(a.v)}; }
inline F64 abs(F64 a) { return {_mm512_abs_pd(a.v)}; }
inline F64 copysign(F64 magnitude, F64 sign) {
  const __m512d bit = _mm512_set1_pd(-0.0);
  return {_mm512_or_pd(_mm512_andnot_pd(bit, magnitude.v), _mm512_and_pd(bit, sign.v))};
}
inline F64 round(F64 a) { return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F64::Mask less(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ); }
inline F64::Mask equal(F64 a, F64 b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ); }
inline F64::Mask is_nan(F64 a) { return _mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q); }
inline bool any(F64::Mask m) { return m != 0; }
inline F64 select(F64::Mask m, F64 a, F64 b) { return {_mm512_mask_blend_pd(m, b.v, a.v)}; }
inline F64 scale2(F64 x, F64 n) { return {_mm512_scalef_pd(x.v, n.v)}; }
inline F64 split2(F64 x, F64& e) {
  const __m512d m = _mm512_getmant_pd(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  const __mmask8 high = _mm512_cmp_pd_mask(m, _mm512_set1_pd(1.4142135623730951), _CMP_GE_OQ);
  const __m512d exponent = _mm512_getexp_pd(x.v);
  e = {_mm512_mask_add_pd(exponent, high, exponent, _mm512_set1_pd(1.0))};
  return {_mm512_mask_mul_pd(m, high, m, _mm512_set1_pd(0.5))};
}
inline double sum_lanes(F64 a) { return _mm512_reduce_add_pd(a.v); }
inline double max_lanes(F64 a) { return _mm512_reduce_max_pd(a.v); }
inline double min_lanes(F64 a) { return _mm512_reduce_min_pd(a.v); }
inline void transpose(F64 (&r)[8]) {
  __m512d t[4][2];  // t[p][c]: lane L of 128 bits has rows 2p, 2p + 1 of column 2L + c
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    t[p][0] = _mm512_unpacklo_pd(r[2 * p].v, r[2 * p + 1].v);
    t[p][1] = _mm512_unpackhi_pd(r[2 * p].v, r[2 * p + 1].v);
  }
#pragma GCC unroll 2
  for (int c = 0; c < 2; ++c) {
    const __m512d even0 = _mm512_shuffle_f64x2(t[0][c], t[1][c], 0x88),
                  odd0 = _mm512_shuffle_f64x2(t[0][c], t[1][c], 0xdd);
    const __m512d even1 = _mm512_shuffle_f64x2(t[2][c], t[3][c], 0x88),
                  odd1 = _mm512_shuffle_f64x2(t[2][c], t[3][c], 0xdd);
    r[c].v = _mm512_shuffle_f64x2(even0, even1, 0x88);
    r[2 + c].v = _mm512_shuffle_f64x2(odd0, odd1, 0x88);
    r[4 + c].v = _mm512_shuffle_f64x2(even0, even1, 0xdd);
    r[6 + c].v = _mm512_shuffle_f64x2(odd0, odd1, 0xdd);
  }
}

}  // namespace
