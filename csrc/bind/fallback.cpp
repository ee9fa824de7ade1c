#include "bind/fallback.h"

#include "engine/ops.h"

namespace deltarule {
namespace {

// float, int and bool themselves; a NumPy scalar brings its own dtype, float64's being a subclass of float.
bool read_number(PyObject* object, double& number) {
  if (PyFloat_CheckExact(object)) {
    number = PyFloat_AS_DOUBLE(object);
    return true;
  }
  if (!PyLong_CheckExact(object) && !PyBool_Check(object)) return false;
  number = PyLong_AsDouble(object);
  if (number != -1.0 || !PyErr_Occurred()) return true;
  PyErr_Clear();  // too large for a double: NumPy says so in its own words
  return false;
}

}  // namespace

py::object& numpy_fallback() {
  static auto* const function = new py::object(py::none());  // never destroyed: the interpreter may be gone before it
  return *function;
}

Operand::Operand(py::handle object) : array_(exact_array(object)) {
  if (array_ != nullptr) return;
  is_number_ = read_number(object.ptr(), number_);
  if (is_number_) return;
  if (std::optional<Array> borrowed = borrow_numpy(object)) {
    own_ = std::move(*borrowed);
    array_ = &own_;
  } else if (py::isinstance<py::array>(object)) {
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (!find_dtype(array.dtype()) || array.ndim() > kMaxRank) return;
    own_ = from_numpy(array);  // a copy: an Array cannot describe it
    array_ = &own_;
  }
}

void Operand::become(DType dtype, Device& device) {
  if (!device.host_accessible) {
    own_ = number(number_, dtype, device);
    array_ = &own_;
    return;
  }
  single_ = static_cast<float>(number_);
  void* const data = dtype == DType::float32 ? static_cast<void*>(&single_) : &number_;
  own_ = Array::wrap(data, {}, {}, dtype, device, nullptr, false);
  array_ = &own_;
}

Operands::Operands(py::handle left, py::handle right) : a(left), b(right) {
  if (a.is_array() && b.is_array()) {
    dtype = promote(a.array().dtype(), b.array().dtype());
  } else if (a.is_array() && b.is_number()) {
    dtype = a.array().dtype();
    if (is_floating(dtype)) b.become(dtype, a.array().device());
  } else if (b.is_array() && a.is_number()) {
    dtype = b.array().dtype();
    if (is_floating(dtype)) a.become(dtype, b.array().device());
  } else {
    return;
  }
  fit_ = is_floating(dtype);
}

}  // namespace deltarule
