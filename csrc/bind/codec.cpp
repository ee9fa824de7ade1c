// A layer that learns by itself: contrastive divergence and auto-encoders.
#include "engine/codec.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/convert.h"
#include "engine/streams.h"

namespace deltarule {

void bind_codec(py::module_& m) {
  m.def("gibbs_stream", &gibbs_stream, py::arg("layer"), py::arg("gibbs_step"), py::arg("step"));
  m.def("corruption_stream", &corruption_stream, py::arg("layer"), py::arg("step"));
  m.def("pretrain_shuffle_stream", &pretrain_shuffle_stream, py::arg("layer"), py::arg("epoch"));
  m.def("decoder_init_stream", &decoder_init_stream, py::arg("layer"));

  py::class_<Codec>(m, "Codec")
      .def(py::init<const Array&, const Array&, const Array&, const std::optional<Array>&, const std::string&, uint64_t,
                    int64_t>(),
           py::arg("w"), py::arg("b"), py::arg("c"), py::arg("v") = py::none(), py::arg("precision") = "highest",
           py::arg("seed") = 0, py::arg("index") = 0)
      .def_property("step", &Codec::step, &Codec::set_step)
      .def("slots", &Codec::slots, NoGil())
      .def("set_slots", &Codec::set_slots, py::arg("slots"), NoGil())
      .def("set_input_transform", &Codec::set_input_transform, py::arg("shift"), py::arg("scale"), NoGil())
      .def("divergence_steps", &Codec::divergence_steps, py::arg("x"), py::arg("order"), py::arg("batch_size"),
           py::arg("optimizer"), py::arg("gibbs_steps") = 1, py::arg("validated") = false, NoGil())
      .def("autoencoder_steps", &Codec::autoencoder_steps, py::arg("x"), py::arg("order"), py::arg("batch_size"),
           py::arg("optimizer"), py::arg("activation") = "sigmoid", py::arg("slope") = py::none(),
           py::arg("output") = "linear", py::arg("loss") = "binary_cross_entropy", py::arg("corruption") = 0.0,
           py::arg("validated") = false, NoGil());
}

}  // namespace deltarule
