// Arguments that pybind11 refuses, in one line: its own message is a list of C++ signatures. Its dispatcher, the same
// for every function of the module, is called through ours, which asks python/deltarule/_mistakes.py for the line where
// a call has failed that way.
#include <pybind11/pybind11.h>

#include <string>

#include "bind/fallback.h"

namespace deltarule {
namespace {

PyCFunction dispatcher = nullptr;  // pybind11's

py::object& explanation() {
  static auto* const function = new py::object(py::none());  // never destroyed: the interpreter may be gone before it
  return *function;
}

// The error that is set, told again; as it is where that fails. Ctrl-C comes through.
void retell(const py::tuple& arguments, const py::dict& named) {
  py::error_already_set error;
  try {
    const auto told = py::cast<std::string>(py::str(error.value()));
    if (told.find("(): incompatible ") == std::string::npos || explanation().is_none()) return error.restore();
    PyErr_SetObject(PyExc_TypeError, py::object(explanation()(told, arguments, named)).ptr());
  } catch (py::error_already_set& other) {
    (other.matches(PyExc_Exception) ? error : other).restore();
  }
}

PyObject* call_fast(PyObject* self, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  const auto original = reinterpret_cast<_PyCFunctionFastWithKeywords>(reinterpret_cast<void (*)()>(dispatcher));
  PyObject* const result = original(self, values, count, names);
  if (result != nullptr || !PyErr_ExceptionMatches(PyExc_TypeError)) return result;
  py::tuple arguments(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) arguments[static_cast<size_t>(i)] = py::handle(values[i]);
  py::dict named;
  for (Py_ssize_t i = 0; names != nullptr && i < PyTuple_GET_SIZE(names); ++i)
    named[PyTuple_GET_ITEM(names, i)] = py::handle(values[count + i]);
  retell(arguments, named);
  return nullptr;
}

// As pybind11 before 3.1 is called.
PyObject* call_packed(PyObject* self, PyObject* values, PyObject* named) {
  const auto original = reinterpret_cast<PyCFunctionWithKeywords>(reinterpret_cast<void (*)()>(dispatcher));
  PyObject* const result = original(self, values, named);
  if (result != nullptr || !PyErr_ExceptionMatches(PyExc_TypeError)) return result;
  retell(py::reinterpret_borrow<py::tuple>(values),
         named != nullptr ? py::reinterpret_borrow<py::dict>(named) : py::dict());
  return nullptr;
}

PyCFunction ours(int flags) {
  return (flags & METH_FASTCALL) != 0 ? reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_fast))
                                      : reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_packed));
}

// Functions, methods, properties; of modules and classes whatever is in them.
void watch(PyObject* entry) {
  if (PyInstanceMethod_Check(entry)) entry = PyInstanceMethod_GET_FUNCTION(entry);
  if (PyCFunction_Check(entry)) {
    PyMethodDef* const definition = reinterpret_cast<PyCFunctionObject*>(entry)->m_ml;
    if (definition->ml_meth == dispatcher) definition->ml_meth = ours(definition->ml_flags);
  } else if (Py_IS_TYPE(entry, &PyProperty_Type)) {
    for (const char* part : {"fget", "fset"}) watch(py::object(py::handle(entry).attr(part)).ptr());
  } else if (PyModule_Check(entry) || PyType_Check(entry)) {
    const py::object names = py::handle(entry).attr("__dict__");
    for (const py::handle value : py::list(names.attr("values")())) watch(value.ptr());
  }
}

}  // namespace

// Last: what is bound afterwards is not watched.
void bind_mistakes(py::module_& m) {
  m.def("set_explanation", [](py::object function) { explanation() = std::move(function); }, py::arg("function"));
  dispatcher = reinterpret_cast<PyCFunctionObject*>(m.attr("set_explanation").ptr())->m_ml->ml_meth;
  watch(m.ptr());
}

}  // namespace deltarule
