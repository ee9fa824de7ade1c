#include "engine/array.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/grid.h"

namespace deltarule {
namespace {

constexpr int64_t kFront = 64;  // what keeps memory aligned

// std::shared_ptr's own block, put in front of the memory it counts: one block to take and to give back, not two.
template <class T> struct InFront {
  using value_type = T;
  InFront(void* block, void (*release)(void*) noexcept) : block(block), release(release) {}
  template <class U> InFront(const InFront<U>& other) noexcept : block(other.block), release(other.release) {}
  T* allocate(size_t) noexcept {
    static_assert(sizeof(T) <= kFront);
    return static_cast<T*>(block);
  }
  void deallocate(T*, size_t) noexcept { release(block); }
  template <class U> bool operator==(const InFront<U>& other) const noexcept { return block == other.block; }

  void* block;
  void (*release)(void*) noexcept;
};

// Memory of so many bytes, and who owns it.
std::shared_ptr<void> new_memory(Device& device, int64_t bytes) {
  if (!device.host_accessible) return {device.allocate(device, bytes), device.release};
  void* const block = device.allocate(device, kFront + bytes);
  return {static_cast<char*>(block) + kFront, [](void*) {}, InFront<char>(block, device.release)};
}

}  // namespace

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= std::max<int64_t>(shape[axis], 1);  // as NumPy's, which shows no stride of 0 in an empty array
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
  for (int64_t extent : shape)
    check<ValueError>(extent >= 0, "empty: shape is ", shape, "; extents must not be negative");
  int64_t bytes = size_of(dtype), whole;
  for (int64_t extent : shape)
    check<ValueError>(!__builtin_mul_overflow(bytes, extent, &bytes), "empty: shape is ", shape, "; too large");
  check<ValueError>(!__builtin_add_overflow(bytes, kFront, &whole), "empty: shape is ", shape, "; too large");
  std::shared_ptr<void> owner = new_memory(device, bytes);
  void* const memory = owner.get();
  return wrap(memory, shape, contiguous_strides(shape), dtype, device, std::move(owner), true);
}

Array Array::empty_like(const Array& x, DType dtype) {
  Array out = empty(x.shape(), dtype, x.device());
  if (x.is_contiguous()) return out;
  const Shape order = x.memory_order();
  Shape inverse = order;
  for (int axis = 0; axis < order.rank(); ++axis) inverse[static_cast<int>(order[axis])] = axis;
  const Array ordered = x.permuted(order);
  if (!ordered.is_contiguous()) return out;
  out.shape_ = ordered.shape_;
  out.strides_ = contiguous_strides(out.shape_);
  return out.permuted(inverse);
}

Shape Array::memory_order() const {
  Shape order;
  for (int axis = 0; axis < rank(); ++axis) order.push_back(axis);
  const auto stride = [&](int i) { return std::abs(strides_[static_cast<int>(order[i])]); };
  for (int i = 1; i < rank(); ++i)  // by insertion: at most 8, and mostly in order
    for (int j = i; j > 0 && stride(j - 1) < stride(j); --j) std::swap(order[j - 1], order[j]);
  return order;
}

Array Array::zeros(const Shape& shape, DType dtype, Device& device) {
  Array out = empty(shape, dtype, device);
  // Every dtype's zero is all bits zero.
  if (device.host_accessible) std::memset(out.data(), 0, static_cast<size_t>(out.nbytes()));
  else device.zero(device, out.data(), out.nbytes());
  return out;
}

void Array::set_writable(bool writable) {
  check<ValueError>(writable_ || !writable, "flags: the Array is read-only and cannot be made writeable; copy it");
  writable_ = writable;
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

Array Array::strided(int64_t offset, const Shape& shape, const Shape& strides) const {
  return wrap(as<char>() + offset * size_of(dtype_), shape, strides, dtype_, *device_, owner_, writable_);
}

Array Array::permuted(const Shape& axes) const {
  Array out = *this;
  for (int axis = 0; axis < rank(); ++axis) {
    out.shape_[axis] = shape_[static_cast<int>(axes[axis])];
    out.strides_[axis] = strides_[static_cast<int>(axes[axis])];
  }
  return out;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  const int offset = to.rank() - from.rank();
  if (offset < 0) return false;
  for (int axis = 0; axis < from.rank(); ++axis)
    if (from[axis] != 1 && from[axis] != to[axis + offset]) return false;
  return true;
}

Array Array::broadcast_to(const Shape& shape) const {
  check<ValueError>(broadcasts_to(shape_, shape), "broadcast_to: array is ", shape_, ", wanted ", shape,
                    "; aligned from the last axis, extents must be equal or 1");
  const int offset = shape.rank() - rank();
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
  if (is_contiguous()) return strided(0, shape, contiguous_strides(shape));
  // Each group of new axes must cover one run of old axes with the same number of elements, and that run must be one
  // evenly spaced block. Axes of extent 1 have no say.
  Shape old_shape, old_strides;
  for (int axis = 0; axis < rank(); ++axis) {
    if (shape_[axis] == 1) continue;
    old_shape.push_back(shape_[axis]);
    old_strides.push_back(strides_[axis]);
  }
  Shape strides = shape;
  int old_axis = old_shape.rank() - 1;
  int64_t left = 1, step = 1;  // elements of the current run not yet given to a new axis, and their spacing
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (left == 1 && old_axis >= 0) {
      left = old_shape[old_axis];
      step = old_strides[old_axis--];
    }
    while (left % shape[axis] != 0) {
      if (old_axis < 0 || old_strides[old_axis] != old_shape[old_axis + 1] * old_strides[old_axis + 1])
        return std::nullopt;
      left *= old_shape[old_axis--];
    }
    strides[axis] = step;
    left /= shape[axis];
    step *= shape[axis];
  }
  return strided(0, shape, strides);
}

Array Array::sliced(int axis, int64_t start, int64_t length, int64_t step) const {
  Array out = *this;
  if (length > 0) out.data_ = static_cast<char*>(data_) + start * strides_[axis] * size_of(dtype_);
  out.shape_[axis] = length;
  if (length > 1) out.strides_[axis] = strides_[axis] * step;  // else the step may be anything, and means nothing
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

Array Array::widened(int axis) const {
  Array out = *this;
  out.shape_ = out.strides_ = Shape();
  for (int other = 0; other <= rank(); ++other) {
    if (other == axis) {
      out.shape_.push_back(1);
      out.strides_.push_back(0);
    }
    if (other == rank()) break;
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

Array Array::on(Device& device) const {
  if (&device == device_) return *this;
  Array out = empty(shape_, dtype_, device);
  move_to(out);
  return out;
}

// The elements, in C order, to contiguous memory of this dtype on another device.
void Array::move_to(const Array& to) const {
  const Array from = contiguous();
  Device &target = *to.device_, &source = *device_;
  if (size() == 0) return;
  if (source.host_accessible) target.upload(target, to.data(), from.data(), from.nbytes());
  else if (target.host_accessible) source.download(source, to.data(), from.data(), from.nbytes());
  else target.transfer(target, to.data(), source, from.data(), from.nbytes());
}

bool may_overlap(const Array& a, const Array& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const auto range = [](const Array& x) {
    int64_t low = 0, high = 1;
    for (int axis = 0; axis < x.rank(); ++axis) {
      const int64_t reach = (x.shape()[axis] - 1) * x.strides()[axis];
      (reach < 0 ? low : high) += reach;
    }
    const auto base = reinterpret_cast<intptr_t>(x.data());
    return std::pair(base + low * size_of(x.dtype()), base + high * size_of(x.dtype()));
  };
  const auto [a_low, a_high] = range(a);
  const auto [b_low, b_high] = range(b);
  return a_low < b_high && b_low < a_high;
}

bool same_elements(const Array& a, const Array& b) {
  return a.data() == b.data() && a.dtype() == b.dtype() && a.shape() == b.shape() && a.strides() == b.strides();
}

void assign(const char* op, const Array& dst, const Array& src) {
  check<ValueError>(dst.writable(), op, ": the array written to is read-only");
  if (dst.rank() + src.rank() == 0 && src.dtype() == dst.dtype() && dst.device().host_accessible &&
      src.device().host_accessible) {
    std::memmove(dst.data(), src.data(), static_cast<size_t>(size_of(dst.dtype())));  // a[i] = b[i] needs no grid
    return;
  }
  Array from = src;
  while (from.rank() > dst.rank() && from.shape()[0] == 1) from = from.indexed(0, 0);
  check<ValueError>(broadcasts_to(from.shape(), dst.shape()), op, ": value is ", src.shape(), ", wanted ", dst.shape(),
                    " or what broadcasts to it");
  if (&from.device() != &dst.device()) {
    if (from.dtype() == dst.dtype() && from.shape() == dst.shape() && dst.is_contiguous()) return from.move_to(dst);
    from = from.on(dst.device());
  }
  if (may_overlap(dst, from) && !same_elements(dst, from)) from = from.astype(from.dtype());
  from = from.broadcast_to(dst.shape());
  const Grid<2> grid(dst.shape(), {&from.strides(), &dst.strides()});
  CopyArgs args{from.dtype(), dst.dtype(), grid.rank, {}, from.data(), {}, dst.data(), {}};
  grid.fill(args.shape, args.stride_x, args.stride_y);
  dst.device().kernels().copy(args);
}

}  // namespace deltarule
