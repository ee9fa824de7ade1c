// find: the first element that is no valid number, label or index; one body for every table.
//
// Computes   as kernels.h says. Blocks of 1024 elements are looked at as integers, a vector loop without an exit; only
// a
//            block with a find is gone through again.
// Arithmetic bound by memory.
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cpu/tables.h"

namespace deltarule::cpu {
namespace {

constexpr int64_t kBlock = 1024;

template <class T> bool bad(T x, const FindArgs& args) {
  if constexpr (std::is_integral_v<T>) return x < static_cast<int64_t>(args.least) || x >= args.below;
  else return !std::isfinite(x) || static_cast<double>(x) < args.least;
}

// Whether there is one in x[n].
template <class T> bool any_bad(const T* x, int64_t n, const FindArgs& args) {
  bool found = false;
  if constexpr (std::is_integral_v<T>) {
    const int64_t least = static_cast<int64_t>(args.least);
    for (int64_t i = 0; i < n; ++i) found |= (x[i] < least) | (x[i] >= args.below);
  } else {
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    const Bits exponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
    Bits special = 0;
    for (int64_t i = 0; i < n; ++i) special |= (std::bit_cast<Bits>(x[i]) & exponent) == exponent;
    found = special != 0;
    if (args.least > -std::numeric_limits<double>::infinity())
      for (int64_t i = 0; i < n; ++i) found |= static_cast<double>(x[i]) < args.least;
  }
  return found;
}

template <class T> int64_t first_bad(const FindArgs& args) {
  const bool one_run = args.ldx == args.cols;
  const int64_t runs = one_run ? 1 : args.rows, length = one_run ? args.rows * args.cols : args.cols;
  for (int64_t run = 0; run < runs; ++run) {
    const T* x = static_cast<const T*>(args.x) + run * args.ldx;
    for (int64_t start = 0; start < length; start += kBlock) {
      const int64_t stop = start + kBlock < length ? start + kBlock : length;
      if (!any_bad(x + start, stop - start, args)) continue;
      for (int64_t i = start; i < stop; ++i)
        if (bad(x[i], args)) return run * length + i;
    }
  }
  return -1;
}

}  // namespace

void find(const FindArgs& args) noexcept {
  switch (args.dtype) {
    case DType::float32:
      *args.at = first_bad<float>(args);
      break;
    case DType::float64:
      *args.at = first_bad<double>(args);
      break;
    default:
      *args.at = first_bad<int64_t>(args);
  }
}

}  // namespace deltarule::cpu
