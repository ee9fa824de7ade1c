// Shape: up to kMaxRank extents (or strides) in a fixed small array, no heap.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "base/check.h"

namespace deltarule {

inline constexpr int kMaxRank = 8;  // also the rank of the strided kernels' arguments (kernels.h)

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) {
    for (int64_t extent : extents) push_back(extent);
  }
  Shape(const Shape& other) { *this = other; }
  // One extent after the other: copied in pairs, as the compiler would, a shape just made waits for its stores, longer
  // than all else that making a view takes.
  Shape& operator=(const Shape& other) {
    rank_ = other.rank_;
    for (int axis = 0; axis < rank_; ++axis) {
      extents_[axis] = other.extents_[axis];
      asm("" : "+m"(extents_[axis]));
    }
    return *this;
  }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t operator[](int axis) const { return extents_[axis]; }
  int64_t& operator[](int axis) { return extents_[axis]; }
  const int64_t* begin() const { return extents_; }
  const int64_t* end() const { return extents_ + rank_; }
  int64_t back() const { return extents_[rank_ - 1]; }

  void push_back(int64_t extent) {
    check<ValueError>(rank_ < kMaxRank, "shape: more than ", kMaxRank, " dimensions; at most ", kMaxRank,
                      " are supported");
    extents_[rank_++] = extent;
  }

  // Number of elements; 1 for rank 0.
  int64_t size() const {
    int64_t total = 1;
    for (int64_t extent : *this) total *= extent;
    return total;
  }

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int axis = 0; axis < rank_; ++axis)
      if (extents_[axis] != other.extents_[axis]) return false;
    return true;
  }

 private:
  int rank_ = 0;
  int64_t extents_[kMaxRank];  // those from rank_ on mean nothing
};

// As Python prints a tuple: (3, 4), (3,), ().
inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? ", " : "") << shape[axis];
  return out << (shape.rank() == 1 ? ",)" : ")");
}

}  // namespace deltarule
