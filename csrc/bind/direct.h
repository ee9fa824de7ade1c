// What direct.cpp and views.cpp share: they reach Python through its C API, without pybind11's dispatcher.
#pragma once

#include <type_traits>
#include <utility>

#include "bind/convert.h"

namespace deltarule {

constexpr int64_t kLong = 8192;  // elements from which on others may have the GIL meanwhile; fewer never go to threads

template <class Compute> py::object compute(int64_t elements, const Compute& kernel) {
  if (elements < kLong) return to_object(kernel());
  Array result = [&] {
    py::gil_scoped_release no_gil;
    return kernel();
  }();
  return to_object(std::move(result));
}

// Any C++ exception as pybind11 would hand it to Python.
template <class Body> auto guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  if constexpr (std::is_pointer_v<decltype(body())>) return nullptr;
  else return -1;
}

}  // namespace deltarule
