// The class Array: making it, its memory, conversion. Attributes, views and indexing are in views.cpp, what it computes
// in ops.cpp and direct.cpp; methods that have no kernel are added by python/deltarule/_array.py.
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

py::buffer_info buffer_of(const Array& x) {
  if (!x.device().host_accessible)
    throw py::buffer_error(message("Array: its memory is on ", x.device().name,
                                   ", which has no buffer for the host; copy it with .to(\"cpu\")"));
  const Shape strides = byte_strides(x);
  return py::buffer_info(x.data(), size_of(x.dtype()), format_of(x.dtype()), x.rank(),
                         std::vector<py::ssize_t>(x.shape().begin(), x.shape().end()),
                         std::vector<py::ssize_t>(strides.begin(), strides.end()), !x.writable());
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
  array.def_property_readonly("flags", [](py::object self) { return Flags{std::move(self)}; })
      .def_buffer(&buffer_of)
      .def("numpy", [](py::handle self) { return to_numpy(py::cast<const Array&>(self), self); })

      .def("swapaxes", &swapaxes, py::arg("axis1"), py::arg("axis2"))
      .def("squeeze", &squeeze, py::arg("axis") = py::none())
      .def(
          "flatten",
          [](const Array& x, const std::string& order) {
            const Array flat = ravel(x, by_columns("flatten", x, order));
            return flat.data() == x.data() ? flat.astype(x.dtype()) : flat;
          },
          py::arg("order") = "C", NoGil())
      .def("to", &to_device, py::arg("device"), NoGil())
      .def("to_device", &to_device, py::arg("device"), NoGil())
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
