// What reduce does with each element: a partial result (Part), how an element of index `at` joins it, how two partial
// results join, and what becomes of the last. Sums and products are kept in float64. Places (argmax, argmin) know
// their index, so that the first of equals wins whatever the order in which parts meet.
#pragma once

#include <cstdint>

#include "cuda/pack.cuh"
#include "cuda/team.cuh"
#include "cuda/vec.cuh"
#include "formulas/functions.h"

namespace deltarule::cuda {
namespace {

template <class T> struct FoldSum {
  using Element = T;
  using Part = double;
  using Result = T;
  static __device__ Part identity() { return 0.0; }
  static __device__ Part add(Part part, T x, int64_t) { return part + static_cast<double>(x); }
  static __device__ Part join(Part a, Part b) { return a + b; }
  static __device__ Result result(Part part) { return static_cast<T>(part); }
};

template <class T> struct FoldSquares : FoldSum<T> {
  static __device__ double add(double part, T x, int64_t) {
    return ::fma(static_cast<double>(x), static_cast<double>(x), part);
  }
};

template <class T> struct FoldProduct : FoldSum<T> {
  static __device__ double identity() { return 1.0; }
  static __device__ double add(double part, T x, int64_t) { return part * static_cast<double>(x); }
  static __device__ double join(double a, double b) { return a * b; }
};

template <class T> struct FoldMax {
  using Element = T;
  using Part = T;
  using Result = T;
  static __device__ T identity() { return -static_cast<T>(__builtin_inf()); }
  static __device__ T add(T part, T x, int64_t) { return maximum(Lane<T>{x}, Lane<T>{part}).v; }
  static __device__ T join(T a, T b) { return maximum(Lane<T>{a}, Lane<T>{b}).v; }
  static __device__ T result(T part) { return part; }
  static __device__ bool better(T a, T b) { return (a > b) | ((a != a) & (b == b)); }
};

template <class T> struct FoldMin : FoldMax<T> {
  static __device__ T identity() { return static_cast<T>(__builtin_inf()); }
  static __device__ T add(T part, T x, int64_t) { return minimum(Lane<T>{x}, Lane<T>{part}).v; }
  static __device__ T join(T a, T b) { return minimum(Lane<T>{a}, Lane<T>{b}).v; }
  static __device__ bool better(T a, T b) { return (a < b) | ((a != a) & (b == b)); }
};

template <class T> struct Found {
  T value;
  int64_t index;
};

template <class T> __device__ __forceinline__ Found<T> from_lane_across(Found<T> x, int bits) {
  return {from_lane_across(x.value, bits), from_lane_across(x.index, bits)};
}

// The place of what `Best` (FoldMax, FoldMin) keeps.
template <class Best> struct FoldPlace {
  using Element = typename Best::Element;
  using Part = Found<Element>;
  using Result = int64_t;
  static __device__ Part identity() { return {Best::identity(), INT64_MAX}; }
  static __device__ Part add(Part part, Element x, int64_t at) { return join(part, {x, at}); }
  static __device__ Part join(Part a, Part b) {
    const bool second = Best::better(b.value, a.value) | (!Best::better(a.value, b.value) & (b.index < a.index));
    return second ? b : a;
  }
  static __device__ Result result(Part part) { return part.index; }
};

// visit(FoldSum<float>{}) and so on
template <class T, class Visitor> void with_fold(Reduction op, const Visitor& visit) {
  switch (op) {
    case Reduction::sum:
      return visit(FoldSum<T>{});
    case Reduction::prod:
      return visit(FoldProduct<T>{});
    case Reduction::max:
      return visit(FoldMax<T>{});
    case Reduction::min:
      return visit(FoldMin<T>{});
    case Reduction::sum_squares:
      return visit(FoldSquares<T>{});
    case Reduction::argmax:
      return visit(FoldPlace<FoldMax<T>>{});
    case Reduction::argmin:
      return visit(FoldPlace<FoldMin<T>>{});
  }
}

// This thread's packs of x[begin, end), which the block's Threads threads share; begin is a multiple of the pack.
template <class Op, bool Aligned, int Threads>
__device__ __forceinline__ typename Op::Part fold_packs(const typename Op::Element* x, int64_t begin, int64_t end) {
  using T = typename Op::Element;
  constexpr int kBatch = 4;
  constexpr int64_t kTile = Threads * kPack<T>;
  auto part = Op::identity();
  for (int64_t i = begin + int64_t{threadIdx.x} * kPack<T>; i < end; i += kBatch * kTile) {
    Pack<T> pack[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k)
      pack[k] = i + k * kTile + kPack<T> <= end ? load_pack<Aligned>(x + i + k * kTile) : Pack<T>{};
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const int64_t at = i + k * kTile;
      if (at + kPack<T> <= end) {
#pragma unroll
        for (int e = 0; e < kPack<T>; ++e) part = Op::add(part, pack[k].element[e], at + e);
      } else {
#pragma unroll
        for (int e = 0; e + 1 < kPack<T>; ++e)
          if (at + e < end) part = Op::add(part, x[at + e], at + e);
      }
    }
  }
  return part;
}

}  // namespace
}  // namespace deltarule::cuda
