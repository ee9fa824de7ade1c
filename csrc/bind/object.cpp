// Python Arrays, made and freed: pybind11's instances without its table of what is where in memory (no binding hands
// out a reference to an Array), and a few dead ones kept with their storage, for an operator on a small array makes one
// and drops one. 60 ns a pair where pybind11's way takes 250.
#include <pybind11/pybind11.h>

#include <new>
#include <utility>

#include "bind/convert.h"

namespace deltarule {
namespace {

using Instance = py::detail::instance;

// Under the GIL.
constexpr int kKeptObjects = 32;
Instance* kept[kKeptObjects];
int kept_count = 0;

extern "C" void free_object(PyObject* self) {
  auto* const instance = reinterpret_cast<Instance*>(self);
  PyTypeObject* const type = Py_TYPE(self);
  if (instance->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  auto* const array = static_cast<Array*>(instance->simple_value_holder[0]);
  array->~Array();
  if (kept_count < kKeptObjects) {
    kept[kept_count++] = instance;
  } else {
    ::operator delete(array);
    type->tp_free(self);
  }
  Py_DECREF(type);
}

extern "C" PyObject* refuse_object(PyTypeObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "Array: has no constructor; asarray, array, zeros and so on make one");
  return nullptr;
}

}  // namespace

void own_class(PyTypeObject* type) {
  array_class = type;
  type->tp_new = refuse_object;  // no Array without an array in it
  type->tp_dealloc = free_object;
}

py::object to_object(Array array) {
  PyObject* self;
  if (kept_count > 0) {
    self = PyObject_Init(reinterpret_cast<PyObject*>(kept[--kept_count]), array_class);
  } else {
    self = array_class->tp_alloc(array_class, 0);
    if (self == nullptr) throw py::error_already_set();
    auto* const instance = reinterpret_cast<Instance*>(self);
    instance->simple_layout = instance->owned = true;
    instance->simple_value_holder[0] = ::operator new(sizeof(Array));
  }
  new (reinterpret_cast<Instance*>(self)->simple_value_holder[0]) Array(std::move(array));
  return py::reinterpret_steal<py::object>(self);
}

}  // namespace deltarule
