// Lane types of one CUDA thread: F32 and F64, one value each, so that the formulas serve the GPU as they stand.
// The names' meaning stands in cpu/isa/avx512.h. Compiled by .ci/nvcc_gate; has not run on hardware yet.
#pragma once

#include <cstdint>
#include <type_traits>

namespace {

template <class T> struct Lane {
  using scalar = T;
  using Mask = bool;
  static constexpr int N = 1;
  // A constexpr array of a class does not exist in device code: nvcc compiles a lookup inside a constexpr function to a
  // trap, without a word. Lanes that look up different places would wait for each other besides.
  static constexpr bool no_tables = true;
  T v;

  static __host__ __device__ Lane zero() { return {T(0)}; }
  static __host__ __device__ Lane set(T x) { return {x}; }
  static __host__ __device__ Lane load(const T* p) { return {*p}; }
  static __host__ __device__ Lane load_n(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  static __host__ __device__ Lane load_u8(const uint8_t* p) { return {static_cast<T>(*p)}; }
  __host__ __device__ void store(T* p) const { *p = v; }
  __host__ __device__ void store_n(T* p, int n) const {
    if (n > 0) *p = v;
  }

  friend __host__ __device__ Lane operator+(Lane a, Lane b) { return {a.v + b.v}; }
  friend __host__ __device__ Lane operator-(Lane a, Lane b) { return {a.v - b.v}; }
  friend __host__ __device__ Lane operator*(Lane a, Lane b) { return {a.v * b.v}; }
  friend __host__ __device__ Lane operator/(Lane a, Lane b) { return {a.v / b.v}; }
  friend __host__ __device__ Lane fma(Lane a, Lane b, Lane c) { return {::fma(a.v, b.v, c.v)}; }
  friend __host__ __device__ Lane fnma(Lane a, Lane b, Lane c) { return {::fma(-a.v, b.v, c.v)}; }
  friend __host__ __device__ Lane min(Lane a, Lane b) { return {a.v < b.v ? a.v : b.v}; }
  friend __host__ __device__ Lane max(Lane a, Lane b) { return {a.v > b.v ? a.v : b.v}; }
  friend __host__ __device__ bool less(Lane a, Lane b) { return a.v < b.v; }
  friend __host__ __device__ bool equal(Lane a, Lane b) { return a.v == b.v; }
  friend __host__ __device__ bool is_nan(Lane a) { return a.v != a.v; }
  friend __host__ __device__ Lane select(bool m, Lane a, Lane b) { return m ? a : b; }
  friend __host__ __device__ Lane sqrt(Lane a) { return {::sqrt(a.v)}; }
  friend __host__ __device__ Lane abs(Lane a) { return {::fabs(a.v)}; }
  friend __host__ __device__ Lane copysign(Lane magnitude, Lane sign) { return {::copysign(magnitude.v, sign.v)}; }
  friend __host__ __device__ Lane round(Lane a) { return {::rint(a.v)}; }
  // Two factors 2^(n/2): each stays a normal number within the bounds; beyond them the result is 0 or inf. No branch,
  // so that several run at the same time in one thread.
  friend __host__ __device__ Lane scale2(Lane x, Lane n) {
    using Bits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    constexpr int kBias = sizeof(T) == 4 ? 127 : 1023, kFraction = sizeof(T) == 4 ? 23 : 52;
    const T clamped = n.v > T(-2 * kBias + 2) ? (n.v < T(2 * kBias) ? n.v : T(2 * kBias)) : T(-2 * kBias + 2);
    const int whole = static_cast<int>(::floor(clamped)), half = whole >> 1;
    const T f0 = __builtin_bit_cast(T, static_cast<Bits>(half + kBias) << kFraction);
    const T f1 = __builtin_bit_cast(T, static_cast<Bits>(whole - half + kBias) << kFraction);
    return {x.v * f0 * f1};
  }
  friend __host__ __device__ Lane split2(Lane x, Lane& e) {
    int exponent;
    T m = ::frexp(x.v, &exponent);  // [1/2, 1)
    if (m < T(0.70710678118654752)) {
      m *= T(2);
      --exponent;
    }
    e = {static_cast<T>(exponent)};
    return {m};
  }
};

using F32 = Lane<float>;
using F64 = Lane<double>;

}  // namespace
