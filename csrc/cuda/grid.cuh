// Strided grids: the host puts a grid's axes in order, a thread finds the place of its elements.
//
// Layout     axes of extent 1 dropped, the output's steps made positive, axes ordered by them (axis 0 is the
// innermost),
//            neighbours merged that are one evenly spaced block for every operand: contiguous operands of any rank
//            become one axis. A thread's unit is a group of Width elements along axis 0: 16 bytes where every operand
//            lies so, else one element.
// Arithmetic an axis costs a multiplication, a shift and a multiply-add an operand: groups are numbered in 31 bits and
//            divided by multiplying. Larger grids are cut in pieces on the host.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace deltarule::cuda {
namespace {

constexpr int kMaxAxes = 8;

// Several elements moved as one.
template <class T, int Width> struct alignas(sizeof(T) * Width) Group {
  T lane[Width];
};

// A buffer of a grid's operands starts at a multiple of `bytes`.
inline bool is_aligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

// Division of numbers below 2^31 by a fixed one of them: n / d = (n f / 2^32 + n) / 2^s for the f and s below
// (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
struct Divider {
  uint32_t divisor, factor, shift;

  static Divider of(int64_t divisor) {
    const auto d = static_cast<uint64_t>(divisor);
    uint32_t shift = 0;
    while ((uint64_t{1} << shift) < d) ++shift;
    const uint64_t factor = (((uint64_t{1} << shift) - d) << 32) / d + 1;
    return {static_cast<uint32_t>(d), static_cast<uint32_t>(factor), shift};
  }
  __device__ __forceinline__ uint32_t quotient(uint32_t n) const { return (__umulhi(n, factor) + n) >> shift; }
};

// A grid's axes, innermost first, and the strides of K operands in elements; operand 0 is the output.
template <int K> struct Axes {
  int rank = 0;
  int64_t total = 1;
  int64_t shape[kMaxAxes];
  int64_t stride[K][kMaxAxes];
  int64_t start[K] = {};  // of the first element
};

template <int K> bool merges(const Axes<K>& axes, int inner, const Axes<K>& from, int outer) {
  for (int k = 0; k < K; ++k)
    if (from.stride[k][outer] != axes.shape[inner] * axes.stride[k][inner]) return false;
  return true;
}

template <int K> Axes<K> make_axes(int rank, const int64_t* shape, const int64_t* const (&strides)[K]) {
  Axes<K> sorted;
  for (int axis = rank - 1; axis >= 0; --axis) {
    sorted.total *= shape[axis];
    if (shape[axis] == 1) continue;
    const bool backwards = strides[0][axis] < 0;
    const int64_t size = backwards ? -strides[0][axis] : strides[0][axis];
    int at = sorted.rank++;
    for (; at > 0 && sorted.stride[0][at - 1] > size; --at) {
      sorted.shape[at] = sorted.shape[at - 1];
      for (int k = 0; k < K; ++k) sorted.stride[k][at] = sorted.stride[k][at - 1];
    }
    sorted.shape[at] = shape[axis];
    for (int k = 0; k < K; ++k) {
      sorted.stride[k][at] = backwards ? -strides[k][axis] : strides[k][axis];
      if (backwards) sorted.start[k] += (shape[axis] - 1) * strides[k][axis];
    }
  }
  Axes<K> axes = sorted;
  axes.rank = 0;
  for (int from = 0; from < sorted.rank; ++from) {
    if (axes.rank > 0 && merges(axes, axes.rank - 1, sorted, from)) {
      axes.shape[axes.rank - 1] *= sorted.shape[from];
      continue;
    }
    axes.shape[axes.rank] = sorted.shape[from];
    for (int k = 0; k < K; ++k) axes.stride[k][axes.rank] = sorted.stride[k][from];
    ++axes.rank;
  }
  if (axes.rank > 0) return axes;
  axes.rank = 1;
  axes.shape[0] = 1;
  for (int k = 0; k < K; ++k) axes.stride[k][0] = 1;
  return axes;
}

constexpr int64_t kMostElements = int64_t{1} << 30;  // of a launch, so that its threads are numbered in 31 bits

// visit(piece) for pieces of at most `most` elements that make up the grid.
template <int K, class Visit> void for_pieces(const Axes<K>& axes, const Visit& visit, int64_t most = kMostElements) {
  if (axes.total <= most) {
    if (axes.total > 0) visit(axes);
    return;
  }
  int longest = 0;
  for (int axis = 1; axis < axes.rank; ++axis)
    if (axes.shape[axis] > axes.shape[longest]) longest = axis;
  const int64_t extent = axes.shape[longest];
  const int64_t first = extent >= 32 ? extent / 2 / 16 * 16 : extent / 2;  // whole groups
  Axes<K> half = axes;
  half.shape[longest] = first;
  half.total = axes.total / extent * first;
  for_pieces(half, visit, most);
  half.shape[longest] = extent - first;
  half.total = axes.total / extent * (extent - first);
  for (int k = 0; k < K; ++k) half.start[k] += first * axes.stride[k][longest];
  for_pieces(half, visit, most);
}

// Whether every operand's groups of `width` elements can be moved as one: pointers[k] with bytes[k] an element. An
// input may also stand still along axis 0.
template <int K>
bool in_groups(const Axes<K>& axes, int64_t width, const void* const (&pointers)[K], const int64_t (&bytes)[K]) {
  if (axes.rank > 1 && axes.shape[0] % width != 0) return false;
  for (int k = 0; k < K; ++k) {
    if (k > 0 && axes.stride[k][0] == 0) continue;
    if (axes.stride[k][0] != 1) return false;
    if (!is_aligned(static_cast<const char*>(pointers[k]) + axes.start[k] * bytes[k], width * bytes[k])) return false;
    for (int axis = 1; axis < axes.rank; ++axis)
      if (axes.stride[k][axis] % width != 0) return false;
  }
  return true;
}

// What a kernel gets of a grid.
template <int K> struct Grid {
  int rank;
  uint32_t groups;
  int last;                     // elements of the last group
  Divider extent[kMaxAxes];     // in groups
  int64_t stride[K][kMaxAxes];  // of groups
  bool still[K];                // along axis 0
};

// `axes` holds at most kMostElements, and with a width above 1 it is in groups or has one axis.
template <int K> Grid<K> make_grid(const Axes<K>& axes, int64_t width) {
  Grid<K> grid;
  const int64_t across = (axes.shape[0] + width - 1) / width;
  grid.rank = axes.rank;
  grid.groups = static_cast<uint32_t>(axes.total / axes.shape[0] * across);
  grid.last = static_cast<int>(axes.shape[0] - (across - 1) * width);
  for (int axis = 0; axis < axes.rank; ++axis) {
    grid.extent[axis] = Divider::of(axis == 0 ? across : axes.shape[axis]);
    for (int k = 0; k < K; ++k) grid.stride[k][axis] = axes.stride[k][axis] * (axis == 0 ? width : 1);
  }
  for (int k = 0; k < K; ++k) grid.still[k] = axes.stride[k][0] == 0;
  return grid;
}

// at[k] = where the group begins in operand k
template <int K> __device__ __forceinline__ void locate(const Grid<K>& grid, uint32_t group, int64_t (&at)[K]) {
#pragma unroll
  for (int k = 0; k < K; ++k) at[k] = 0;
  for (int axis = 0; axis < grid.rank - 1; ++axis) {
    const uint32_t quotient = grid.extent[axis].quotient(group);
    const uint32_t index = group - quotient * grid.extent[axis].divisor;
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] += index * grid.stride[k][axis];
    group = quotient;
  }
#pragma unroll
  for (int k = 0; k < K; ++k) at[k] += group * grid.stride[k][grid.rank - 1];
}

}  // namespace
}  // namespace deltarule::cuda
