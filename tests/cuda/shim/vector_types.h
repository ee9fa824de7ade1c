// CUDA's vector types, with its alignments.
#pragma once

#include <cstdint>

#define SHIM_VECTOR(name, T, n2, n3, n4)                                \
  struct name##1 { T x; };                                              \
  struct alignas(n2) name##2 { T x, y; };                               \
  struct alignas(n3) name##3 { T x, y, z; };                            \
  struct alignas(n4) name##4 { T x, y, z, w; };                         \
  constexpr name##1 make_##name##1(T x) { return {x}; }                 \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

SHIM_VECTOR(char, signed char, 2, 1, 4)
SHIM_VECTOR(uchar, unsigned char, 2, 1, 4)
SHIM_VECTOR(short, short, 4, 2, 8)
SHIM_VECTOR(ushort, unsigned short, 4, 2, 8)
SHIM_VECTOR(int, int, 8, 4, 16)
SHIM_VECTOR(uint, unsigned int, 8, 4, 16)
SHIM_VECTOR(longlong, long long, 16, 8, 16)
SHIM_VECTOR(ulonglong, unsigned long long, 16, 8, 16)
SHIM_VECTOR(float, float, 8, 4, 16)
SHIM_VECTOR(double, double, 16, 8, 16)
#undef SHIM_VECTOR

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
