// Operations with kernels: the functions of ops.h by name, and the operators of Array.
//
// A function made from a list returns NotImplemented where no kernel has its operands; python/deltarule/_array.py then
// asks NumPy. An operator asks it itself.
#include "engine/ops.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/convert.h"
#include "bind/fallback.h"

namespace deltarule {
namespace {

using Out = std::optional<Array>;

// The kernel's result, computed without the GIL; an exception takes it back on the way out.
template <class Compute> py::object compute(Compute&& kernel) {
  Array result = [&] {
    py::gil_scoped_release no_gil;
    return kernel();
  }();
  return py::cast(std::move(result));
}

py::object not_implemented() { return py::reinterpret_borrow<py::object>(Py_NotImplemented); }

bool fits(const Out& out, DType dtype) { return !out || out->dtype() == dtype; }

py::object unary_kernel(Unary op, const Array& x, const Out& out) {
  if (!has_kernel(op, x.dtype()) || !fits(out, result_type(op, x.dtype()))) return not_implemented();
  return compute([&] { return unary(op, x, out); });
}

py::object binary_kernel(Binary op, py::handle a, py::handle b, const Out& out) {
  const Operands operands(a, b);
  if (!operands || !fits(out, operands.dtype)) return not_implemented();
  return compute([&] { return binary(op, operands.a.array(), operands.b.array(), out); });
}

template <class Reduce>
py::object reduce_kernel(Reduction op, DType result, const Array& x, const Out& out, Reduce&& kernel) {
  if (!has_kernel(op, x.dtype()) || !fits(out, result)) return not_implemented();
  return compute(kernel);
}

py::object matmul_kernel(const Array& a, const Array& b, const std::string& precision, const Out& out) {
  const DType dtype = promote(a.dtype(), b.dtype());
  if (!is_floating(dtype) || !fits(out, dtype)) return not_implemented();
  return compute([&] { return matmul(a, b, precision, out); });
}

void bind_lists(py::module_& m) {
  for (size_t i = 0; i < std::size(kUnary); ++i)
    m.def(
        kUnary[i], [op = static_cast<Unary>(i)](const Array& x, const Out& out) { return unary_kernel(op, x, out); },
        py::arg("x"), py::arg("out") = py::none());
  for (size_t i = 0; i < std::size(kBinary); ++i)
    m.def(
        kBinary[i],
        [op = static_cast<Binary>(i)](py::handle a, py::handle b, const Out& out) {
          return binary_kernel(op, a, b, out);
        },
        py::arg("a"), py::arg("b"), py::arg("out") = py::none());
  for (size_t i = 0; i < std::size(kReductions); ++i)
    m.def(
        kReductions[i],
        [op = static_cast<Reduction>(i)](const Array& x, const std::optional<Shape>& axis, bool keepdims,
                                         const Out& out) {
          const DType result = op == Reduction::argmax || op == Reduction::argmin ? DType::int64 : x.dtype();
          return reduce_kernel(op, result, x, out, [&] { return reduce(op, x, axis, keepdims, out); });
        },
        py::arg("x"), py::arg("axis") = py::none(), py::arg("keepdims") = false, py::arg("out") = py::none());
}

void bind_functions(py::module_& m) {
  m.def(
      "mean",
      [](const Array& x, const std::optional<Shape>& axis, bool keepdims, const Out& out) {
        return reduce_kernel(Reduction::sum, x.dtype(), x, out, [&] { return mean(x, axis, keepdims, out); });
      },
      py::arg("x"), py::arg("axis") = py::none(), py::arg("keepdims") = false, py::arg("out") = py::none());
  m.def("matmul", &matmul_kernel, py::arg("a"), py::arg("b"), py::arg("precision") = "highest",
        py::arg("out") = py::none());
  m.def(
      "softmax", [](const Array& x, int64_t axis) { return softmax(x, axis, false); }, py::arg("x"),
      py::arg("axis") = -1, NoGil());
  m.def(
      "log_softmax", [](const Array& x, int64_t axis) { return softmax(x, axis, true); }, py::arg("x"),
      py::arg("axis") = -1, NoGil());
  m.def("activate", &activate, py::arg("x"), py::arg("activation"), py::arg("slope") = py::none(), NoGil());
  m.def("activate_grad", &activate_grad, py::arg("dy"), py::arg("x"), py::arg("activation"),
        py::arg("slope") = py::none(), NoGil());
}

using Class = py::class_<Array>;

// __name__, __rname__ and __iname__. In place means what NumPy means: the result must have the Array's own shape and
// dtype.
template <class Kernel> void def_binary(Class& array, const std::string& name, Kernel kernel) {
  const auto operate = [kernel, name](py::handle a, py::handle b) {
    py::object result = kernel(a, b, Out{});
    return result.ptr() == Py_NotImplemented ? through_numpy(name.c_str(), a, b) : result;
  };
  array.def(("__" + name + "__").c_str(), operate, py::arg("other"));
  array.def(("__r" + name + "__").c_str(), [operate](py::handle b, py::handle a) { return operate(a, b); },
            py::arg("other"));
  array.def(("__i" + name + "__").c_str(),
            [kernel, name](py::object a, py::handle b) {
              const py::object result = kernel(a, b, py::cast<const Array&>(a));
              if (result.ptr() == Py_NotImplemented) through_numpy(("i" + name).c_str(), a, b);
              return a;
            },
            py::arg("other"));
}

void def_unary(Class& array, Unary op, const char* name) {
  array.def(("__" + std::string(name) + "__").c_str(), [op, name](py::object x) {
    py::object result = unary_kernel(op, py::cast<const Array&>(x), {});
    return result.ptr() == Py_NotImplemented ? through_numpy(name, x) : result;
  });
}

}  // namespace

void bind_ops(py::module_& m) {
  bind_lists(m);
  bind_functions(m);
  Class array = m.attr("Array");
  def_unary(array, Unary::negative, "neg");
  def_unary(array, Unary::abs, "abs");
  const std::pair<const char*, Binary> operators[] = {
      {"add", Binary::add}, {"sub", Binary::subtract}, {"mul", Binary::multiply}, {"truediv", Binary::divide}};
  for (const auto& [name, op] : operators)
    def_binary(array, name,
               [op = op](py::handle a, py::handle b, const Out& out) { return binary_kernel(op, a, b, out); });
  def_binary(array, "matmul", [](py::handle a, py::handle b, const Out& out) {
    const Operands operands(a, b);
    return operands ? matmul_kernel(operands.a.array(), operands.b.array(), "highest", out) : not_implemented();
  });
}

}  // namespace deltarule
