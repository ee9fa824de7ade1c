// The class Array: attributes, views, indexing, conversion. What it computes is in ops.cpp and operators.cpp; methods
// that have no kernel are added by python/deltarule/_array.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "bind/convert.h"
#include "bind/fallback.h"
#include "engine/ops.h"
#include "engine/views.h"

namespace deltarule {
namespace {

// a.flags
struct Flags {
  py::object array;
};

const char* format_of(DType dtype) {
  constexpr const char* formats[] = {"f", "d", "i", sizeof(long) == 8 ? "l" : "q", "B", "?"};
  return formats[static_cast<int>(dtype)];
}

Shape byte_strides(const Array& x) {
  Shape strides = x.strides();
  for (int axis = 0; axis < x.rank(); ++axis) strides[axis] *= size_of(x.dtype());
  return strides;
}

py::buffer_info buffer_of(const Array& x) {
  const Shape strides = byte_strides(x);
  return py::buffer_info(x.data(), size_of(x.dtype()), format_of(x.dtype()), x.rank(),
                         std::vector<py::ssize_t>(x.shape().begin(), x.shape().end()),
                         std::vector<py::ssize_t>(strides.begin(), strides.end()), !x.writable());
}

// f(1, 2), f((1, 2)) and f() as NumPy's methods take them.
std::optional<Shape> shape_of(const py::args& args) {
  if (args.empty() || (args.size() == 1 && args[0].is_none())) return std::nullopt;
  return to_shape(args.size() == 1 ? py::object(args[0]) : py::object(args));
}

bool is_basic(py::handle entry) {
  return PyLong_CheckExact(entry.ptr()) || PySlice_Check(entry.ptr()) || entry.is_none() || entry.ptr() == Py_Ellipsis;
}

Index to_index(py::handle entry) {
  if (entry.is_none()) return {Index::newaxis};
  if (entry.ptr() == Py_Ellipsis) return {Index::ellipsis};
  py::ssize_t start = 0, stop = 0, step = 1;
  if (PySlice_Check(entry.ptr())) {
    if (PySlice_Unpack(entry.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    return {Index::slice, start, stop, step};
  }
  start = PyNumber_AsSsize_t(entry.ptr(), PyExc_IndexError);
  if (start == -1 && PyErr_Occurred()) throw py::error_already_set();
  return {Index::integer, start};
}

// Nothing if the key needs advanced indexing.
std::optional<std::vector<Index>> basic_key(py::handle key) {
  std::vector<Index> entries;
  if (!PyTuple_Check(key.ptr())) {
    if (!is_basic(key)) return std::nullopt;
    entries.push_back(to_index(key));
    return entries;
  }
  for (py::handle entry : py::reinterpret_borrow<py::tuple>(key)) {
    if (!is_basic(entry)) return std::nullopt;
    entries.push_back(to_index(entry));
  }
  return entries;
}

bool picks_one_element(const Array& x, const std::vector<Index>& entries) {
  for (const Index& entry : entries)
    if (entry.kind != Index::integer) return false;
  return static_cast<int>(entries.size()) == x.rank();
}

py::object get_item(py::handle self, py::handle key) {
  const auto& x = py::cast<const Array&>(self);
  const auto entries = basic_key(key);
  if (!entries) return through_numpy("getitem", self, key);
  const Array view = index(x, *entries);
  return py::cast(picks_one_element(x, *entries) ? view.astype(view.dtype()) : view);
}

void set_item(py::handle self, py::handle key, py::handle value) {
  const auto& x = py::cast<const Array&>(self);
  const auto entries = basic_key(key);
  const Operands operands(self, value);
  if (!entries || !operands) {
    through_numpy("setitem", self, key, value);
    return;
  }
  const Array view = index(x, *entries);
  py::gil_scoped_release no_gil;
  assign("setitem", view, operands.b.array());
}

void bind_flags(py::module_& m) {
  py::class_<Flags>(m, "Flags", "What an Array's memory allows.")
      .def_property(
          "writeable", [](const Flags& flags) { return py::cast<const Array&>(flags.array).writable(); },
          [](Flags& flags, bool value) { py::cast<Array&>(flags.array).set_writable(value); })
      .def_property_readonly("c_contiguous",
                             [](const Flags& flags) { return py::cast<const Array&>(flags.array).is_contiguous(); })
      .def_property_readonly("f_contiguous", [](const Flags& flags) {
        return transpose(py::cast<const Array&>(flags.array), std::nullopt).is_contiguous();
      });
}

}  // namespace

void bind_array(py::module_& m) {
  bind_flags(m);
  m.def("set_numpy_fallback", [](py::object function) { numpy_fallback() = std::move(function); }, py::arg("function"));

  py::class_<Array> array(
      m, "Array", py::buffer_protocol(), py::is_final(),
      "N-dimensional array of float32, float64, int32, int64, uint8 or bool: NumPy's, on a device.\n\n"
      "Made by `asarray` (shares a NumPy array's memory), `array`, `zeros` and so on. Basic indexing gives views.\n"
      "Rules of its own, where NumPy has scalars or other dtypes:\n\n"
      "- A result without dimensions is a 0-d Array that behaves like a number: float(), int(), comparisons, format.\n"
      "  Picking one element by integers copies it, so that a[0], a[1] = a[1], a[0] swaps; a[0, ...] is a view.\n"
      "- A result whose dtype an Array has not becomes the next wider one it has (the sum of uint8 is int64).\n"
      "- Every Array is unhashable.");
  own_class(reinterpret_cast<PyTypeObject*>(array.ptr()));
  array.def_property_readonly("shape", &Array::shape)
      .def_property_readonly("strides", &byte_strides)
      .def_property_readonly("dtype", &Array::dtype)
      .def_property_readonly("ndim", &Array::rank)
      .def_property_readonly("size", &Array::size)
      .def_property_readonly("itemsize", [](const Array& x) { return size_of(x.dtype()); })
      .def_property_readonly("nbytes", &Array::nbytes)
      .def_property_readonly("device", [](const Array& x) { return x.device().name; })
      .def_property_readonly("flags", [](py::object self) { return Flags{std::move(self)}; })
      .def_property_readonly("T", [](const Array& x) { return transpose(x, std::nullopt); })
      .def_property_readonly("mT", &matrix_transpose)

      .def_buffer(&buffer_of)
      .def("numpy", [](py::handle self) { return to_numpy(py::cast<const Array&>(self), self); })

      .def("__len__", &length)
      .def("__getitem__", &get_item, py::arg("key"))
      .def("__setitem__", &set_item, py::arg("key"), py::arg("value"))

      .def("reshape",
           [](const Array& x, const py::args& shape) {
             const Shape wanted = shape_of(shape).value_or(Shape{});
             py::gil_scoped_release no_gil;  // it may copy
             return reshape(x, wanted);
           })
      .def("transpose", [](const Array& x, const py::args& axes) { return transpose(x, shape_of(axes)); })
      .def("swapaxes", &swapaxes, py::arg("axis1"), py::arg("axis2"))
      .def("squeeze", &squeeze, py::arg("axis") = py::none())
      .def("ravel", &ravel, NoGil())
      .def(
          "flatten", [](const Array& x) { return ravel(x.astype(x.dtype())); }, NoGil())
      .def(
          "copy", [](const Array& x) { return x.astype(x.dtype()); }, NoGil())
      .def("to_device", &to_device, py::arg("device"))
      .def("astype", &astype, py::arg("dtype"), py::arg("copy") = true, NoGil());

  m.def("from_numpy", &from_numpy, py::arg("array"));
  m.def(
      "empty",
      [](const Shape& shape, DType dtype, const std::string& device) {
        return Array::empty(shape, dtype, find_device(device));
      },
      py::arg("shape"), py::arg("dtype"), py::arg("device"));
  m.def(
      "zeros",
      [](const Shape& shape, DType dtype, const std::string& device) {
        return Array::zeros(shape, dtype, find_device(device));
      },
      py::arg("shape"), py::arg("dtype"), py::arg("device"), NoGil());
  m.def("expand_dims", &expand_dims, py::arg("a"), py::arg("axis"));
  m.def("broadcast_to", &Array::broadcast_to, py::arg("array"), py::arg("shape"));
}

}  // namespace deltarule
