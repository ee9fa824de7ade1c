// Random deformations of images, and rows by index.
#include "engine/deform.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/convert.h"
#include "engine/streams.h"

namespace py = pybind11;

namespace deltarule {

void bind_deform(py::module_& m) {
  using namespace pybind11::literals;
  using D = Deformation;
  py::class_<D>(m, "Deformation")
      .def(py::init([](double rotation, double shear, double scale_x, double scale_y, double sigma, double alpha,
                       int64_t radius, double background) {
             const D settings{rotation, shear, scale_x, scale_y, sigma, alpha, radius, background};
             settings.validate("Deformation");
             return settings;
           }),
           "rotation"_a = 0.0, "shear"_a = 0.0, "scale_x"_a = 0.0, "scale_y"_a = 0.0, "sigma"_a = 0.0, "alpha"_a = 0.0,
           "radius"_a = 0, "background"_a = 0.0)
      .def_readonly("rotation", &D::rotation)
      .def_readonly("shear", &D::shear)
      .def_readonly("scale_x", &D::scale_x)
      .def_readonly("scale_y", &D::scale_y)
      .def_readonly("sigma", &D::sigma)
      .def_readonly("alpha", &D::alpha)
      .def_readonly("radius", &D::radius)
      .def_readonly("background", &D::background);
  const py::object none = py::none();
  m.def("deform", &deform, "x"_a, "height"_a, "width"_a, "deformation"_a, "seed"_a, "stream"_a, "order"_a = none,
        "factor"_a = none, "first"_a = 0, "out"_a = none, NoGil());
  m.def("take_rows", &take_rows, "x"_a, "order"_a, NoGil());
  m.def("deform_stream", &deform_stream, "epoch"_a);
}

}  // namespace deltarule
