#include "bind/convert.h"

#include <string>
#include <utility>
#include <vector>

namespace deltarule {
namespace {

constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int kWriteable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

bool describable(const py::array& array) {
  if ((array.flags() & kAligned) == 0) return false;
  const char order = array.dtype().byteorder();
  if (order != '=' && order != '|') return false;
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis)
    if (array.strides(axis) % array.itemsize() != 0) return false;
  return true;
}

}  // namespace

py::dtype numpy_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return py::dtype::of<float>();
    case DType::float64:
      return py::dtype::of<double>();
    case DType::int32:
      return py::dtype::of<int32_t>();
    case DType::int64:
      return py::dtype::of<int64_t>();
    case DType::uint8:
      return py::dtype::of<uint8_t>();
    case DType::boolean:
      break;
  }
  return py::dtype::of<bool>();
}

std::optional<DType> find_dtype(const py::dtype& dtype) {
  const py::ssize_t bytes = dtype.itemsize();
  switch (dtype.kind()) {
    case 'f':
      if (bytes == 4 || bytes == 8) return bytes == 4 ? DType::float32 : DType::float64;
      break;
    case 'i':
      if (bytes == 4 || bytes == 8) return bytes == 4 ? DType::int32 : DType::int64;
      break;
    case 'u':
      if (bytes == 1) return DType::uint8;
      break;
    case 'b':
      return DType::boolean;
    default:
      break;
  }
  return std::nullopt;
}

DType array_dtype(const py::dtype& dtype) {
  const std::optional<DType> found = find_dtype(dtype);
  if (!found)
    throw TypeError(message("dtype is ", std::string(py::str(dtype)),
                            "; an Array has float32, float64, int32, int64, uint8 or bool"));
  return *found;
}

std::shared_ptr<void> hold(py::handle object) {
  return {object.inc_ref().ptr(), [](void* held) {
            if (!Py_IsInitialized()) return;  // the process is ending; there is nothing left to give it back to
            const PyGILState_STATE state = PyGILState_Ensure();
            Py_DECREF(static_cast<PyObject*>(held));
            PyGILState_Release(state);
          }};
}

Array from_numpy(const py::array& array) {
  const DType dtype = array_dtype(array.dtype());
  const bool shared = describable(array);
  const py::array source =
      shared ? array : py::array(py::module_::import("numpy").attr("array")(array, numpy_dtype(dtype)));
  Shape shape, strides;
  for (py::ssize_t axis = 0; axis < source.ndim(); ++axis) {
    shape.push_back(source.shape(axis));
    strides.push_back(source.strides(axis) / size_of(dtype));
  }
  return Array::wrap(const_cast<void*>(source.data()), shape, strides, dtype, cpu_device(), hold(source),
                     shared && (array.flags() & kWriteable) != 0);
}

std::optional<Array> borrow_numpy(py::handle object) {
  if (!py::isinstance<py::array>(object)) return std::nullopt;
  const auto array = py::reinterpret_borrow<py::array>(object);
  const std::optional<DType> dtype = find_dtype(array.dtype());
  if (!dtype || array.ndim() > kMaxRank || !describable(array)) return std::nullopt;
  Shape shape, strides;
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    shape.push_back(array.shape(axis));
    strides.push_back(array.strides(axis) / size_of(*dtype));
  }
  return Array::wrap(const_cast<void*>(array.data()), shape, strides, *dtype, cpu_device(), nullptr,
                     (array.flags() & kWriteable) != 0);
}

Array from_object(py::handle object) {
  if (const Array* array = exact_array(object)) return *array;
  if (py::isinstance<py::array>(object)) return from_numpy(py::reinterpret_borrow<py::array>(object));
  return from_numpy(py::array(py::module_::import("numpy").attr("asarray")(object))).read_only();
}

void require_host(const Array& array) {
  check<DeviceError>(array.device().host_accessible, "Array: its memory is on ", array.device().name,
                     ", which NumPy cannot read; copy it with .to(\"cpu\")");
}

py::array to_numpy(const Array& array, py::handle owner) {
  require_host(array);
  const Shape strides = byte_strides(array);
  py::array out(numpy_dtype(array.dtype()), std::vector<py::ssize_t>(array.shape().begin(), array.shape().end()),
                std::vector<py::ssize_t>(strides.begin(), strides.end()), array.data(), owner);
  if (!array.writable()) py::detail::array_proxy(out.ptr())->flags &= ~kWriteable;
  return out;
}

Shape byte_strides(const Array& array) {
  Shape strides = array.strides();
  for (int axis = 0; axis < array.rank(); ++axis) strides[axis] *= size_of(array.dtype());
  return strides;
}

int64_t to_extent(py::handle object) {
  const py::ssize_t value = PyNumber_AsSsize_t(object.ptr(), PyExc_ValueError);
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

namespace {

// A number: also an array without dimensions, whose length is a TypeError.
bool is_number(PyObject* object) {
  if (!PyIndex_Check(object)) return false;
  if (!PySequence_Check(object)) return true;
  if (PySequence_Size(object) >= 0) return false;
  PyErr_Clear();
  return true;
}

}  // namespace

Shape to_shape(py::handle object) {
  if (is_number(object.ptr())) return {to_extent(object)};
  Shape shape;
  if (PyTuple_CheckExact(object.ptr()))
    for (py::handle extent : py::reinterpret_borrow<py::tuple>(object)) shape.push_back(to_extent(extent));
  else
    for (py::handle extent : py::reinterpret_borrow<py::object>(object)) shape.push_back(to_extent(extent));
  return shape;
}

py::tuple to_tuple(const Shape& shape) {
  py::tuple out(shape.rank());
  for (int axis = 0; axis < shape.rank(); ++axis)
    PyTuple_SET_ITEM(out.ptr(), axis, py::int_(shape[axis]).release().ptr());
  return out;
}

}  // namespace deltarule
