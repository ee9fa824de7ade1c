// float16 as CUDA's cuda_fp16.h names it.
#pragma once

#include "small_floats.h"
#include "vector_types.h"

struct __half_raw {
  unsigned short x;
};

struct __half {
  __half() = default;
  __half(float x) : bits(shim::float16_from(x)) {}
  explicit __half(double x) : bits(shim::float16_from(shim::rounded_to_odd(x))) {}
  __half(__half_raw raw) : bits(raw.x) {}
  operator float() const { return shim::from_float16(bits); }
  operator __half_raw() const { return {bits}; }

  unsigned short bits;
};
SHIM_SMALL_FLOAT_OPERATORS(__half)

struct alignas(4) __half2 {
  __half x, y;
};

using half = __half;
using half2 = __half2;

inline __half __ushort_as_half(unsigned short x) { return __half_raw{x}; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline __half __double2half(double x) { return __half(x); }
inline float __half2float(__half x) { return x; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 x) { return {x.x, x.y}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 x) { return {x.x, x.y}; }
inline __half __low2half(__half2 x) { return x.x; }
inline __half __high2half(__half2 x) { return x.y; }
inline float __low2float(__half2 x) { return x.x; }
inline float __high2float(__half2 x) { return x.y; }
inline bool __hisnan(__half x) { return (x.bits & 0x7FFF) > 0x7C00; }
