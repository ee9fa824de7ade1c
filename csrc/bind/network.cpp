// The training engine, and the random numbers it starts from.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/convert.h"
#include "engine/network.h"
#include "engine/random.h"
#include "engine/streams.h"

namespace py = pybind11;

namespace deltarule {
namespace {

void bind_optimizer(py::module_& m) {
  using O = OptimizerSettings;
  py::class_<O>(m, "Optimizer")
      .def(py::init([](const std::string& kind, double lr, double momentum, double beta1, double beta2, double eps,
                       double weight_decay, double clip_norm, const std::string& name) {
             O settings;
             settings.set_name(kind);
             settings.lr = lr, settings.momentum = momentum, settings.beta1 = beta1, settings.beta2 = beta2;
             settings.eps = eps, settings.weight_decay = weight_decay, settings.clip_norm = clip_norm;
             settings.validate(name.c_str(), ": ");
             return settings;
           }),
           py::arg("kind"), py::arg("lr"), py::arg("momentum") = 0.0, py::arg("beta1") = 0.9, py::arg("beta2") = 0.999,
           py::arg("eps") = 1e-8, py::arg("weight_decay") = 0.0, py::arg("clip_norm") = 0.0,
           py::arg("name") = "Optimizer")
      .def_property("kind", &O::name, &O::set_name)
      .def_readwrite("lr", &O::lr)
      .def_readwrite("momentum", &O::momentum)
      .def_readwrite("beta1", &O::beta1)
      .def_readwrite("beta2", &O::beta2)
      .def_readwrite("eps", &O::eps)
      .def_readwrite("weight_decay", &O::weight_decay)
      .def_readwrite("clip_norm", &O::clip_norm);
}

void bind_steps_result(py::module_& m) {
  py::class_<StepsResult>(m, "StepsResult")
      .def_readonly("losses", &StepsResult::losses)
      .def_readonly("weight", &StepsResult::weight)
      .def_readonly("errors", &StepsResult::errors)
      .def_readonly("finite", &StepsResult::finite)
      .def_readonly("norms", &StepsResult::norms);
}

void bind_random(py::module_& m) {
  m.def("fill_uniform", &fill_uniform, py::arg("array"), py::arg("seed"), py::arg("stream"), py::arg("lo"),
        py::arg("hi"), NoGil());
  m.def("fill_normal", &fill_normal, py::arg("array"), py::arg("seed"), py::arg("stream"), py::arg("mean"),
        py::arg("std"), NoGil());
  m.def(
      "permutation",
      [](int64_t n, uint64_t seed, uint64_t stream, const std::string& device) {
        return permutation(n, seed, stream, find_device(device));
      },
      py::arg("n"), py::arg("seed"), py::arg("stream"), py::arg("device") = "cpu", NoGil());
  m.def("init_stream", &init_stream, py::arg("parameter"));
  m.def("shuffle_stream", &shuffle_stream, py::arg("epoch"));
  m.def("dropout_stream", &dropout_stream, py::arg("layer"), py::arg("step"));
}

}  // namespace

void bind_network(py::module_& m) {
  bind_optimizer(m);
  bind_steps_result(m);
  bind_random(m);

  py::class_<Network>(m, "Network")
      .def(
          py::init<int64_t, const std::string&, const std::string&, const std::string&, const std::string&, uint64_t>(),
          py::arg("inputs"), py::arg("loss"), py::arg("dtype") = "float32", py::arg("precision") = "highest",
          py::arg("device") = "cpu", py::arg("seed") = 0)
      .def("add_dense", &Network::add_dense, py::arg("units"), py::arg("activation"), py::arg("slope") = py::none(),
           py::arg("bias") = true, NoGil())
      .def("add_dropout", &Network::add_dropout, py::arg("rate"), NoGil())
      .def_property_readonly("inputs", &Network::inputs)
      .def_property_readonly("loss", &Network::loss)
      .def_property_readonly("dtype", &Network::dtype)
      .def_property_readonly("precision", &Network::precision)
      .def_property_readonly("device", &Network::device)
      .def_property_readonly("seed", &Network::seed)
      .def_property("step", &Network::step, &Network::set_step)
      .def("parameters", &Network::parameters, NoGil())
      .def("slots", &Network::slots, NoGil())
      .def("set_slots", &Network::set_slots, py::arg("slots"), NoGil())
      .def("masks", &Network::masks, NoGil())
      .def("set_masks", &Network::set_masks, py::arg("masks"), NoGil())
      .def("set_input_transform", &Network::set_input_transform, py::arg("shift"), py::arg("scale"), NoGil())
      .def("check_samples", &Network::check_samples, py::arg("op"), py::arg("x"), py::arg("y"),
           py::arg("sample_weight") = py::none(), NoGil())
      .def("train_step", &Network::train_step, py::arg("x"), py::arg("y"), py::arg("optimizer"),
           py::arg("sample_weight") = py::none(), NoGil())
      .def("train_steps", &Network::train_steps, py::arg("x"), py::arg("y"), py::arg("order"), py::arg("batch_size"),
           py::arg("optimizer"), py::arg("sample_weight") = py::none(), py::arg("norms") = false,
           py::arg("validated") = false, py::arg("rates") = py::none(), NoGil())
      .def("block_steps", &Network::block_steps, py::arg("batch_size"), py::arg("optimizer"))
      .def("evaluate", &Network::evaluate, py::arg("x"), py::arg("y"), py::arg("batch_size") = 1000,
           py::arg("sample_weight") = py::none(), py::arg("validated") = false, NoGil())
      .def("outputs", &Network::outputs_of, py::arg("x"), py::arg("batch_size") = 1000, py::arg("validated") = false,
           NoGil())
      .def("gradients", &Network::gradients, py::arg("x"), py::arg("y"), py::arg("sample_weight") = py::none(), NoGil())
      .def("activations", &Network::activations, py::arg("x"), py::arg("batch_size") = 1000, NoGil())
      .def("deltas", &Network::deltas, py::arg("x"), py::arg("y"), py::arg("sample_weight") = py::none(), NoGil());
}

}  // namespace deltarule
