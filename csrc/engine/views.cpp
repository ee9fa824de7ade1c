#include "engine/views.h"

#include <algorithm>
#include <stdexcept>

namespace deltarule {
namespace {

// -1 in `shape` replaced by what is left; throws unless the number of elements agrees.
Shape resolved(const Shape& from, const Shape& shape) {
  Shape out = shape;
  int unknown = -1;
  int64_t known = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    check<ValueError>(shape[axis] >= -1 && (shape[axis] >= 0 || unknown < 0), "reshape: shape is ", shape,
                      "; extents must not be negative, but one may be -1");
    if (shape[axis] < 0) unknown = axis;
    else known *= shape[axis];
  }
  const int64_t size = from.size();
  if (unknown >= 0 && known > 0 && size % known == 0) out[unknown] = size / known;
  check<ValueError>(out.size() == size && (unknown < 0 || out[unknown] >= 0), "reshape: array is ", from, ", wanted ",
                    shape, "; the number of elements, ", size, ", must stay");
  return out;
}

// Where slice(start, stop, step) begins on an axis and how far it goes: clamped as Python does it.
struct Run {
  int64_t start, length;
};

Run clamped(const Index& entry, int64_t extent) {
  const int64_t step = entry.step;
  const auto clamp = [&](int64_t value) {
    if (value < 0) value += extent;
    return std::clamp<int64_t>(value, step < 0 ? -1 : 0, step < 0 ? extent - 1 : extent);
  };
  const int64_t start = clamp(entry.start), stop = clamp(entry.stop);
  int64_t length = 0;
  if (step > 0 && start < stop) length = (stop - start - 1) / step + 1;
  if (step < 0 && stop < start) length = (start - stop - 1) / -step + 1;
  return {length > 0 ? start : 0, length};
}

}  // namespace

int normalize_axis(const char* op, int64_t axis, int rank) {
  check<ValueError>(-rank <= axis && axis < rank, op, ": axis is ", axis, ", the array has ", rank, " dimensions");
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

std::vector<bool> normalize_axes(const char* op, const std::optional<Shape>& axes, int rank) {
  std::vector<bool> chosen(static_cast<size_t>(rank), !axes.has_value());
  if (!axes) return chosen;
  for (int64_t axis : *axes) {
    const auto place = static_cast<size_t>(normalize_axis(op, axis, rank));
    check<ValueError>(!chosen[place], op, ": axes are ", *axes, "; each may be named once");
    chosen[place] = true;
  }
  return chosen;
}

bool by_columns(const char* op, const Array& x, const std::string& order) {
  check<ValueError>(order == "C" || order == "F" || order == "A", op, ": order is '", order,
                    "'; choose one of: C, F, A");
  return order == "F" || (order == "A" && !x.is_contiguous() && transpose(x, std::nullopt).is_contiguous());
}

Array reshape(const Array& x, const Shape& shape, bool columns) {
  const Shape wanted = resolved(x.shape(), shape);
  if (columns) {
    Shape reversed;
    for (int axis = wanted.rank() - 1; axis >= 0; --axis) reversed.push_back(wanted[axis]);
    return transpose(reshape(transpose(x, std::nullopt), reversed), std::nullopt);
  }
  if (std::optional<Array> view = x.reshaped(wanted)) return *std::move(view);
  return *x.contiguous().reshaped(wanted);
}

Array ravel(const Array& x, bool columns) { return reshape(x, {x.size()}, columns); }

Array transpose(const Array& x, const std::optional<Shape>& axes) {
  const int rank = x.rank();
  Shape order;
  if (!axes)
    for (int axis = rank - 1; axis >= 0; --axis) order.push_back(axis);
  else {
    check<ValueError>(axes->rank() == rank, "transpose: array is ", x.shape(), ", axes are ", *axes,
                      "; each axis must be named once");
    normalize_axes("transpose", axes, rank);
    for (int64_t axis : *axes) order.push_back(normalize_axis("transpose", axis, rank));
  }
  return x.permuted(order);
}

Array swapaxes(const Array& x, int64_t axis1, int64_t axis2) {
  Shape order;
  for (int axis = 0; axis < x.rank(); ++axis) order.push_back(axis);
  std::swap(order[normalize_axis("swapaxes", axis1, x.rank())], order[normalize_axis("swapaxes", axis2, x.rank())]);
  return x.permuted(order);
}

Array matrix_transpose(const Array& x) {
  check<ValueError>(x.rank() >= 2, "matrix_transpose: array is ", x.shape(), "; it must have at least 2 dimensions");
  return swapaxes(x, -2, -1);
}

Array moveaxis_last(const Array& x, int axis) {
  Shape order;
  for (int other = 0; other < x.rank(); ++other)
    if (other != axis) order.push_back(other);
  order.push_back(axis);
  return x.permuted(order);
}

Array expand_dims(const Array& x, const Shape& axes) {
  check<ValueError>(x.rank() + axes.rank() <= kMaxRank, "expand_dims: array is ", x.shape(), ", axes are ", axes,
                    "; at most ", kMaxRank, " dimensions are supported");
  std::vector<Index> entries;
  for (bool added : normalize_axes("expand_dims", axes, x.rank() + axes.rank()))
    entries.push_back({added ? Index::newaxis : Index::slice, 0, INT64_MAX, 1});
  return index(x, entries);
}

Array squeeze(const Array& x, const std::optional<Shape>& axes) {
  const std::vector<bool> chosen = normalize_axes("squeeze", axes, x.rank());
  Array out = x;
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    if (!chosen[static_cast<size_t>(axis)]) continue;
    check<ValueError>(!axes || x.shape()[axis] == 1, "squeeze: array is ", x.shape(), ", axis is ", axis,
                      "; its extent must be 1");
    if (x.shape()[axis] == 1) out = out.indexed(axis, 0);
  }
  return out;
}

int64_t length(const Array& x) {
  check<TypeError>(x.rank() > 0, "len: a 0-d Array has no length");
  return x.shape()[0];
}

namespace {

// What a basic index picks of an array, in elements.
struct Place {
  int64_t offset = 0;
  Shape shape, strides;
};

Place locate(const Array& x, std::span<const Index> entries) {
  int named = 0, dots = 0;
  for (const Index& entry : entries) {
    named += entry.kind == Index::integer || entry.kind == Index::slice;
    dots += entry.kind == Index::ellipsis;
  }
  check<std::out_of_range>(dots <= 1, "index: more than one Ellipsis");
  check<std::out_of_range>(named <= x.rank(), "index: array is ", x.shape(), ", with ", named,
                           " indices; there must not be more than dimensions");
  Place to;
  const auto add = [&to](int64_t extent, int64_t stride) {
    to.shape.push_back(extent);
    to.strides.push_back(stride);
  };
  int axis = 0;  // of x
  for (const Index& entry : entries) {
    if (entry.kind == Index::integer) {
      const int64_t extent = x.shape()[axis];
      check<std::out_of_range>(-extent <= entry.start && entry.start < extent, "index: array is ", x.shape(),
                               ", index ", entry.start, " is out of bounds for axis ", axis);
      to.offset += (entry.start < 0 ? entry.start + extent : entry.start) * x.strides()[axis++];
    } else if (entry.kind == Index::slice) {
      const Run run = clamped(entry, x.shape()[axis]);
      const int64_t stride = x.strides()[axis++];
      to.offset += run.start * stride;
      add(run.length, run.length > 1 ? stride * entry.step : stride);  // else the step may be anything
    } else if (entry.kind == Index::newaxis) {
      add(1, 0);
    } else {
      for (int skipped = x.rank() - named; skipped > 0; --skipped, ++axis) add(x.shape()[axis], x.strides()[axis]);
    }
  }
  for (; axis < x.rank(); ++axis) add(x.shape()[axis], x.strides()[axis]);
  return to;
}

}  // namespace

Array index(const Array& x, std::span<const Index> entries) {
  const Place to = locate(x, entries);
  return x.strided(to.offset, to.shape, to.strides);
}

Array item(const Array& x, std::span<const Index> entries) {
  const Place to = locate(x, entries);
  const bool copied = static_cast<int>(entries.size()) == x.rank() &&
                      std::ranges::all_of(entries, [](const Index& entry) { return entry.kind == Index::integer; });
  if (!copied) return x.strided(to.offset, to.shape, to.strides);
  Array out = Array::empty({}, x.dtype(), x.device());
  assign("getitem", out,
         Array::wrap(x.as<char>() + to.offset * size_of(x.dtype()), {}, {}, x.dtype(), x.device(), nullptr, false));
  return out;
}

}  // namespace deltarule
