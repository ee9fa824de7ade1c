#include "engine/array.h"

#include <cstring>
#include <utility>

namespace deltarule {

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  const int offset = longer.rank() - shorter.rank();
  for (int axis = 0; axis < shorter.rank(); ++axis) {
    int64_t& extent = out[axis + offset];
    const int64_t other = shorter[axis];
    check<ValueError>(extent == other || extent == 1 || other == 1, op, ": a is ", a, ", b is ", b,
                      "; aligned from the last axis, extents must be equal or 1");
    if (extent == 1) extent = other;
  }
  return out;
}

Array Array::empty(const Shape& shape, DType dtype, Device& device) {
  for (int64_t extent : shape) check<ValueError>(extent >= 0, "empty: shape is ", shape, "; extents must not be negative");
  int64_t bytes = size_of(dtype);
  for (int64_t extent : shape)
    check<ValueError>(!__builtin_mul_overflow(bytes, extent, &bytes), "empty: shape is ", shape, "; too large");
  void* memory = device.allocate(bytes);
  std::shared_ptr<void> owner(memory, device.release);
  return wrap(memory, shape, contiguous_strides(shape), dtype, device, std::move(owner), true);
}

Array Array::zeros(const Shape& shape, DType dtype, Device& device) {
  Array out = empty(shape, dtype, device);
  std::memset(out.data(), 0, static_cast<size_t>(out.nbytes()));  // every dtype's zero is all bits zero
  return out;
}

Array Array::wrap(void* data, const Shape& shape, const Shape& strides, DType dtype, Device& device,
                  std::shared_ptr<void> owner, bool writable) {
  Array out;
  out.owner_ = std::move(owner);
  out.data_ = data;
  out.device_ = &device;
  out.shape_ = shape;
  out.strides_ = strides;
  out.dtype_ = dtype;
  out.writable_ = writable;
  return out;
}

bool Array::is_contiguous() const {
  if (size() == 0) return true;
  int64_t step = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (shape_[axis] != 1 && strides_[axis] != step) return false;
    step *= shape_[axis];
  }
  return true;
}

Array Array::permuted(const Shape& axes) const {
  Array out = *this;
  for (int axis = 0; axis < rank(); ++axis) {
    out.shape_[axis] = shape_[static_cast<int>(axes[axis])];
    out.strides_[axis] = strides_[static_cast<int>(axes[axis])];
  }
  return out;
}

Array Array::broadcast_to(const Shape& shape) const {
  const int offset = shape.rank() - rank();
  bool fits = offset >= 0;
  for (int axis = 0; fits && axis < rank(); ++axis) fits = shape_[axis] == 1 || shape_[axis] == shape[axis + offset];
  check<ValueError>(fits, "broadcast_to: array is ", shape_, ", wanted ", shape,
                    "; aligned from the last axis, extents must be equal or 1");
  Array out = *this;
  out.shape_ = out.strides_ = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const int own = axis - offset;
    out.strides_[axis] = own < 0 || (shape_[own] == 1 && shape[axis] != 1) ? 0 : strides_[own];
  }
  out.writable_ = false;
  return out;
}

std::optional<Array> Array::reshaped(const Shape& shape) const {
  Array out = *this;
  out.shape_ = shape;
  if (is_contiguous()) {
    out.strides_ = contiguous_strides(shape);
    return out;
  }
  // Walk both shapes from the end: a group of new axes may share a run of old axes only if that run is one
  // evenly spaced block.
  out.strides_ = shape;
  int axis_old = rank() - 1, axis_new = shape.rank() - 1;
  while (axis_new >= 0) {
    while (axis_old >= 0 && shape_[axis_old] == 1) --axis_old;
    if (axis_old < 0) {
      out.strides_[axis_new--] = 1;  // only extents of 1 are left
      continue;
    }
    int64_t extent_old = shape_[axis_old], extent_new = 1, step = strides_[axis_old];
    while (axis_new >= 0 && extent_new < extent_old) {
      out.strides_[axis_new] = step * extent_new;
      extent_new *= shape[axis_new--];
      while (extent_new > extent_old) {
        if (axis_old == 0 || strides_[axis_old - 1] != strides_[axis_old] * shape_[axis_old]) return std::nullopt;
        extent_old *= shape_[--axis_old];
      }
    }
    if (extent_new != extent_old) return std::nullopt;
    --axis_old;
  }
  return out;
}

Array Array::sliced(int axis, int64_t start, int64_t length, int64_t step) const {
  Array out = *this;
  if (length > 0) out.data_ = static_cast<char*>(data_) + start * strides_[axis] * size_of(dtype_);
  out.shape_[axis] = length;
  out.strides_[axis] = strides_[axis] * step;
  return out;
}

Array Array::indexed(int axis, int64_t index) const {
  Array out = *this;
  out.data_ = static_cast<char*>(data_) + index * strides_[axis] * size_of(dtype_);
  out.shape_ = out.strides_ = Shape();
  for (int other = 0; other < rank(); ++other) {
    if (other == axis) continue;
    out.shape_.push_back(shape_[other]);
    out.strides_.push_back(strides_[other]);
  }
  return out;
}

Array Array::read_only() const {
  Array out = *this;
  out.writable_ = false;
  return out;
}

Array Array::astype(DType dtype) const {
  Array out = empty(shape_, dtype, *device_);
  assign("astype", out, *this);
  return out;
}

Array Array::contiguous() const { return is_contiguous() ? *this : astype(dtype_); }

void assign(const char* op, const Array& dst, const Array& src) {
  check<ValueError>(dst.writable(), op, ": the array written to is read-only");
  const Array from = src.shape() == dst.shape() ? src : src.broadcast_to(dst.shape());
  CopyArgs args{from.dtype(), dst.dtype(), dst.rank(), {}, from.data(), {}, dst.data(), {}};
  for (int axis = 0; axis < dst.rank(); ++axis) {
    args.shape[axis] = dst.shape()[axis];
    args.stride_x[axis] = from.strides()[axis];
    args.stride_y[axis] = dst.strides()[axis];
  }
  dst.device().kernels->copy(args);
}

}  // namespace deltarule
