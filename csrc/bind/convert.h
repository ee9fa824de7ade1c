// NumPy <-> Array without copying: with this header included, every bound function that takes a `const Array&` (or an
// optional one) also takes a NumPy array, a number or a nested list; a `DType` is whatever numpy.dtype() understands; a
// `Shape` is an integer or a sequence of them; a `Device&` argument is spelled std::string and looked up by
// find_device.
//
// Every binding file that names one of these types includes this header: the casters must be the same everywhere.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <optional>

#include "engine/array.h"

namespace deltarule {

namespace py = pybind11;
using NoGil = py::call_guard<py::gil_scoped_release>;

py::dtype numpy_dtype(DType dtype);
std::optional<DType> find_dtype(const py::dtype& dtype);  // nothing if Array has no such type
DType array_dtype(const py::dtype& dtype);                // throws TypeError if Array has no such type

// Shares the memory; the NumPy array's reference count keeps it alive. What an Array cannot describe (foreign byte
// order, misaligned, strides that are no multiple of the item) is copied, and the copy is read-only so that no write is
// lost.
Array from_numpy(const py::array& array);

// What Python calls array-like: Array, NumPy array or scalar, number, nested list, anything with __array__. What had to
// be put into a new array first is read-only, so that a function that writes to its argument says so.
Array from_object(py::handle object);

// The Array in a Python object of exactly that class, else null: one comparison, for the operators' sake.
inline PyTypeObject* array_class = nullptr;  // set by bind_array
inline Array* exact_array(py::handle object) {
  if (Py_TYPE(object.ptr()) != array_class) return nullptr;
  return static_cast<Array*>(reinterpret_cast<py::detail::instance*>(object.ptr())->simple_value_holder[0]);
}

// A new Python Array. Every one is made here (object.cpp), without what pybind11 does for objects that C++ may hand out
// a second time.
py::object to_object(Array array);
void own_class(PyTypeObject* type);  // Arrays are of this class, and are made and freed here from now on

// The shape, strides, dtype and memory of a NumPy array, which the caller keeps alive; nothing if no Array has them.
std::optional<Array> borrow_numpy(py::handle array);

// Throws DeviceError if the device's memory is not the host's.
void require_host(const Array& array);
// Shares the memory; `owner` (the Python Array) keeps it alive. Throws as require_host does.
py::array to_numpy(const Array& array, py::handle owner);

Shape byte_strides(const Array& array);  // as Python counts them

// A shared_ptr that holds one reference; it may be dropped on any thread, with or without the GIL.
std::shared_ptr<void> hold(py::handle object);

int64_t to_extent(py::handle object);  // integer
Shape to_shape(py::handle object);     // integer or sequence of integers
py::tuple to_tuple(const Shape& shape);

}  // namespace deltarule

namespace pybind11::detail {

template <> struct type_caster<deltarule::Array> : type_caster_base<deltarule::Array> {
  bool load(handle source, bool convert) {
    if ((value = deltarule::exact_array(source)) != nullptr) return true;
    // NumPy's arrays are what comes most: no search through the registered types for them.
    if (!isinstance<array>(source) && type_caster_base<deltarule::Array>::load(source, false)) return value != nullptr;
    if (!convert || source.is_none()) return false;
    converted_ = deltarule::from_object(source);
    value = &converted_;
    return true;
  }
  static handle cast(deltarule::Array array, return_value_policy, handle) {
    return deltarule::to_object(std::move(array)).release();
  }

 private:
  deltarule::Array converted_;
};

template <> struct type_caster<deltarule::DType> {
  PYBIND11_TYPE_CASTER(deltarule::DType, const_name("numpy.typing.DTypeLike"));
  bool load(handle source, bool) {
    if (source.is_none()) return false;
    value = deltarule::array_dtype(dtype::from_args(reinterpret_borrow<object>(source)));
    return true;
  }
  static handle cast(deltarule::DType dtype, return_value_policy, handle) {
    return deltarule::numpy_dtype(dtype).release();
  }
};

template <> struct type_caster<deltarule::Shape> {
  PYBIND11_TYPE_CASTER(deltarule::Shape, const_name("int | collections.abc.Sequence[int]"));
  bool load(handle source, bool) {
    if (source.is_none()) return false;
    try {
      value = deltarule::to_shape(source);
    } catch (error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      return false;  // mistakes.cpp says it with the argument's name
    }
    return true;
  }
  static handle cast(const deltarule::Shape& shape, return_value_policy, handle) {
    return deltarule::to_tuple(shape).release();
  }
};

}  // namespace pybind11::detail
