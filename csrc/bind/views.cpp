// Array's attributes, views and indexing as the C API's getters, methods and slots: what takes less time than
// pybind11's dispatcher would.
//
// Measured, 4 and 8 elements, AMD EPYC (Zen 4), best of `python -m timeit`, in brackets times NumPy and what it was
// through pybind11: a.reshape(2, 4) 67 ns (1.6, was 0.4), a[1:3] 65 (1.2, 0.5), p[0] 42 (1.5, 0.35), p[:, 1] 82 (1.2,
// 0.4), p.T 43 (1.4, 0.7), a.copy() 109 (1.0, 0.4), a.shape 38 (1.0, 0.4), len(a) 17 (0.9, 0.2). a[0] 61 (0.7, 0.15)
// and p[i, j] 92 (0.8, 0.2) make an array where NumPy makes a scalar.
#include "engine/views.h"

#include <pybind11/pybind11.h>

#include <span>
#include <vector>

#include "bind/direct.h"
#include "bind/fallback.h"

namespace deltarule {
namespace {

using Values = std::span<PyObject* const>;  // arguments by place

const Array& array_of(PyObject* self) { return *exact_array(self); }

// f(1, 2), f((1, 2)), f(None) and f() as NumPy's methods take them; what: "reshape: shape", for the error's line.
std::optional<Shape> shape_of(const char* what, Values values) {
  if (values.empty() || (values.size() == 1 && values[0] == Py_None)) return std::nullopt;
  try {
    if (values.size() == 1) return to_shape(values[0]);
    Shape shape;
    for (PyObject* extent : values) shape.push_back(to_extent(extent));
    return shape;
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  py::list came;
  for (PyObject* extent : values) came.append(py::handle(extent));
  const py::object shown = values.size() == 1 ? py::object(came[0]) : py::tuple(came);
  throw TypeError(std::string(what) + " is " + std::string(py::repr(shown)) + "; wanted a whole number or several");
}

// Keeps the GIL where nothing can be copied.
py::object in_shape(const Array& x, const Shape& shape, bool columns) {
  return compute(x.is_contiguous() && !columns ? 0 : x.size(), [&] { return reshape(x, shape, columns); });
}

// NumPy's argument `order`.
bool read_order(const char* op, const Array& x, py::handle order) {
  check<TypeError>(PyUnicode_Check(order.ptr()), op, ": order is ", std::string(py::repr(order)),
                   "; choose one of: C, F, A");
  return by_columns(op, x, py::cast<std::string>(order));
}

// The same where it is given by its name, the only argument that can be.
bool read_order(const char* op, const Array& x, PyObject* names, PyObject* const* values) {
  if (names == nullptr) return false;
  for (const py::handle name : py::reinterpret_borrow<py::tuple>(names))
    check<TypeError>(PyUnicode_CompareWithASCIIString(name.ptr(), "order") == 0, op, ": ", std::string(py::str(name)),
                     " is no argument of it; order is");
  return PyTuple_GET_SIZE(names) > 0 && read_order(op, x, values[0]);
}

// Indexing

PyTypeObject* numpy_integer = nullptr;  // the class of NumPy's integer scalars

bool is_integer(PyObject* entry) {
  return PyLong_CheckExact(entry) || (PyObject_TypeCheck(entry, numpy_integer) && PyIndex_Check(entry));
}

bool is_basic(PyObject* entry) {
  return is_integer(entry) || PySlice_Check(entry) || entry == Py_None || entry == Py_Ellipsis;
}

Index to_index(PyObject* entry) {
  if (entry == Py_None) return {Index::newaxis, 0, 0, 0};
  if (entry == Py_Ellipsis) return {Index::ellipsis, 0, 0, 0};
  if (PySlice_Check(entry)) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(entry, &start, &stop, &step) < 0) throw py::error_already_set();
    return {Index::slice, start, stop, step};
  }
  const Py_ssize_t place = PyNumber_AsSsize_t(entry, PyExc_IndexError);
  if (place == -1 && PyErr_Occurred()) throw py::error_already_set();
  return {Index::integer, place, 0, 0};
}

// What stands between the brackets, where it is basic; else it is NumPy's to read.
class Key {
 public:
  explicit Key(PyObject* key) {
    const bool several = PyTuple_Check(key);
    PyObject* const* const entries = several ? reinterpret_cast<PyTupleObject*>(key)->ob_item : &key;
    count_ = several ? static_cast<size_t>(PyTuple_GET_SIZE(key)) : 1;
    for (size_t i = 0; i < count_; ++i)
      if (!is_basic(entries[i])) return;
    if (count_ > std::size(few_)) many_.resize(count_);
    Index* const out = many_.empty() ? few_ : many_.data();
    for (size_t i = 0; i < count_; ++i) out[i] = to_index(entries[i]);
    basic_ = true;
  }
  Key(const Key&) = delete;

  explicit operator bool() const { return basic_; }
  std::span<const Index> entries() const { return {many_.empty() ? few_ : many_.data(), count_}; }

 private:
  bool basic_ = false;
  size_t count_;
  Index few_[6];
  std::vector<Index> many_;
};

PyObject* get_item(PyObject* self, PyObject* key) {
  return guarded([&] {
    const Array& x = array_of(self);
    const Key basic(key);
    if (!basic) return through_numpy("getitem", py::handle(self), py::handle(key)).release().ptr();
    return to_object(item(x, basic.entries())).release().ptr();
  });
}

int set_item(PyObject* self, PyObject* key, PyObject* value) {
  return guarded([&] {
    if (value == nullptr) {
      PyErr_SetString(PyExc_AttributeError, "__delitem__");
      throw py::error_already_set();
    }
    const Array& x = array_of(self);
    const Key basic(key);
    const Operands operands(self, value);
    if (basic && !operands && !x.device().host_accessible) {  // whatever can be copied there
      const Array from = operands.b.is_array() ? operands.b.array() : from_object(value);
      py::gil_scoped_release no_gil;
      assign("setitem", index(x, basic.entries()), from);
      return 0;
    }
    if (!basic || !operands) {
      through_numpy("setitem", py::handle(self), py::handle(key), py::handle(value));
      return 0;
    }
    const Array view = index(x, basic.entries());
    const Array& from = operands.b.array();
    if (view.size() < kLong) {
      assign("setitem", view, from);
    } else {
      py::gil_scoped_release no_gil;
      assign("setitem", view, from);
    }
    return 0;
  });
}

Py_ssize_t get_length(PyObject* self) {
  return guarded([&]() -> Py_ssize_t { return length(array_of(self)); });
}

// Attributes and methods

template <auto get> PyObject* attribute(PyObject* self, void*) {
  return guarded([&] { return py::cast(get(array_of(self))).release().ptr(); });
}

PyGetSetDef kAttributes[] = {
    {"shape", attribute<[](const Array& x) { return x.shape(); }>, nullptr, nullptr, nullptr},
    {"strides", attribute<byte_strides>, nullptr, nullptr, nullptr},
    {"dtype", attribute<[](const Array& x) { return x.dtype(); }>, nullptr, nullptr, nullptr},
    {"ndim", attribute<[](const Array& x) { return x.rank(); }>, nullptr, nullptr, nullptr},
    {"size", attribute<[](const Array& x) { return x.size(); }>, nullptr, nullptr, nullptr},
    {"itemsize", attribute<[](const Array& x) { return size_of(x.dtype()); }>, nullptr, nullptr, nullptr},
    {"nbytes", attribute<[](const Array& x) { return x.nbytes(); }>, nullptr, nullptr, nullptr},
    {"device", attribute<[](const Array& x) { return x.device().name; }>, nullptr, nullptr, nullptr},
    {"T", attribute<[](const Array& x) { return transpose(x, std::nullopt); }>, nullptr, nullptr, nullptr},
    {"mT", attribute<matrix_transpose>, nullptr, nullptr, nullptr},
};

template <auto body> PyObject* method(PyObject* self, PyObject* const* values, Py_ssize_t count) {
  return guarded([&] { return body(array_of(self), Values(values, static_cast<size_t>(count))).release().ptr(); });
}

// With names of arguments too.
template <auto body> PyObject* method(PyObject* self, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  return guarded(
      [&] { return body(array_of(self), Values(values, static_cast<size_t>(count)), names).release().ptr(); });
}

template <auto body> PyObject* method(PyObject* self, PyObject*) {
  return guarded([&] { return body(array_of(self)).release().ptr(); });
}

// What brackets and len() do, for who calls it by name.
PyObject* call_set_item(PyObject* self, PyObject* const* values, Py_ssize_t count) {
  return guarded([&] {
    check<TypeError>(count == 2, "__setitem__: ", count, " arguments; wanted a key and a value");
    if (set_item(self, values[0], values[1]) < 0) throw py::error_already_set();
    return py::none().release().ptr();
  });
}

template <class Function> constexpr PyCFunction untyped(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

py::object reshape_to(const Array& x, Values shape, PyObject* names) {
  const bool columns = read_order("reshape", x, names, shape.data() + shape.size());
  return in_shape(x, shape_of("reshape: shape", shape).value_or(Shape{}), columns);
}
py::object transpose_to(const Array& x, Values axes) {
  return to_object(transpose(x, shape_of("transpose: axes", axes)));
}
py::object flat(const Array& x, Values order, PyObject* names) {
  check<TypeError>(order.size() <= 1, "ravel: ", order.size(), " arguments; wanted order");
  const bool columns = order.empty() ? read_order("ravel", x, names, order.data()) : read_order("ravel", x, order[0]);
  return in_shape(x, {x.size()}, columns);
}
py::object copied(const Array& x) {
  return compute(x.size(), [&] { return x.astype(x.dtype()); });
}
py::object length_of(const Array& x) { return py::int_(length(x)); }

PyMethodDef kMethods[] = {
    {"reshape", untyped<_PyCFunctionFastWithKeywords>(method<reshape_to>), METH_FASTCALL | METH_KEYWORDS,
     "reshape($self, /, *shape, order='C')\n--\n\n"
     "The elements in this shape, one extent of which may be -1: a view where one has it, else a copy. They are read\n"
     "and placed with the last index fastest; with order 'F' the first, with 'A' as they lie in memory."},
    {"transpose", untyped<_PyCFunctionFast>(method<transpose_to>), METH_FASTCALL,
     "transpose($self, /, *axes)\n--\n\nA view with the axes in this order; without `axes`, reversed."},
    {"ravel", untyped<_PyCFunctionFastWithKeywords>(method<flat>), METH_FASTCALL | METH_KEYWORDS,
     "ravel($self, /, order='C')\n--\n\n"
     "The elements along one axis, in the order of `reshape`: a view where one has them so, else a copy."},
    {"copy", method<copied>, METH_NOARGS, "copy($self, /)\n--\n\nThe same in memory of its own."},
    {"__len__", method<length_of>, METH_NOARGS, "The extent of the first axis."},
    {"__getitem__", get_item, METH_O | METH_COEXIST, "self[key]"},
    {"__setitem__", untyped(call_set_item), METH_FASTCALL, "self[key] = value"},
};

}  // namespace

void bind_views(py::module_&) {
  numpy_integer =
      reinterpret_cast<PyTypeObject*>(py::object(py::module_::import("numpy").attr("integer")).release().ptr());
  const py::handle type(reinterpret_cast<PyObject*>(array_class));
  for (PyGetSetDef& entry : kAttributes)
    py::setattr(type, entry.name, py::reinterpret_steal<py::object>(PyDescr_NewGetSet(array_class, &entry)));
  for (PyMethodDef& entry : kMethods)
    py::setattr(type, entry.ml_name, py::reinterpret_steal<py::object>(PyDescr_NewMethod(array_class, &entry)));
  // After the methods, whose definition has set the slots to look them up.
  array_class->tp_as_mapping->mp_subscript = get_item;
  array_class->tp_as_mapping->mp_ass_subscript = set_item;
  array_class->tp_as_mapping->mp_length = get_length;
  array_class->tp_as_sequence->sq_length = get_length;
}

}  // namespace deltarule
