// _core.kernels.deform: the raw slot over NumPy arrays without copies, for tests and benches.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "bind/stage.h"

namespace py = pybind11;

namespace deltarule {
namespace {

using Maybe = std::optional<py::array>;

template <class T> void check_run(const char* name, const py::array& array, int64_t size) {
  check<TypeError>(py::isinstance<py::array_t<T>>(array), "deform: ", name, " has the wrong dtype");
  check<ValueError>((array.flags() & py::array::c_style) != 0 && array.size() == size, "deform: ", name,
                    " is not a contiguous array of ", size);
}

void deform(const py::array& x, py::array y, uint64_t seed, uint64_t stream, const Maybe& index, int64_t first,
            const Maybe& factor, double rotation, double shear, double scale_x, double scale_y,
            const std::vector<float>& taps, float alpha, float background, Maybe fields) {
  Stage stage;
  check<ValueError>(x.ndim() == 3 && y.ndim() == 3 && x.shape(1) == y.shape(1) && x.shape(2) == y.shape(2),
                    "deform: wanted x[n,h,w], y[rows,h,w]");
  DeformArgs args{};
  args.rows = y.shape(0), args.height = y.shape(1), args.width = y.shape(2);
  const int64_t pixels = args.height * args.width;
  args.from = py::isinstance<py::array_t<uint8_t>>(x) ? DType::uint8 : DType::float32;
  check<TypeError>(args.from == DType::uint8 || py::isinstance<py::array_t<float>>(x), "deform: x has the wrong dtype");
  check<ValueError>(
      args.rows == 0 || pixels == 0 || (x.strides(2) == x.itemsize() && x.strides(1) == args.width * x.itemsize()),
      "deform: x's images are not contiguous");
  args.x = stage.in(x);
  args.ldx = x.strides(0) / x.itemsize();
  if (index) {
    check_run<int64_t>("index", *index, args.rows);
    args.index = static_cast<const int64_t*>(stage.in(*index));
  }
  for (int64_t r = 0; r < args.rows; ++r) {
    const int64_t row = index ? static_cast<const int64_t*>(index->data())[r] : r;
    check<ValueError>(row >= 0 && row < x.shape(0), "deform: index ", row, " is out of range");
  }
  if (factor) {
    check_run<float>("factor", *factor, x.shape(0));
    args.factor = static_cast<const float*>(stage.in(*factor));
  }
  args.first = first, args.seed = seed, args.stream = stream;
  args.rotation = rotation, args.shear = shear, args.scale_x = scale_x, args.scale_y = scale_y;
  check<ValueError>(taps.size() <= DeformArgs::kMaxRadius + 1, "deform: too many taps");
  args.radius = static_cast<int>(taps.size()) - 1;
  std::copy(taps.begin(), taps.end(), args.taps);
  args.alpha = alpha, args.background = background;
  check_run<float>("y", y, args.rows * pixels);
  args.y = static_cast<float*>(stage.out(y));
  if (fields) {
    check<ValueError>(!taps.empty(), "deform: fields need taps");
    check_run<float>("fields", *fields, 2 * args.rows * pixels);
    args.fields = static_cast<float*>(stage.out(*fields));
  }
  stage.call(&Kernels::deform, args);
}

}  // namespace

// x[n,h,w], y[rows,h,w], index[rows], factor[n], fields[rows,2,h,w]; angles in turns.
void bind_deform_kernel(py::module_& kernels) {
  using namespace pybind11::literals;
  const Maybe none;
  kernels.def("deform", deform, "x"_a, "y"_a, "seed"_a = 0, "stream"_a = 0, "index"_a = none, "first"_a = 0,
              "factor"_a = none, "rotation"_a = 0.0, "shear"_a = 0.0, "scale_x"_a = 0.0, "scale_y"_a = 0.0,
              "taps"_a = std::vector<float>(), "alpha"_a = 0.0f, "background"_a = 0.0f, "fields"_a = none);
}

}  // namespace deltarule
