// Views: the same memory seen with another shape. Each validates as NumPy does, in the voice of base/check.h.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/array.h"

namespace deltarule {

// axis in [-rank, rank) -> [0, rank); throws ValueError naming the operation otherwise.
int normalize_axis(const char* op, int64_t axis, int rank);
// The same for several, which must differ; nothing given means all.
std::vector<bool> normalize_axes(const char* op, const std::optional<Shape>& axes, int rank);

// Whether NumPy's `order`, "C", "F" or "A", runs through x with the first index fastest.
bool by_columns(const char* op, const Array& x, const std::string& order);
// One extent may be -1; a view where possible, else a copy. `columns`: both shapes are read first index fastest.
Array reshape(const Array& x, const Shape& shape, bool columns = false);
Array ravel(const Array& x, bool columns = false);                  // x[...] -> [size]; a view where possible
Array transpose(const Array& x, const std::optional<Shape>& axes);  // reverses the axes without `axes`
Array matrix_transpose(const Array& x);                             // of the last two axes
Array swapaxes(const Array& x, int64_t axis1, int64_t axis2);
Array moveaxis_last(const Array& x, int axis);
Array expand_dims(const Array& x, const Shape& axes);
Array squeeze(const Array& x, const std::optional<Shape>& axes);

int64_t length(const Array& x);  // extent of the first axis; throws TypeError for a 0-d array

// One entry of x[...]: an integer, a slice as Python's slice.unpack gives it, None or Ellipsis.
struct Index {
  enum Kind { integer, slice, newaxis, ellipsis } kind;
  int64_t start, stop, step;  // integer: start alone
};

// Basic indexing: a view. Throws std::out_of_range (Python's IndexError) for an index outside or one too many.
Array index(const Array& x, std::span<const Index> entries);
// What x[...] reads: the view, but a copy of the one element that integers alone pick.
Array item(const Array& x, std::span<const Index> entries);

}  // namespace deltarule
