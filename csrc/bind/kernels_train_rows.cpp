// _core.kernels.train_rows: the slot, raw, over NumPy arrays. What is checked here is what would be read or written
// outside an array; everything else is kernels.h's contract.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bind/stage.h"
#include "engine/names.h"

namespace py = pybind11;

namespace deltarule {
namespace {

using Maybe = std::optional<py::array>;
using GivenLayer = std::tuple<py::array, Maybe, std::string, double>;  // w, bias, activation, slope

template <class T> DType only(const char* name, const py::array& x, DType dtype) {
  check<TypeError>(py::isinstance<py::array_t<T>>(x), "train_rows: ", name, " is ",
                   py::str(x.dtype()).cast<std::string>(), ", wanted ", name_of(dtype));
  return dtype;
}

DType floating(const char* name, const py::array& x) {
  if (py::isinstance<py::array_t<float>>(x)) return DType::float32;
  return only<double>(name, x, DType::float64);
}

void check_run(const char* name, const py::array& x, int64_t size) {
  check<ValueError>((x.flags() & py::array::c_style) != 0 && x.size() >= size, "train_rows: ", name,
                    " is not a contiguous array of ", size);
}

const void* in(Stage& stage, const char* name, const Maybe& x, DType dtype, int64_t size) {
  if (!x) return nullptr;
  check<TypeError>(floating(name, *x) == dtype, "train_rows: ", name, " has another dtype than the weights");
  check_run(name, *x, size);
  return stage.in(*x);
}

const int64_t* indices(Stage& stage, const char* name, const Maybe& x, int64_t size, int64_t below) {
  if (!x) return nullptr;
  only<int64_t>(name, *x, DType::int64);
  check_run(name, *x, size);
  const int64_t* const values = static_cast<const int64_t*>(x->data());
  for (int64_t i = 0; i < size; ++i)
    check<ValueError>(values[i] >= 0 && values[i] < below, "train_rows: ", name, "[", i, "] is ", values[i],
                      ", wanted one below ", below);
  return static_cast<const int64_t*>(stage.in(*x));
}

void place_layers(Stage& stage, std::vector<GivenLayer>& layers, TrainRowsArgs& args) {
  check<ValueError>(!layers.empty() && layers.size() <= TrainRowsArgs::kMaxLayers, "train_rows: ", layers.size(),
                    " layers");
  args.dtype = floating("w", std::get<0>(layers[0]));
  for (auto& [w, bias, activation, slope] : layers) {
    check<ValueError>(w.ndim() == 2 && (args.layers == 0 || w.shape(0) == args.layer[args.layers - 1].outputs),
                      "train_rows: the layers do not fit together");
    check<TypeError>(floating("w", w) == args.dtype && (!bias || floating("bias", *bias) == args.dtype),
                     "train_rows: parameters of two dtypes");
    check_run("w", w, w.size());
    if (bias) check_run("bias", *bias, w.shape(1));
    args.layer[args.layers++] = {w.shape(0),
                                 w.shape(1),
                                 stage.out(w),
                                 bias ? stage.out(*bias) : nullptr,
                                 find_name<Activation>("train_rows: activation", activation, kActivations),
                                 slope};
  }
}

// Where a row comes from, from row `start` of the order on.
void place_input(Stage& stage, const py::array& x, const Maybe& index, const Maybe& shift, const Maybe& scale,
                 int64_t start, TrainRowsArgs& args) {
  const int64_t cols = args.layer[0].inputs;
  check<ValueError>(x.ndim() == 2 && x.shape(1) == cols && (cols == 1 || x.strides(1) == x.itemsize()) &&
                        x.strides(0) % x.itemsize() == 0 && start >= 0 && (index || start + args.steps <= x.shape(0)),
                    "train_rows: x is not (rows, ", cols, ")");
  check<ValueError>(shift.has_value() == scale.has_value(), "train_rows: shift and scale come together");
  const DType from = py::isinstance<py::array_t<uint8_t>>(x) ? DType::uint8 : floating("x", x);
  args.x = {from,
            args.dtype,
            1,
            cols,
            stage.in(x),
            x.strides(0) / x.itemsize(),
            indices(stage, "index", index, start + args.steps, x.shape(0)),
            in(stage, "shift", shift, args.dtype, cols),
            in(stage, "scale", scale, args.dtype, cols),
            nullptr};
}

// (start, slot, steps, updates, stopped, lr, errors) afterwards, or None where the device has no such kernel.
py::object train_rows(const py::array& x, std::vector<GivenLayer> layers, const std::string& loss, const Maybe& labels,
                      const Maybe& targets, const py::array& rates, py::array value, int64_t steps, const Maybe& index,
                      const Maybe& shift, const Maybe& scale, double weight_decay, int64_t start, int64_t slot,
                      int64_t stopped, int blocks) {
  constexpr int64_t kStep = 100, kUpdates = 200;  // before the call
  Stage stage;
  const Kernels& kernels = Stage::device().kernels();
  if (kernels.train_rows == nullptr) return py::none();
  TrainRowsArgs args{};
  args.steps = steps;
  args.blocks = blocks;
  args.loss = find_name<Loss>("train_rows: loss", loss, kLosses);
  args.weight_decay = weight_decay;
  check<ValueError>(slot >= 0 && steps >= 0, "train_rows: slot or steps is negative");
  place_layers(stage, layers, args);
  place_input(stage, x, index, shift, scale, start, args);
  const int64_t outputs = args.layer[args.layers - 1].outputs, samples = x.shape(0);
  check<ValueError>(labels.has_value() != targets.has_value(), "train_rows: wanted labels or targets");
  args.labels = indices(stage, "labels", labels, samples, outputs == 1 ? 2 : outputs);
  args.targets = in(stage, "targets", targets, args.dtype, samples * outputs);
  only<double>("rates", rates, DType::float64);
  only<double>("value", value, DType::float64);
  check_run("rates", rates, slot + steps);
  check_run("value", value, slot + steps);
  args.rates = static_cast<const double*>(stage.in(rates));
  args.known_rates = rates.size();
  args.value = static_cast<double*>(stage.out(value));
  const double lr = rates.size() > slot ? static_cast<const double*>(rates.data())[slot] : 0.0;
  StepState state{start, slot, kStep, kUpdates, stopped, lr, 1.0};
  int64_t errors = 0;
  args.state = stage.out(state);
  args.errors = stage.out(errors);
  if (!kernels.trains_rows(args)) return py::none();
  stage.call(&Kernels::train_rows, args);
  return py::make_tuple(state.start, state.slot, state.step - kStep, state.updates - kUpdates, state.stopped, state.lr,
                        errors);
}

}  // namespace

void bind_train_rows_kernel(py::module_& kernels) {
  using namespace pybind11::literals;
  const Maybe none;
  kernels.def("train_rows", train_rows, "x"_a, "layers"_a, "loss"_a, py::kw_only(), "labels"_a = none,
              "targets"_a = none, "rates"_a, "value"_a, "steps"_a, "index"_a = none, "shift"_a = none, "scale"_a = none,
              "weight_decay"_a = 0.0, "start"_a = 0, "slot"_a = 0, "stopped"_a = 0, "blocks"_a = 0);
}

}  // namespace deltarule
