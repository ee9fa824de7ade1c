// What has no kernel yet: the Python function registered by python/deltarule/_array.py does it with NumPy on the same
// memory.
#pragma once

#include "bind/convert.h"

namespace deltarule {

py::object& numpy_fallback();  // takes a name of the module `operator`, then its operands

template <class... Operands> py::object through_numpy(const char* name, Operands&&... operands) {
  return numpy_fallback()(name, std::forward<Operands>(operands)...);
}

// The two operands of a binary kernel, Python numbers turned into 0-d Arrays of the other's dtype (NEP 50); nothing if
// one of them is something else, or no kernel has their dtype.
struct Operands {
  Array a, b;
};
std::optional<Operands> kernel_operands(py::handle a, py::handle b);

}  // namespace deltarule
