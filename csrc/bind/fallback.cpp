#include "bind/fallback.h"

#include "engine/ops.h"

namespace deltarule {
namespace {

std::optional<Array> as_array(py::handle object) {
  if (const Array* array = exact_array(object)) return *array;
  if (!py::isinstance<py::array>(object)) return std::nullopt;
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!find_dtype(array.dtype()) || array.ndim() > kMaxRank) return std::nullopt;
  return from_numpy(array);
}

// float, int and bool themselves; a NumPy scalar brings its own dtype, float64's being a subclass of float.
std::optional<double> as_number(py::handle object) {
  PyObject* const o = object.ptr();
  if (PyFloat_CheckExact(o)) return PyFloat_AS_DOUBLE(o);
  if (!PyLong_CheckExact(o) && !PyBool_Check(o)) return std::nullopt;
  const double value = PyLong_AsDouble(o);
  if (value != -1.0 || !PyErr_Occurred()) return value;
  PyErr_Clear();  // too large for a double: NumPy says so in its own words
  return std::nullopt;
}

}  // namespace

py::object& numpy_fallback() {
  static auto* const function = new py::object(py::none());  // never destroyed: the interpreter may be gone before it
  return *function;
}

std::optional<Operands> kernel_operands(py::handle a, py::handle b) {
  const std::optional<Array> left = as_array(a), right = as_array(b);
  if (left && right) {
    if (is_floating(promote(left->dtype(), right->dtype()))) return Operands{*left, *right};
    return std::nullopt;
  }
  if (!left && !right) return std::nullopt;
  const Array& array = left ? *left : *right;
  const std::optional<double> number = as_number(left ? b : a);
  if (!number || !is_floating(array.dtype())) return std::nullopt;
  const Array scalar = full({}, *number, array.dtype(), array.device());
  return left ? Operands{array, scalar} : Operands{scalar, array};
}

}  // namespace deltarule
