// From the names users type to the enums of the lists, with the choices in the message when there is no such name.
#pragma once

#include <string>

#include "base/check.h"
#include "base/dtype.h"
#include "kernels.h"

namespace deltarule {

inline constexpr const char* kPrecisions[] = {"highest", "high", "medium"};  // order of enum Precision
inline constexpr const char* kNetworkDTypes[] = {"float32", "float64"};      // order of enum DType

inline const char* entry_name(const char* entry) { return entry; }
template <class Info> const char* entry_name(const Info& entry) { return entry.name; }

// find_name<Loss>("Network: loss", "mse", kLosses) throws "Network: loss is 'mse'; choose one of: squared_error, ...".
template <class Enum, class Entry, size_t Count>
Enum find_name(const char* what, const std::string& name, const Entry (&entries)[Count]) {
  for (size_t i = 0; i < Count; ++i)
    if (name == entry_name(entries[i])) return static_cast<Enum>(i);
  std::string choices;
  for (size_t i = 0; i < Count; ++i) choices += std::string(i ? ", " : "") + entry_name(entries[i]);
  throw ValueError(message(what, " is '", name, "'; choose one of: ", choices));
}

}  // namespace deltarule
