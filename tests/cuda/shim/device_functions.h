// What nvcc knows by itself in device code: qualifiers, the thread's place, intrinsics. One host thread runs all of a
// kernel's threads, so that atomics and fences need nothing special.
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "shim.h"

// __shared__ is not defined on purpose: DELTARULE_SHARED of cuda/launch.cuh is the way to shared memory.
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__  // the standard library uses this name inside of attributes
#define __launch_bounds__(...)
#define __grid_constant__
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))

#define threadIdx (::shim::current->thread)
#define blockIdx (::shim::place->block_index)
#define blockDim (::shim::place->block_dim)
#define gridDim (::shim::place->grid_dim)
constexpr int warpSize = 32;

// --- Barriers and fences

inline void __syncthreads() { shim::barrier_sync(0, 0); }
inline int __syncthreads_count(int predicate) { return shim::barrier_vote(shim::Vote::count, predicate != 0); }
inline int __syncthreads_and(int predicate) { return shim::barrier_vote(shim::Vote::all, predicate != 0); }
inline int __syncthreads_or(int predicate) { return shim::barrier_vote(shim::Vote::any, predicate != 0); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { shim::warp_exchange(mask, "__syncwarp", nullptr, 0); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { shim::relax(); }
inline unsigned __activemask() { return shim::active_mask(); }

// --- Warps

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = static_cast<int>(shim::lane_id());
  return shim::warp_exchange(mask, "__shfl_sync", value)[(lane & ~(width - 1)) | (source & (width - 1))];
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(shim::lane_id()), from = lane - static_cast<int>(delta);
  return shim::warp_exchange(mask, "__shfl_up_sync", value)[from < (lane & ~(width - 1)) ? lane : from];
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(shim::lane_id()), from = lane + static_cast<int>(delta);
  return shim::warp_exchange(mask, "__shfl_down_sync", value)[from > (lane | (width - 1)) ? lane : from];
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = static_cast<int>(shim::lane_id()), from = lane ^ bits;
  return shim::warp_exchange(mask, "__shfl_xor_sync", value)[from > (lane | (width - 1)) ? lane : from];
}

namespace shim {

// f over the values of the lanes in the mask, in the order of the lanes.
template <class T, class F> T warp_reduce(unsigned mask, const char* kind, T value, F f) {
  const T* all = warp_exchange(mask, kind, value);
  mask &= existing_mask();
  T result{};
  bool first = true;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    result = first ? all[lane] : f(result, all[lane]);
    first = false;
  }
  return result;
}

}  // namespace shim

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const bool* all = shim::warp_exchange(mask, "__ballot_sync", predicate != 0);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask & shim::existing_mask()) >> lane & 1) result |= static_cast<unsigned>(all[lane]) << lane;
  }
  return result;
}
inline int __any_sync(unsigned mask, int predicate) {
  return shim::warp_reduce(mask, "__any_sync", predicate != 0, [](bool a, bool b) { return a || b; });
}
inline int __all_sync(unsigned mask, int predicate) {
  return shim::warp_reduce(mask, "__all_sync", predicate != 0, [](bool a, bool b) { return a && b; });
}

#define SHIM_REDUCE(name, T, expression)                                                    \
  inline T name(unsigned mask, T value) {                                                   \
    return shim::warp_reduce(mask, #name, value, [](T a, T b) -> T { return expression; }); \
  }
SHIM_REDUCE(__reduce_add_sync, unsigned, a + b)
SHIM_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
SHIM_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
SHIM_REDUCE(__reduce_add_sync, int, static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)))
SHIM_REDUCE(__reduce_min_sync, int, a < b ? a : b)
SHIM_REDUCE(__reduce_max_sync, int, a > b ? a : b)
SHIM_REDUCE(__reduce_and_sync, unsigned, a& b)
SHIM_REDUCE(__reduce_or_sync, unsigned, a | b)
SHIM_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef SHIM_REDUCE

template <class T> unsigned __match_any_sync(unsigned mask, T value) {
  const T* all = shim::warp_exchange(mask, "__match_any_sync", value);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (((mask & shim::existing_mask()) >> lane & 1) && std::memcmp(&all[lane], &value, sizeof(T)) == 0)
      result |= 1u << lane;
  }
  return result;
}

// --- Memory

#define SHIM_LOAD(name) \
  template <class T> T name(const T* pointer) { return *pointer; }
SHIM_LOAD(__ldg)
SHIM_LOAD(__ldcg)
SHIM_LOAD(__ldca)
SHIM_LOAD(__ldcs)
SHIM_LOAD(__ldlu)
SHIM_LOAD(__ldcv)
#undef SHIM_LOAD
#define SHIM_STORE(name) \
  template <class T> void name(T* pointer, std::type_identity_t<const T&> value) { *pointer = value; }
SHIM_STORE(__stwb)
SHIM_STORE(__stcg)
SHIM_STORE(__stcs)
SHIM_STORE(__stwt)
#undef SHIM_STORE

inline size_t __cvta_generic_to_shared(const void* pointer) { return shim::shared_address(pointer); }
inline void* __cvta_shared_to_generic(size_t address) { return shim::shared_pointer(static_cast<uint32_t>(address)); }
inline size_t __cvta_generic_to_global(const void* pointer) { return reinterpret_cast<size_t>(pointer); }

namespace shim {

template <class T, class F> T exchange_with(T* address, F f) {
  const T old = *address;
  *address = f(old);
  return old;
}

// Integer addition that wraps, as it does on the GPU.
template <class T> T wrapping_add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

}  // namespace shim

#define SHIM_ATOMIC(name, T, expression)                                                              \
  inline T name(T* address, T value) {                                                                \
    return shim::exchange_with(address, [value]([[maybe_unused]] T old) -> T { return expression; }); \
  }                                                                                                   \
  inline T name##_block(T* address, T value) { return name(address, value); }                         \
  inline T name##_system(T* address, T value) { return name(address, value); }
#define SHIM_ATOMICS(T)                                                                       \
  SHIM_ATOMIC(atomicAdd, T, shim::wrapping_add(old, value))                                   \
  SHIM_ATOMIC(atomicExch, T, value)                                                           \
  SHIM_ATOMIC(atomicMin, T, std::min(old, value))                                             \
  SHIM_ATOMIC(atomicMax, T, std::max(old, value))                                             \
  SHIM_ATOMIC(atomicAnd, T, old& value)                                                       \
  SHIM_ATOMIC(atomicOr, T, old | value)                                                       \
  SHIM_ATOMIC(atomicXor, T, old ^ value)                                                      \
  inline T atomicCAS(T* address, T compare, T value) {                                        \
    return shim::exchange_with(address, [=](T old) { return old == compare ? value : old; }); \
  }
SHIM_ATOMICS(int)
SHIM_ATOMICS(unsigned)
SHIM_ATOMICS(long long)  // nvcc lacks atomicAdd and atomicExch of this one
SHIM_ATOMICS(unsigned long long)
SHIM_ATOMIC(atomicAdd, float, old + value)
SHIM_ATOMIC(atomicAdd, double, old + value)
SHIM_ATOMIC(atomicExch, float, value)
SHIM_ATOMIC(atomicSub, int, shim::wrapping_add(old, -value))
SHIM_ATOMIC(atomicSub, unsigned, old - value)
SHIM_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
SHIM_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
#undef SHIM_ATOMICS
#undef SHIM_ATOMIC

// --- Bits

constexpr int __float_as_int(float x) { return std::bit_cast<int>(x); }
constexpr unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
constexpr float __int_as_float(int x) { return std::bit_cast<float>(x); }
constexpr float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
constexpr long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
constexpr double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
constexpr int __double2hiint(double x) { return static_cast<int>(std::bit_cast<uint64_t>(x) >> 32); }
constexpr int __double2loint(double x) { return static_cast<int>(std::bit_cast<uint64_t>(x)); }
constexpr double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low));
}
constexpr int __popc(unsigned x) { return std::popcount(x); }
constexpr int __popcll(unsigned long long x) { return std::popcount(x); }
constexpr int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
constexpr int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
constexpr int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
constexpr int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
constexpr unsigned __brev(unsigned x) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (x >> i & 1) << (31 - i);
  return result;
}
constexpr unsigned long long __brevll(unsigned long long x) {
  return uint64_t{__brev(static_cast<unsigned>(x))} << 32 | __brev(static_cast<unsigned>(x >> 32));
}
constexpr unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t both = uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> (4 * i) & 15;
    unsigned byte = static_cast<unsigned>(both >> (8 * (s & 7))) & 255;
    if (s & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}
constexpr unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
constexpr unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31));
}
constexpr unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
constexpr int __mulhi(int x, int y) { return static_cast<int>(int64_t{x} * y >> 32); }
constexpr unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(Wide{x} * y >> 64);
}

// --- Arithmetic

inline float __fmaf_rn(float x, float y, float z) { return ::fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return ::fma(x, y, z); }
// Through volatile: no compiler may contract these into a multiply-add.
#define SHIM_ROUNDED(name, T, operation) \
  inline T name(T x, T y) {              \
    volatile T result = x operation y;   \
    return result;                       \
  }
SHIM_ROUNDED(__fadd_rn, float, +)
SHIM_ROUNDED(__fsub_rn, float, -)
SHIM_ROUNDED(__fmul_rn, float, *)
SHIM_ROUNDED(__fdiv_rn, float, /)
SHIM_ROUNDED(__dadd_rn, double, +)
SHIM_ROUNDED(__dsub_rn, double, -)
SHIM_ROUNDED(__dmul_rn, double, *)
SHIM_ROUNDED(__ddiv_rn, double, /)
#undef SHIM_ROUNDED
inline float __fsqrt_rn(float x) { return ::sqrtf(x); }
inline double __dsqrt_rn(double x) { return ::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline float rsqrtf(float x) { return 1.0f / ::sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __expf(float x) { return ::expf(x); }
inline float __logf(float x) { return ::logf(x); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline int __float2int_rn(float x) { return static_cast<int>(::rintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

#define SHIM_MIN_MAX(T)                               \
  constexpr T min(T a, T b) { return b < a ? b : a; } \
  constexpr T max(T a, T b) { return a < b ? b : a; }
SHIM_MIN_MAX(int)
SHIM_MIN_MAX(unsigned)
SHIM_MIN_MAX(long)
SHIM_MIN_MAX(unsigned long)
SHIM_MIN_MAX(long long)
SHIM_MIN_MAX(unsigned long long)
#undef SHIM_MIN_MAX
inline float min(float a, float b) { return ::fminf(a, b); }
inline float max(float a, float b) { return ::fmaxf(a, b); }
inline double min(double a, double b) { return ::fmin(a, b); }
inline double max(double a, double b) { return ::fmax(a, b); }

// --- Time and traps

inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
[[noreturn]] inline void __trap() { shim::fail("__trap"); }
