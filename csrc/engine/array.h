// Array: typed, strided view of shared memory on one device. Copying an Array copies the view, not the memory.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/dtype.h"
#include "base/shape.h"
#include "device.h"

namespace deltarule {

class Array {
 public:
  Array() = default;

  // New, uninitialised, C-contiguous.
  static Array empty(const Shape& shape, DType dtype, Device& device);
  // The same with the axes in memory in the order of x's, which has this shape, if x fills its memory; else
  // C-contiguous.
  static Array empty_like(const Array& x, DType dtype);
  static Array zeros(const Shape& shape, DType dtype, Device& device);
  // Memory of somebody else, kept alive by `owner`. Strides in elements.
  static Array wrap(void* data, const Shape& shape, const Shape& strides, DType dtype, Device& device,
                    std::shared_ptr<void> owner, bool writable) {
    return Array(data, shape, strides, dtype, device, std::move(owner), writable);
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  int rank() const { return shape_.rank(); }
  int64_t size() const { return shape_.size(); }
  int64_t nbytes() const { return size() * size_of(dtype_); }
  Device& device() const { return *device_; }
  bool writable() const { return writable_; }
  void set_writable(bool writable);  // throws ValueError for true where it is not so already
  bool is_contiguous() const;        // C order
  Shape memory_order() const;        // the axes, those with the longest strides first
  const std::shared_ptr<void>& owner() const { return owner_; }

  void* data() const { return data_; }
  template <class T> T* as() const { return static_cast<T*>(data_); }

  // Views on the same memory.
  Array strided(int64_t offset, const Shape& shape, const Shape& strides) const;  // in elements; all within the memory
  Array permuted(const Shape& axes) const;
  Array broadcast_to(const Shape& shape) const;             // stride 0 along new or stretched axes; not writable
  std::optional<Array> reshaped(const Shape& shape) const;  // nothing if no view has that shape; no -1 here
  Array sliced(int axis, int64_t start, int64_t length, int64_t step) const;  // step may be negative
  Array indexed(int axis, int64_t index) const;                               // drops the axis; index already in range
  Array widened(int axis) const;                                              // a new axis of extent 1 before `axis`
  Array read_only() const;

  // New arrays.
  Array astype(DType dtype) const;  // contiguous copy, converted
  Array contiguous() const;         // itself if it is already
  Array on(Device& device) const;   // itself if it is there already, else a contiguous copy
  void move_to(const Array& to) const;

 private:
  Array(void* data, const Shape& shape, const Shape& strides, DType dtype, Device& device, std::shared_ptr<void> owner,
        bool writable)
      : owner_(std::move(owner)),
        data_(data),
        device_(&device),
        shape_(shape),
        strides_(strides),
        dtype_(dtype),
        writable_(writable) {}

  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
  Device* device_ = nullptr;
  Shape shape_, strides_;
  DType dtype_ = DType::float32;
  bool writable_ = true;
};

Shape contiguous_strides(const Shape& shape);
// NumPy's rule; throws ValueError "OP: a is (3, 4), b is (5,); ..." when they do not fit.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);
bool broadcasts_to(const Shape& from, const Shape& to);
// Whether the spans of memory have a byte in common: may be true of interleaved views that share none.
bool may_overlap(const Array& a, const Array& b);
bool same_elements(const Array& a, const Array& b);  // same memory, element by element
// dst[...] = src converted; src is broadcast to dst's shape (leading extents of 1 beyond dst's rank are dropped), may
// overlap dst and may be on another device.
void assign(const char* op, const Array& dst, const Array& src);

}  // namespace deltarule
