// Grid: the loop nest of an element-wise kernel, made as shallow and as long inside as its operands allow.
//
// Axes of extent 1 are dropped, the others ordered by the last operand's strides (the output's: writing runs through
// memory), and neighbours that are one evenly spaced block for every operand are merged. Contiguous operands of any
// rank become one axis.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/shape.h"

namespace deltarule {

template <int kOperands> struct Grid {
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t strides[kOperands][kMaxRank] = {};

  // Every operand's strides have the rank of `extents`; the last operand is the output.
  Grid(const Shape& extents, const Shape* const (&operands)[kOperands]) {
    int order[kMaxRank], count = 0;
    for (int axis = 0; axis < extents.rank(); ++axis)
      if (extents[axis] != 1) order[count++] = axis;
    const Shape& output = *operands[kOperands - 1];
    for (int i = 1; i < count; ++i)  // by insertion: at most 8, and mostly in order
      for (int j = i; j > 0 && std::abs(output[order[j - 1]]) < std::abs(output[order[j]]); --j)
        std::swap(order[j - 1], order[j]);
    for (int i = 0; i < count; ++i) {
      const int axis = order[i];
      if (rank > 0 && merges(operands, axis, extents[axis])) shape[rank - 1] *= extents[axis];
      else shape[rank++] = extents[axis];
      for (int k = 0; k < kOperands; ++k) strides[k][rank - 1] = (*operands[k])[axis];
    }
  }

  // Copies extents and strides to the fields of a kernel's arguments.
  template <class... Fields> void fill(int64_t (&extents)[kMaxRank], Fields&... fields) const {
    static_assert(sizeof...(fields) == kOperands);
    std::copy_n(shape, rank, extents);
    int operand = 0;
    (std::copy_n(strides[operand++], rank, fields), ...);
  }

 private:
  bool merges(const Shape* const (&operands)[kOperands], int axis, int64_t extent) const {
    for (int k = 0; k < kOperands; ++k)
      if (strides[k][rank - 1] != extent * (*operands[k])[axis]) return false;
    return true;
  }
};

}  // namespace deltarule
