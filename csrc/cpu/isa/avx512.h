// Lane types of AVX-512: F32 (16 floats) and F64 (8 doubles). The same names stand in every file of this folder;
// the generic kernels (*.inl) and formulas are written over them.
//
//   load store load_n store_n set zero     load_n reads n < N lanes (the rest 0, or those given), store_n writes n
//   fma(a,b,c) = a*b + c   fnma(a,b,c) = c - a*b   min max: the second operand when either is NaN
//   select(m,a,b) = m ? a : b              scale2(x,n) = x * 2^n, n integral, gradual underflow, overflow to inf
//   split2(x,e) = m with x = m * 2^e, m in [sqrt(1/2), sqrt(2)), for x > 0 finite
//   sum_lanes max_lanes min_lanes          in one fixed order
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
inline F32::Mask less(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
inline F32::Mask equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
inline F32::Mask is_nan(F32 a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }
inline F32 select(F32::Mask m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m, b.v, a.v)}; }
inline F32 scale2(F32 x, F32 n) { return {_mm512_scalef_ps(x.v, n.v)}; }
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

}  // namespace
