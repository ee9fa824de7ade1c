// The functions and operators called most, on the shortest way from Python: they take the interpreter's argument vector
// as it is, keep the GIL where the work is shorter than giving it back, and leave whatever is not Arrays, NumPy arrays
// and numbers of a kernel's dtypes to the Python function they were made from (python/deltarule/_functions.py) or, for
// an operator, to NumPy. What is decided here is decided there too; only the time differs.
//
// Measured, 8 elements, AMD EPYC (Zen 4), `python bench/overhead.py`, in brackets times NumPy: dr.add 109 ns (2.9), a +
// b 97 (2.9), a * 2 124 (4.9), dr.exp 95 (3.0), a.sum() 81 (13.2). Through Python and pybind11 dr.add was 0.5 times
// NumPy.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bind/convert.h"
#include "bind/direct.h"
#include "bind/fallback.h"
#include "engine/names.h"
#include "engine/ops.h"

namespace deltarule {
namespace {

// The arguments of a call by the vectorcall protocol: `count` by place, then one for each of `names`.
struct Arguments {
  PyObject* const* values;
  Py_ssize_t count;
  PyObject* names;

  Py_ssize_t named() const { return names != nullptr ? PyTuple_GET_SIZE(names) : 0; }
  bool named(Py_ssize_t i, const char* name) const {
    return PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0;
  }
  py::handle operator[](Py_ssize_t i) const { return values[i]; }
};

// `out`, third of (a, b, out) or by its name: an Array, or absent. False if it is anything else, or there is more.
bool read_out(const Arguments& arguments, Py_ssize_t operands, const Array*& out, py::handle& object) {
  const Py_ssize_t named = arguments.named();
  if (arguments.count < operands || arguments.count + named > operands + 1) return false;
  if (named == 1 && !arguments.named(0, "out")) return false;
  if (arguments.count + named == operands) return true;
  object = arguments[operands];
  out = exact_array(object);
  return out != nullptr || object.is_none();
}

std::optional<Array> optional(const Array* array) { return array != nullptr ? std::optional(*array) : std::nullopt; }

// The attempts: a result, or null for "not here".

py::object attempt(Unary op, const Arguments& arguments) {
  const Array* out = nullptr;
  py::handle target;
  if (!read_out(arguments, 1, out, target)) return {};
  const Operand x(arguments[0]);
  if (!x.is_array() || !has_kernel(op, x.array().dtype())) return {};
  if (out != nullptr && out->dtype() != result_type(op, x.array().dtype())) return {};
  py::object result = compute(x.array().size(), [&] { return unary(op, x.array(), optional(out)); });
  return out != nullptr ? py::reinterpret_borrow<py::object>(target) : result;
}

py::object attempt(Binary op, py::handle a, py::handle b, const Array* out, py::handle target) {
  const Operands operands(a, b);
  if (!operands || (out != nullptr && out->dtype() != operands.dtype)) return {};
  const Array &left = operands.a.array(), &right = operands.b.array();
  // Two small operands may span a large result.
  const int64_t bound = left.size() < kLong && right.size() < kLong ? left.size() * right.size() : kLong;
  py::object result = compute(bound, [&] { return binary(op, left, right, optional(out)); });
  return out != nullptr ? py::reinterpret_borrow<py::object>(target) : result;
}

py::object attempt(Binary op, const Arguments& arguments) {
  const Array* out = nullptr;
  py::handle target;
  if (!read_out(arguments, 2, out, target)) return {};
  return attempt(op, arguments[0], arguments[1], out, target);
}

struct Mean {};
struct Softmax {
  bool log;
};
struct Activate {};

constexpr bool is_arg(Reduction op) { return op == Reduction::argmax || op == Reduction::argmin; }

bool read_axis(py::handle object, std::optional<Shape>& axes) {
  if (object.is_none()) return true;
  if (PyLong_CheckExact(object.ptr())) {
    axes = to_shape(object);
    return true;
  }
  if (!PyTuple_CheckExact(object.ptr()) || PyTuple_GET_SIZE(object.ptr()) > kMaxRank) return false;
  axes = to_shape(object);
  return true;
}

// f(x, axis) and f(x, axis=, keepdims=).
template <class Reduce> py::object attempt_reduction(const Arguments& arguments, const Reduce& reduce) {
  if (arguments.count < 1 || arguments.count > 2) return {};
  std::optional<Shape> axes;
  bool keepdims = false;
  if (arguments.count == 2 && !read_axis(arguments[1], axes)) return {};
  for (Py_ssize_t i = 0; i < arguments.named(); ++i) {
    const py::handle value = arguments[arguments.count + i];
    if (arguments.count == 1 && arguments.named(i, "axis")) {
      if (!read_axis(value, axes)) return {};
    } else if (arguments.named(i, "keepdims") && PyBool_Check(value.ptr())) {
      keepdims = value.ptr() == Py_True;
    } else {
      return {};
    }
  }
  const Operand x(arguments[0]);
  if (!x.is_array() || !is_floating(x.array().dtype())) return {};
  return compute(x.array().size(), [&] { return reduce(x.array(), axes, keepdims); });
}

py::object attempt(Reduction op, const Arguments& arguments) {
  return attempt_reduction(arguments, [op](const Array& x, const std::optional<Shape>& axes, bool keepdims) {
    return reduce(op, x, axes, keepdims);
  });
}

py::object attempt(Mean, const Arguments& arguments) {
  return attempt_reduction(arguments, [](const Array& x, const std::optional<Shape>& axes, bool keepdims) {
    return mean(x, axes, keepdims);
  });
}

py::object attempt(Softmax kind, const Arguments& arguments) {
  const bool has_axis = arguments.count == 2 || (arguments.named() == 1 && arguments.named(0, "axis"));
  if (arguments.count < 1 || arguments.count + arguments.named() != 1 + has_axis) return {};
  int64_t axis = -1;
  if (has_axis) {
    if (!PyLong_CheckExact(arguments.values[1])) return {};
    axis = PyLong_AsLongLong(arguments.values[1]);
    if (axis == -1 && PyErr_Occurred()) throw py::error_already_set();
  }
  const Operand x(arguments[0]);
  if (!x.is_array()) return {};
  return compute(x.array().size(), [&] { return softmax(x.array(), axis, kind.log); });
}

py::object attempt(Activate, const Arguments& arguments) {
  if (arguments.count != 2 || arguments.named() > 0 || !PyUnicode_Check(arguments.values[1])) return {};
  const Operand x(arguments[0]);
  const char* const name = PyUnicode_AsUTF8(arguments.values[1]);
  if (name == nullptr) throw py::error_already_set();
  if (!x.is_array()) return {};
  return compute(x.array().size(), [&] { return activate(x.array(), name, std::nullopt); });
}

// What an entry leaves to Python, by its `op`: never freed, the functions live as long as the process.
template <auto op> PyObject* python_function = nullptr;

template <auto op> PyObject* call(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  return guarded([&] {
    if (py::object result = attempt(op, Arguments{values, count, names})) return result.release().ptr();
    return PyObject_Vectorcall(python_function<op>, values, static_cast<size_t>(count), names);
  });
}

template <auto op> PyObject* call_method(PyObject* self, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t total = count + (names != nullptr ? PyTuple_GET_SIZE(names) : 0);
  PyObject* few[8];
  std::vector<PyObject*> many;
  PyObject** with_self = few;
  if (total >= 8) {
    many.resize(static_cast<size_t>(total) + 1);
    with_self = many.data();
  }
  with_self[0] = self;
  std::copy_n(values, total, with_self + 1);
  return call<op>(nullptr, with_self, count + 1, names);
}

struct Entry {
  const char* name;
  _PyCFunctionFastWithKeywords function, method;
  PyObject** python;
};

template <auto op> constexpr Entry entry(const char* name) {
  return {name, call<op>, call_method<op>, &python_function<op>};
}

constexpr Entry kEntries[] = {
#define DELTARULE_X(name, type) entry<Unary::name>(#name),
    DELTARULE_UNARY(DELTARULE_X)
#undef DELTARULE_X
#define DELTARULE_X(name, type) entry<Binary::name>(#name),
        DELTARULE_BINARY(DELTARULE_X)
#undef DELTARULE_X
#define DELTARULE_X(name) entry<Reduction::name>(#name),
            DELTARULE_REDUCTIONS(DELTARULE_X)
#undef DELTARULE_X
                entry<Mean{}>("mean"),
    entry<Softmax{false}>("softmax"),
    entry<Softmax{true}>("log_softmax"),
    entry<Activate{}>("activate"),
};

const Entry& find_entry(const std::string& name) {
  for (const Entry& known : kEntries)
    if (name == known.name) return known;
  throw ValueError(message("direct: there is no kernel '", name, "'"));
}

// The interpreter keeps the definition's address.
PyMethodDef* definition(const Entry& known, _PyCFunctionFastWithKeywords function, const char* doc) {
  return new PyMethodDef{known.name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
                         METH_FASTCALL | METH_KEYWORDS, doc};
}

// A built-in function that does what `function` does, sooner where it can. `arguments` as Python writes them.
py::object direct(py::object function, const std::string& arguments) {
  const Entry& known = find_entry(py::cast<std::string>(function.attr("__name__")));
  const auto doc = py::cast<std::string>(py::str(function.attr("__doc__")));
  const auto* text = new std::string(std::string(known.name) + "(" + arguments + ")\n--\n\n" + doc);
  PyMethodDef* const def = definition(known, known.function, text->c_str());
  *known.python = function.release().ptr();
  return py::reinterpret_steal<py::object>(PyCFunction_NewEx(def, nullptr, py::str("deltarule").release().ptr()));
}

// The same as a method of Array. `doc` begins with its signature as Python's built-in methods have it.
py::object direct_method(const std::string& name, const std::string& doc) {
  PyMethodDef* const def = definition(find_entry(name), find_entry(name).method, (new std::string(doc))->c_str());
  return py::reinterpret_steal<py::object>(PyDescr_NewMethod(array_class, def));
}

template <Binary op, const char* const& name> PyObject* operate(PyObject* a, PyObject* b) {
  return guarded([&] {
    py::object result = attempt(op, a, b, nullptr, {});
    return (result ? std::move(result) : through_numpy(name, py::handle(a), py::handle(b))).release().ptr();
  });
}

template <Binary op, const char* const& name> PyObject* operate_in_place(PyObject* a, PyObject* b) {
  return guarded([&] {
    if (!attempt(op, a, b, exact_array(a), a)) through_numpy(name, py::handle(a), py::handle(b));
    return py::reinterpret_borrow<py::object>(a).release().ptr();
  });
}

template <Unary op, const char* const& name> PyObject* operate(PyObject* x) {
  return guarded([&] {
    py::object result = attempt(op, Arguments{&x, 1, nullptr});
    return (result ? std::move(result) : through_numpy(name, py::handle(x))).release().ptr();
  });
}

// Names of the module `operator`.
constexpr const char *kAdd = "add", *kSub = "sub", *kMul = "mul", *kDiv = "truediv", *kNeg = "neg", *kAbs = "abs";
constexpr const char *kIadd = "iadd", *kIsub = "isub", *kImul = "imul", *kIdiv = "itruediv";

}  // namespace

// After the methods of the same meaning (ops.cpp): defining those sets the slots to look them up.
void bind_direct(py::module_& m) {
  m.def("direct", &direct, py::arg("function"), py::arg("arguments"));
  m.def("direct_method", &direct_method, py::arg("name"), py::arg("doc"));
  PyNumberMethods& number = *array_class->tp_as_number;
  number.nb_add = operate<Binary::add, kAdd>;
  number.nb_subtract = operate<Binary::subtract, kSub>;
  number.nb_multiply = operate<Binary::multiply, kMul>;
  number.nb_true_divide = operate<Binary::divide, kDiv>;
  number.nb_inplace_add = operate_in_place<Binary::add, kIadd>;
  number.nb_inplace_subtract = operate_in_place<Binary::subtract, kIsub>;
  number.nb_inplace_multiply = operate_in_place<Binary::multiply, kImul>;
  number.nb_inplace_true_divide = operate_in_place<Binary::divide, kIdiv>;
  number.nb_negative = operate<Unary::negative, kNeg>;
  number.nb_absolute = operate<Unary::abs, kAbs>;
}

}  // namespace deltarule
