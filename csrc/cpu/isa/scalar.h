// Lane types of plain C++: one float or double in a struct (never the bare type: `select` would find POSIX's).
// Any machine runs it; the names' meaning stands in isa/avx512.h. fma is a*b + c in two roundings here: without the
// instruction the fused one is a slow library call.
#pragma once

#include <cstdint>

namespace {

template <class T>
struct Lane {
  using scalar = T;
  using Mask = bool;
  static constexpr int N = 1;
  T v;

  static Lane zero() { return {T(0)}; }
  static Lane set(T x) { return {x}; }
  static Lane load(const T* p) { return {*p}; }
  static Lane load_n(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  static Lane load_u8(const uint8_t* p) { return {static_cast<T>(*p)}; }
  void store(T* p) const { *p = v; }
  void store_n(T* p, int n) const {
    if (n > 0) *p = v;
  }

  friend Lane operator+(Lane a, Lane b) { return {a.v + b.v}; }
  friend Lane operator-(Lane a, Lane b) { return {a.v - b.v}; }
  friend Lane operator*(Lane a, Lane b) { return {a.v * b.v}; }
  friend Lane operator/(Lane a, Lane b) { return {a.v / b.v}; }
  friend Lane fma(Lane a, Lane b, Lane c) { return {a.v * b.v + c.v}; }
  friend Lane fnma(Lane a, Lane b, Lane c) { return {c.v - a.v * b.v}; }
  friend Lane min(Lane a, Lane b) { return {a.v < b.v ? a.v : b.v}; }
  friend Lane max(Lane a, Lane b) { return {a.v > b.v ? a.v : b.v}; }
  friend bool less(Lane a, Lane b) { return a.v < b.v; }
  friend bool equal(Lane a, Lane b) { return a.v == b.v; }
  friend bool is_nan(Lane a) { return a.v != a.v; }
  friend Lane select(bool m, Lane a, Lane b) { return m ? a : b; }
  friend T sum_lanes(Lane a) { return a.v; }
  friend T max_lanes(Lane a) { return a.v; }
  friend T min_lanes(Lane a) { return a.v; }
};

using F32 = Lane<float>;
using F64 = Lane<double>;

inline F32 sqrt(F32 a) { return {__builtin_sqrtf(a.v)}; }
inline F64 sqrt(F64 a) { return {__builtin_sqrt(a.v)}; }
inline F32 abs(F32 a) { return {__builtin_fabsf(a.v)}; }
inline F64 abs(F64 a) { return {__builtin_fabs(a.v)}; }
inline F32 copysign(F32 magnitude, F32 sign) { return {__builtin_copysignf(magnitude.v, sign.v)}; }
inline F64 copysign(F64 magnitude, F64 sign) { return {__builtin_copysign(magnitude.v, sign.v)}; }
inline F32 round(F32 a) { return {__builtin_rintf(a.v)}; }
inline F64 round(F64 a) { return {__builtin_rint(a.v)}; }

template <class T>
Lane<T> scale2(Lane<T> x, Lane<T> n) {
  if (n.v != n.v) return x + n;
  const T clamped = n.v > T(5000) ? T(5000) : n.v < T(-5000) ? T(-5000) : n.v;
  return {static_cast<T>(__builtin_ldexp(static_cast<double>(x.v), static_cast<int>(clamped)))};
}

template <class T>
Lane<T> split2(Lane<T> x, Lane<T>& e) {
  int exponent;
  T m = static_cast<T>(__builtin_frexp(static_cast<double>(x.v), &exponent));  // [1/2, 1)
  if (m < T(0.70710678118654752)) {
    m *= T(2);
    --exponent;
  }
  e = {static_cast<T>(exponent)};
  return {m};
}

}  // namespace
