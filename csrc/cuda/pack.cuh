// Sixteen bytes of a row as one access where they lie on a boundary of sixteen, else element by element.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"

namespace deltarule::cuda {
namespace {

template <class T> constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class T> struct alignas(16) Pack {
  T element[kPack<T>];
};

template <class T> __device__ __forceinline__ bool on_boundary(const T* p) {
  return (reinterpret_cast<uintptr_t>(p) & 15) == 0;
}

template <bool Aligned, class T> __device__ __forceinline__ Pack<T> load_pack(const T* p) {
  if constexpr (Aligned) {
    return *reinterpret_cast<const Pack<T>*>(p);
  } else {
    Pack<T> pack;
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) pack.element[e] = p[e];
    return pack;
  }
}

template <bool Aligned, class T> __device__ __forceinline__ void store_pack(const Pack<T>& pack, T* p) {
  if constexpr (Aligned) {
    *reinterpret_cast<Pack<T>*>(p) = pack;
  } else {
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) p[e] = pack.element[e];
  }
}

}  // namespace
}  // namespace deltarule::cuda
