// Conversions between float and the 16-bit types, bit by bit, rounding to nearest even.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace shim {

// Its NaN is 0x7FFF whatever came in, as the GPU has it.
constexpr uint16_t bfloat16_from(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

constexpr uint16_t bfloat16_towards_zero(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return (bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFF : static_cast<uint16_t>(bits >> 16);
}

constexpr float from_bfloat16(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

constexpr uint16_t float16_from(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return 0x7FFF;
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7C00);  // 2^16 and more
  uint32_t shift = 13;
  if (magnitude < 0x38800000) {  // below 2^-14: steps of 2^-24
    if (magnitude < 0x33000000) return static_cast<uint16_t>(sign);
    shift = 126 - (magnitude >> 23);
    magnitude = (magnitude & 0x7FFFFF) | 0x800000;
  } else {
    magnitude -= 112u << 23;
  }
  const uint32_t half = 1u << (shift - 1);
  return static_cast<uint16_t>(sign | (magnitude + half - 1 + (magnitude >> shift & 1)) >> shift);
}

constexpr float from_float16(uint16_t x) {
  const uint32_t sign = uint32_t{x & 0x8000u} << 16, exponent = x >> 10 & 31, fraction = x & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float value = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -value : value;
}

// x in float with its last bit set if digits were lost, so that a further rounding is right.
inline float rounded_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  if (!(std::fabs(x) < HUGE_VAL) || static_cast<double>(nearest) == x) return nearest;
  const bool away = std::fabs(static_cast<double>(nearest)) > std::fabs(x);
  const uint32_t towards_zero = std::bit_cast<uint32_t>(nearest) - (away ? 1u : 0u);
  return std::bit_cast<float>(towards_zero | 1);
}

}  // namespace shim

// The operators both types have: through float, rounded once.
#define SHIM_SMALL_FLOAT_OPERATORS(T)                                                         \
  inline T operator+(T a, T b) { return T(static_cast<float>(a) + static_cast<float>(b)); }   \
  inline T operator-(T a, T b) { return T(static_cast<float>(a) - static_cast<float>(b)); }   \
  inline T operator*(T a, T b) { return T(static_cast<float>(a) * static_cast<float>(b)); }   \
  inline T operator/(T a, T b) { return T(static_cast<float>(a) / static_cast<float>(b)); }   \
  inline T operator-(T a) { return T(-static_cast<float>(a)); }                               \
  inline bool operator==(T a, T b) { return static_cast<float>(a) == static_cast<float>(b); } \
  inline bool operator!=(T a, T b) { return static_cast<float>(a) != static_cast<float>(b); } \
  inline bool operator<(T a, T b) { return static_cast<float>(a) < static_cast<float>(b); }   \
  inline bool operator>(T a, T b) { return static_cast<float>(a) > static_cast<float>(b); }   \
  inline bool operator<=(T a, T b) { return static_cast<float>(a) <= static_cast<float>(b); } \
  inline bool operator>=(T a, T b) { return static_cast<float>(a) >= static_cast<float>(b); }
