// Lane types of plain C++: one float or double in a struct (never the bare type: `select` would find POSIX's).
// Any machine runs it; the names' meaning stands in isa/avx512.h. fma is a*b + c in two roundings here: without the
// instruction the fused one is a slow library call.
#pragma once

#include <cstdint>

namespace {

inline bool any(bool m) { return m; }

template <class T> struct Lane {
  using scalar = T;
  using Mask = bool;
  static constexpr int N = 1;
  T v;

  static Lane zero() { return {T(0)}; }
  static Lane set(T x) { return {x}; }
  static Lane load(const T* p) { return {*p}; }
  static Lane load_n(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  static Lane load_n(const T* p, int n, Lane rest) { return n > 0 ? load(p) : rest; }
  static Lane load_u8(const uint8_t* p) { return {static_cast<T>(*p)}; }
  void store(T* p) const { *p = v; }
  void stream(T* p) const { *p = v; }
  static int before_stream(const T*) { return 0; }
  static void end_stream() {}
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
  friend void transpose(Lane (&)[1]) {}
};

using F32 = Lane<float>;
using F64 = Lane<double>;

inline F32 sqrt(F32 a) { return {__builtin_sqrtf(a.v)}; }
inline F64 sqrt(F64 a) { return {__builtin_sqrt(a.v)}; }
inline F32 abs(F32 a) { return {__builtin_fabsf(a.v)}; }
inline F64 abs(F64 a) { return {__builtin_fabs(a.v)}; }
inline F32 copysign(F32 magnitude, F32 sign) { return {__builtin_copysignf(magnitude.v, sign.v)}; }
inline F64 copysign(F64 magnitude, F64 sign) { return {__builtin_copysign(magnitude.v, sign.v)}; }
// Where the last bit counts 1. For |a| < 2^22 and 2^51, which is all the formulas ask for; plain x86-64 has no
// instruction for it, and rint is a call.
inline F32 round(F32 a) { return {(a.v + 0x1.8p23f) - 0x1.8p23f}; }
inline F64 round(F64 a) { return {(a.v + 0x1.8p52) - 0x1.8p52}; }
inline F32 floor(F32 a) {
  const float whole = static_cast<float>(static_cast<int>(a.v));
  return {whole > a.v ? whole - 1.0f : whole};
}
inline F32 look_up(const float* p, F32 x) { return {p[static_cast<int>(x.v)]}; }

// Two factors 2^(n/2): each stays a normal number within the bounds; beyond them the result is 0 or inf.
inline F32 scale2(F32 x, F32 n) {
  const int whole = n.v > -252.0f ? static_cast<int>((n.v < 254.0f ? n.v : 254.0f) + 256.0f) - 256 : -252;  // floor
  const int half = whole >> 1;
  const float f0 = __builtin_bit_cast(float, (half + 127) << 23);
  const float f1 = __builtin_bit_cast(float, (whole - half + 127) << 23);
  return {x.v * f0 * f1};
}
inline F64 scale2(F64 x, F64 n) {
  const int64_t whole = n.v > -2044.0 ? static_cast<int64_t>(n.v < 2046.0 ? n.v : 2046.0) : -2044;
  const int64_t half = whole >> 1;
  const double f0 = __builtin_bit_cast(double, (half + 1023) << 52);
  const double f1 = __builtin_bit_cast(double, (whole - half + 1023) << 52);
  return {x.v * f0 * f1};
}

inline F32 pick(const float (&table)[16], F32 x, int drop) {
  return {table[(__builtin_bit_cast(uint32_t, x.v) >> drop) & 15]};
}

// Lift subnormals first. Subtracting the bits of sqrt(1/2) makes the exponent field count from there.
inline F32 split2(F32 x, F32& e) {
  const bool tiny = x.v < 0x1p-126f;
  constexpr int32_t root = 0x3f3504f3;
  const int32_t offset = static_cast<int32_t>(
      static_cast<uint32_t>(__builtin_bit_cast(int32_t, tiny ? x.v * 0x1p24f : x.v)) - static_cast<uint32_t>(root));
  e = {static_cast<float>(offset >> 23) - (tiny ? 24.0f : 0.0f)};
  return {__builtin_bit_cast(float, (offset & 0x007fffff) + root)};
}
inline F64 split2(F64 x, F64& e) {
  const bool tiny = x.v < 0x1p-1022;
  constexpr int64_t root = 0x3fe6a09e667f3bcd;
  const int64_t offset = static_cast<int64_t>(
      static_cast<uint64_t>(__builtin_bit_cast(int64_t, tiny ? x.v * 0x1p54 : x.v)) - static_cast<uint64_t>(root));
  e = {static_cast<double>(offset >> 52) - (tiny ? 54.0 : 0.0)};
  return {__builtin_bit_cast(double, (offset & 0x000fffffffffffff) + root)};
}

}  // namespace
