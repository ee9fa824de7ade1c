// What the library is and runs on: versions, devices, instruction sets, threads, the lists of names.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/blocks.h"
#include "base/parallel.h"
#include "cpu/features.h"
#include "device.h"
#include "engine/names.h"

namespace py = pybind11;

namespace deltarule {

py::dict cuda_facts();  // cuda.cpp

namespace {

template <class Table> std::vector<std::string> names(const Table& table) {
  std::vector<std::string> list;
  for (const auto& entry : table) {
    if constexpr (requires { entry.name; }) list.emplace_back(entry.name);
    else list.emplace_back(entry);
  }
  return list;
}

py::list isa_list() {
  py::list list;
  for (const Isa& isa : isas()) {
    py::dict entry;
    entry["name"] = isa.kernels->name;
    entry["needs"] = isa.kernels->needs;
    entry["supported"] = isa.supported;
    list.append(entry);
  }
  return list;
}

std::vector<std::string> device_names() {
  std::vector<std::string> list;
  for (const Device* device : devices()) list.emplace_back(device->name);
  return list;
}

py::dict info() {
  py::dict facts;
  facts["version"] = DELTARULE_VERSION;
  facts["compiler"] = __VERSION__;
  facts["devices"] = device_names();
  facts["isas"] = isa_list();
  facts["isa"] = current_kernels().name;
  py::dict products;
  for (int i = 0; i < 3; ++i) products[kPrecisions[i]] = current_kernels().products[i];
  facts["precisions"] = products;
  facts["threads"] = num_threads();
  facts["cores"] = available_cores();
  py::dict caches;  // bytes
  caches["L1d"] = cpu::cache_bytes(1);
  caches["L2"] = cpu::cache_bytes(2);
  caches["L3"] = cpu::cache_bytes(3);
  facts["caches"] = caches;
  facts["cuda"] = cuda_facts();
  return facts;
}

}  // namespace

void bind_info(py::module_& m) {
  m.attr("__version__") = DELTARULE_VERSION;
  m.def("activations", [] { return names(kActivations); });
  m.def("default_slope", [] {
    py::dict slopes;
    for (const ActivationInfo& activation : kActivations) slopes[activation.name] = activation.default_slope;
    return slopes;
  });
  m.def("losses", [] { return names(kLosses); });
  m.def("optimizers", [] { return names(kOptimizers); });
  m.def("unary_ops", [] { return names(kUnary); });
  m.def("binary_ops", [] { return names(kBinary); });
  m.def("reductions", [] { return names(kReductions); });
  m.def("isas", isa_list,
        "The instruction sets kernels were built for, best first.\n\n"
        "Returns\n-------\nlist of dict\n"
        "    `name`; `needs`, what the CPU must have; `supported`, whether this one has it.");
  m.def(
      "isa", [] { return std::string(current_kernels().name); },
      "The name of the instruction set in use: the best there is, that of DELTARULE_ISA, or set_isa's.");
  m.def("set_isa", &set_isa, py::arg("name"),
        "Use this instruction set from now on.\n\n"
        "Parameters\n----------\nname : str\n    One of those that `isas` lists as supported.\n\n"
        "Raises\n------\nValueError\n    There is none of this name, or this CPU has not what it needs.");
  m.def("devices", device_names, "The names of the devices there are: \"cpu\", then \"cuda:0\" and so on.");
  m.def("set_num_threads", &set_num_threads, py::arg("n"),
        "Compute on this many threads from now on; results do not depend on it.\n\n"
        "Parameters\n----------\nn : int\n"
        "    From 1 to 4096. At first it is DELTARULE_NUM_THREADS, or the cores this process may use.\n\n"
        "Raises\n------\nValueError\n    `n` is out of these bounds.");
  m.def("num_threads", &num_threads, "How many threads compute.");
  m.def("available_cores", &available_cores);
  m.def("kept_bytes", &kept_bytes);
  m.def(
      "info", &info,
      "What this build and machine have.\n\n"
      "Returns\n-------\ndict\n"
      "    `version`, `compiler`; `devices`, `isas` and `isa` as of the functions of these names; `precisions`: what\n"
      "    each precision of a float32 product is made of; `threads` and `cores`; `caches`, in bytes; `cuda`: the\n"
      "    driver and cards, or why there is none.");
}

}  // namespace deltarule
