// _core.kernels: the raw slots of the table in use, over NumPy arrays without copies. For tests and benches: what is
// checked here is what would write outside an array; everything else is kernels.h's contract.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "bind/stage.h"
#include "engine/names.h"

namespace py = pybind11;

namespace deltarule {
namespace {

using Maybe = std::optional<py::array>;

DType dtype_of(const py::array& array) {
  if (py::isinstance<py::array_t<float>>(array)) return DType::float32;
  if (py::isinstance<py::array_t<double>>(array)) return DType::float64;
  if (py::isinstance<py::array_t<int32_t>>(array)) return DType::int32;
  if (py::isinstance<py::array_t<int64_t>>(array)) return DType::int64;
  if (py::isinstance<py::array_t<uint8_t>>(array)) return DType::uint8;
  if (py::isinstance<py::array_t<bool>>(array)) return DType::boolean;
  throw TypeError(message("kernels: an array is ", py::str(array.dtype()).cast<std::string>()));
}

// Strides in elements.
void strides_of(const py::array& array, int64_t* strides) {
  for (int axis = 0; axis < array.ndim(); ++axis) {
    check<ValueError>(array.strides(axis) % array.itemsize() == 0, "kernels: a stride is no multiple of the element");
    strides[axis] = array.strides(axis) / array.itemsize();
  }
}

void check_grid(const py::array& array, const py::array& y, DType dtype) {
  check<ValueError>(y.ndim() <= 8 && array.ndim() == y.ndim(), "kernels: ranks differ or are above 8");
  for (int axis = 0; axis < y.ndim(); ++axis)
    check<ValueError>(array.shape(axis) == y.shape(axis), "kernels: shapes differ");
  check<TypeError>(dtype_of(array) == dtype, "kernels: dtypes differ");
}

// Contiguous, of this dtype and size; null if absent.
void check_run(const py::array& array, DType dtype, int64_t size) {
  check<TypeError>(dtype_of(array) == dtype, "kernels: dtypes differ");
  check<ValueError>((array.flags() & py::array::c_style) != 0, "kernels: an array is not contiguous");
  check<ValueError>(array.size() == size, "kernels: an array has ", array.size(), " elements; wanted ", size);
}
const void* run(Stage& stage, const py::array& array, DType dtype, int64_t size) {
  check_run(array, dtype, size);
  return stage.in(array);
}
const void* run(Stage& stage, const Maybe& array, DType dtype, int64_t size) {
  return array ? run(stage, *array, dtype, size) : nullptr;
}
void* out(Stage& stage, py::array& array, DType dtype, int64_t size) {
  check_run(array, dtype, size);
  return stage.out(array);
}
void* out(Stage& stage, Maybe& array, DType dtype, int64_t size) {
  return array ? out(stage, *array, dtype, size) : nullptr;
}

void unary(const std::string& op, const py::array& x, py::array y) {
  Stage stage;
  UnaryArgs args{find_name<Unary>("unary: op", op, kUnary),
                 dtype_of(x),
                 static_cast<int>(x.ndim()),
                 {},
                 stage.in(x),
                 {},
                 stage.out(y),
                 {}};
  check_grid(x, y, args.dtype);
  check_grid(y, x, args.dtype);
  for (int axis = 0; axis < args.rank; ++axis) args.shape[axis] = y.shape(axis);
  strides_of(x, args.stride_x);
  strides_of(y, args.stride_y);
  stage.call(&Kernels::unary, args);
}

void binary(const std::string& op, const py::array& a, const py::array& b, py::array y) {
  Stage stage;
  BinaryArgs args{find_name<Binary>("binary: op", op, kBinary),
                  dtype_of(y),
                  static_cast<int>(y.ndim()),
                  {},
                  stage.in(a),
                  {},
                  stage.in(b),
                  {},
                  stage.out(y),
                  {}};
  check_grid(a, y, args.dtype);
  check_grid(b, y, args.dtype);
  for (int axis = 0; axis < args.rank; ++axis) args.shape[axis] = y.shape(axis);
  strides_of(a, args.stride_a);
  strides_of(b, args.stride_b);
  strides_of(y, args.stride_y);
  stage.call(&Kernels::binary, args);
}

void copy(const py::array& x, py::array y) {
  Stage stage;
  CopyArgs args{dtype_of(x), dtype_of(y), static_cast<int>(y.ndim()), {}, stage.in(x), {}, stage.out(y), {}};
  check_grid(x, y, args.from);
  for (int axis = 0; axis < args.rank; ++axis) args.shape[axis] = y.shape(axis);
  strides_of(x, args.stride_x);
  strides_of(y, args.stride_y);
  stage.call(&Kernels::copy, args);
}

void activate(const std::string& name, const py::array& x, py::array y, double slope) {
  Stage stage;
  const DType dtype = dtype_of(x);
  const ActivateArgs args{find_name<Activation>("activate: name", name, kActivations),
                          dtype,
                          slope,
                          x.size(),
                          run(stage, x, dtype, x.size()),
                          out(stage, y, dtype, x.size())};
  stage.call(&Kernels::activate, args);
}

void activate_grad(const std::string& name, const py::array& dy, const Maybe& x, const py::array& y, py::array dx,
                   double slope) {
  Stage stage;
  const DType dtype = dtype_of(dy);
  const int64_t n = dy.size();
  const ActivateGradArgs args{find_name<Activation>("activate_grad: name", name, kActivations),
                              dtype,
                              slope,
                              n,
                              run(stage, dy, dtype, n),
                              run(stage, x, dtype, n),
                              run(stage, y, dtype, n),
                              out(stage, dx, dtype, n)};
  check<ValueError>(x || !needs_input(args.activation), "activate_grad: ", name, " needs x");
  stage.call(&Kernels::activate_grad, args);
}

void reduce(const std::string& name, const py::array& x, py::array y) {
  Stage stage;
  check<ValueError>(x.ndim() == 3, "reduce: x has rank ", x.ndim(), "; wanted [outer, n, inner]");
  const Reduction op = find_name<Reduction>("reduce: op", name, kReductions);
  const DType dtype = dtype_of(x);
  const bool index = op == Reduction::argmax || op == Reduction::argmin;
  const ReduceArgs args{op,
                        dtype,
                        x.shape(0),
                        x.shape(1),
                        x.shape(2),
                        run(stage, x, dtype, x.size()),
                        out(stage, y, index ? DType::int64 : dtype, x.shape(0) * x.shape(2))};
  stage.call(&Kernels::reduce, args);
}

void softmax(const py::array& x, py::array y, bool log) {
  Stage stage;
  check<ValueError>(x.ndim() == 2, "softmax: x has rank ", x.ndim(), "; wanted [rows, cols]");
  const DType dtype = dtype_of(x);
  const SoftmaxArgs args{
      log, dtype, x.shape(0), x.shape(1), run(stage, x, dtype, x.size()), out(stage, y, dtype, x.size())};
  stage.call(&Kernels::softmax, args);
}

py::tuple loss(const std::string& name, const py::array& y, const Maybe& labels, const Maybe& targets,
               const Maybe& weights, double scale, Maybe dy, bool mean) {
  Stage stage;
  check<ValueError>(y.ndim() == 2, "loss: y has rank ", y.ndim(), "; wanted [rows, cols]");
  check<ValueError>(labels.has_value() != targets.has_value(), "loss: wanted labels or targets");
  const DType dtype = dtype_of(y);
  const int64_t rows = y.shape(0), cols = y.shape(1);
  double value = 0.0, weight = 0.0;
  int64_t errors = 0;
  const LossArgs args{find_name<Loss>("loss: name", name, kLosses),
                      dtype,
                      rows,
                      cols,
                      run(stage, y, dtype, rows * cols),
                      static_cast<const int64_t*>(run(stage, labels, DType::int64, rows)),
                      run(stage, targets, dtype, rows * cols),
                      run(stage, weights, dtype, rows),
                      scale,
                      mean,
                      out(stage, dy, dtype, rows * cols),
                      stage.out(value),
                      stage.out(weight),
                      stage.out(errors)};
  for (int64_t i = 0; labels && i < rows; ++i) {
    const int64_t label = static_cast<const int64_t*>(labels->data())[i];
    check<ValueError>(label >= 0 && label < (cols == 1 ? 2 : cols), "loss: a label is out of range");
  }
  stage.call(&Kernels::loss, args);
  return py::make_tuple(value, errors, weight);
}

using GivenTensor = std::tuple<py::array, py::array, Maybe, Maybe, bool>;  // w, g, m, v, decays

void step(const std::string& name, std::vector<GivenTensor> given, double lr, double momentum, double beta1,
          double beta2, double eps, double weight_decay, double grad_scale, int64_t t) {
  Stage stage;
  const auto optimizer = find_name<Optimizer>("step: name", name, kOptimizers);
  const int slots = kOptimizers[static_cast<int>(optimizer)].slots;
  const DType dtype = given.empty() ? DType::float32 : dtype_of(std::get<0>(given[0]));
  std::vector<StepTensor> tensors;
  for (auto& [w, g, m, v, decays] : given) {
    check<ValueError>((slots < 1 || m) && (slots < 2 || v), "step: ", name, " has ", slots, " slots");
    const int64_t n = w.size();
    tensors.push_back({n, out(stage, w, dtype, n), run(stage, g, dtype, n), out(stage, m, dtype, n),
                       out(stage, v, dtype, n), decays});
  }
  const StepArgs args{optimizer,      dtype,      static_cast<int64_t>(tensors.size()),
                      tensors.data(), lr,         momentum,
                      beta1,          beta2,      eps,
                      weight_decay,   grad_scale, t};
  stage.call(&Kernels::step, args);
}

// What becomes of grad_scale, `scale` before, for these gradients; None where the table has no such slot.
py::object clip(const std::vector<py::array>& gradients, double clip_norm, double scale, bool stopped) {
  Stage stage;
  if (Stage::device().kernels().clip == nullptr) return py::none();
  const DType dtype = gradients.empty() ? DType::float32 : dtype_of(gradients[0]);
  std::vector<StepTensor> tensors;
  for (const py::array& g : gradients)
    tensors.push_back({g.size(), nullptr, run(stage, g, dtype, g.size()), nullptr, nullptr, false});
  StepState state{};
  state.grad_scale = scale;
  state.stopped = stopped;
  const ClipArgs args{dtype, static_cast<int64_t>(tensors.size()), tensors.data(), clip_norm, stage.out(state)};
  stage.call(&Kernels::clip, args);
  return py::float_(state.grad_scale);
}

void gather_rows(const py::array& x, const Maybe& index, const Maybe& shift, const Maybe& scale, py::array y) {
  Stage stage;
  check<ValueError>(x.ndim() == 2 && y.ndim() == 2 && x.shape(1) == y.shape(1),
                    "gather_rows: wanted x[n,d], y[rows,d]");
  check<ValueError>(x.strides(1) == x.itemsize() || x.shape(1) <= 1, "gather_rows: x's rows are not contiguous");
  const DType to = dtype_of(y);
  const int64_t rows = y.shape(0), cols = y.shape(1);
  const GatherArgs args{dtype_of(x),
                        to,
                        rows,
                        cols,
                        stage.in(x),
                        x.strides(0) / x.itemsize(),
                        static_cast<const int64_t*>(run(stage, index, DType::int64, rows)),
                        run(stage, shift, to, cols),
                        run(stage, scale, to, cols),
                        out(stage, y, to, rows * cols)};
  check<ValueError>(shift.has_value() == scale.has_value(), "gather_rows: shift and scale come together");
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = index ? static_cast<const int64_t*>(index->data())[i] : i;
    check<ValueError>(row >= 0 && row < x.shape(0), "gather_rows: index ", row, " is out of range");
  }
  stage.call(&Kernels::gather_rows, args);
}

void fill_random(const std::string& kind, py::array y, uint64_t seed, uint64_t stream, double lo, double hi) {
  Stage stage;
  const Random random = find_name<Random>("fill_random: kind", kind, kRandom);
  const DType dtype = random == Random::permutation ? DType::int64 : dtype_of(y);
  const RandomArgs args{random, dtype, y.size(), seed, stream, lo, hi, out(stage, y, dtype, y.size())};
  stage.call(&Kernels::fill_random, args);
}

int64_t find(const py::array& x, double least, int64_t below) {
  Stage stage;
  check<ValueError>(x.ndim() == 2, "find: x has rank ", x.ndim(), "; wanted [rows, cols]");
  check<ValueError>(x.strides(1) == x.itemsize() || x.shape(1) <= 1, "find: x's rows are not contiguous");
  int64_t at = 0;
  const FindArgs args{dtype_of(x), x.shape(0), x.shape(1),   stage.in(x), x.strides(0) / x.itemsize(),
                      least,       below,      stage.out(at)};
  stage.call(&Kernels::find, args);
  return at;
}

void dropout(const py::array& x, py::array y, double rate, uint64_t seed, uint64_t stream) {
  Stage stage;
  const DType dtype = dtype_of(x);
  const DropoutArgs args{
      dtype, x.size(), rate, seed, stream, run(stage, x, dtype, x.size()), out(stage, y, dtype, x.size())};
  stage.call(&Kernels::dropout, args);
}

}  // namespace

void bind_elementwise_kernels(py::module_& kernels) {
  using namespace pybind11::literals;
  kernels.def("unary", unary, "op"_a, "x"_a, "y"_a);
  kernels.def("binary", binary, "op"_a, "a"_a, "b"_a, "y"_a);
  kernels.def("copy", copy, "x"_a, "y"_a);
  kernels.def("activate", activate, "name"_a, "x"_a, "y"_a, "slope"_a = 0.0);
  kernels.def("activate_grad", activate_grad, "name"_a, "dy"_a, "x"_a, "y"_a, "dx"_a, "slope"_a = 0.0);
  kernels.def("reduce", reduce, "op"_a, "x"_a, "y"_a);
  kernels.def("softmax", softmax, "x"_a, "y"_a, "log"_a = false);
  kernels.def("loss", loss, "name"_a, "y"_a, "labels"_a = Maybe{}, "targets"_a = Maybe{}, "weights"_a = Maybe{},
              "scale"_a = 1.0, "dy"_a = Maybe{}, "mean"_a = false);
  kernels.def("step", step, "name"_a, "tensors"_a, "lr"_a = 0.0, "momentum"_a = 0.0, "beta1"_a = 0.9, "beta2"_a = 0.999,
              "eps"_a = 1e-8, "weight_decay"_a = 0.0, "grad_scale"_a = 1.0, "step"_a = 1);
  kernels.def("clip", clip, "gradients"_a, "clip_norm"_a, "scale"_a = 1.0, "stopped"_a = false);
  kernels.def("gather_rows", gather_rows, "x"_a, "index"_a, "shift"_a, "scale"_a, "y"_a);
  kernels.def("find", find, "x"_a, "least"_a = -std::numeric_limits<double>::infinity(), "below"_a = 0);
  kernels.def("fill_random", fill_random, "kind"_a, "y"_a, "seed"_a = 0, "stream"_a = 0, "lo"_a = 0.0, "hi"_a = 1.0);
  kernels.def("dropout", dropout, "x"_a, "y"_a, "rate"_a, "seed"_a = 0, "stream"_a = 0);

  const auto names = [](const auto& entries) {
    py::list list;
    for (const auto& entry : entries) list.append(std::string(entry_name(entry)));
    return list;
  };
  kernels.attr("unary_names") = names(kUnary);
  kernels.attr("binary_names") = names(kBinary);
  kernels.attr("reduction_names") = names(kReductions);
  kernels.attr("activation_names") = names(kActivations);
  kernels.attr("loss_names") = names(kLosses);
  kernels.attr("optimizer_names") = names(kOptimizers);
}

}  // namespace deltarule
