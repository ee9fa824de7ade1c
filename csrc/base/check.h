// The three kinds of error that leave the library, and one way to raise each.
// Used by engine/ and bind/ only: kernels are noexcept and trust their arguments.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace deltarule {

// Shapes and values: ValueError in Python.
struct ValueError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// dtypes and kinds of argument: TypeError in Python.
struct TypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Devices and their memory: dr.DeviceError in Python.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts> std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// check<ValueError>(ok, "matmul: a is ", shape, ...): the parts are only put together when the check fails.
template <class Error, class... Parts> void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    throw Error(message(parts...));
}

}  // namespace deltarule
