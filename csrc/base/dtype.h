// The element types every array, kernel and file of the library knows.
#pragma once

#include <cstdint>

namespace deltarule {

enum class DType : uint8_t { float32, float64, int32, int64, uint8, boolean };

constexpr int64_t size_of(DType dtype) {
  constexpr int64_t sizes[] = {4, 8, 4, 8, 1, 1};
  return sizes[static_cast<int>(dtype)];
}

constexpr const char* name_of(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "int32", "int64", "uint8", "bool"};
  return names[static_cast<int>(dtype)];
}

constexpr bool is_floating(DType dtype) { return dtype == DType::float32 || dtype == DType::float64; }

}  // namespace deltarule
