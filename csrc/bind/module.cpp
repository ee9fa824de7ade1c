// The extension module: a table of contents.
#include <pybind11/pybind11.h>

#include "base/check.h"

namespace deltarule {
void bind_array(pybind11::module_& m);
void bind_codec(pybind11::module_& m);
void bind_cuda(pybind11::module_& m);
void bind_deform(pybind11::module_& m);
void bind_direct(pybind11::module_& m);
void bind_dlpack(pybind11::module_& m);
void bind_info(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_mistakes(pybind11::module_& m);
void bind_network(pybind11::module_& m);
void bind_ops(pybind11::module_& m);
void bind_views(pybind11::module_& m);
}  // namespace deltarule

PYBIND11_MODULE(_core, m) {
  using namespace deltarule;
  m.doc() = "Kernels, arrays and the network engine of deltarule.";

  pybind11::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError).attr("__doc__") =
      "A device is missing, out of memory, or not the one the operands are on.";
  pybind11::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const ValueError& e) {
      pybind11::set_error(PyExc_ValueError, e.what());
    } catch (const TypeError& e) {
      pybind11::set_error(PyExc_TypeError, e.what());
    }
  });

  bind_info(m);
  bind_array(m);
  bind_views(m);
  bind_ops(m);
  bind_direct(m);
  bind_dlpack(m);
  bind_network(m);
  bind_deform(m);
  bind_codec(m);
  bind_kernels(m);
  bind_cuda(m);
  bind_mistakes(m);
}
