// What has no kernel yet: the Python function registered by python/deltarule/_array.py does it with NumPy on the same
// memory.
#pragma once

#include "bind/convert.h"

namespace deltarule {

py::object& numpy_fallback();  // takes a name of the module `operator`, then its operands

template <class... Operands> py::object through_numpy(const char* name, Operands&&... operands) {
  return numpy_fallback()(name, std::forward<Operands>(operands)...);
}

// An operand as a kernel reads it: an Array or NumPy array, which the caller keeps alive, or a Python number.
class Operand {
 public:
  explicit Operand(py::handle object);
  Operand(const Operand&) = delete;

  bool is_array() const { return array_ != nullptr; }
  bool is_number() const { return is_number_; }
  const Array& array() const { return *array_; }
  void become(DType dtype, Device& device);  // a number: a 0-d Array of this floating dtype

 private:
  const Array* array_ = nullptr;
  Array own_;
  bool is_number_ = false;
  double number_ = 0.0;
  float single_ = 0.0f;
};

// The two operands of a binary kernel, Python numbers turned into 0-d Arrays of the other's dtype (NEP 50).
struct Operands {
  Operands(py::handle left, py::handle right);
  explicit operator bool() const { return fit_; }  // false if one of them is something else, or no kernel has the dtype

  Operand a, b;
  DType dtype = DType::float32;  // of the result

 private:
  bool fit_ = false;
};

}  // namespace deltarule
