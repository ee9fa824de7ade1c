#include "engine/random.h"

#include <cmath>

namespace deltarule {
namespace {

void fill(const char* op, Random kind, const Array& array, uint64_t seed, uint64_t stream, double lo, double hi) {
  check<TypeError>(is_floating(array.dtype()), op, ": array is ", name_of(array.dtype()),
                   "; wanted float32 or float64");
  check<ValueError>(array.writable(), op, ": the array is read-only");
  check<ValueError>(std::isfinite(lo) && std::isfinite(hi), op, ": parameters are ", lo, " and ", hi,
                    "; wanted finite numbers");
  const Array run = array.is_contiguous() ? array : Array::empty(array.shape(), array.dtype(), array.device());
  run.device().kernels().fill_random({kind, run.dtype(), run.size(), seed, stream, lo, hi, run.data()});
  if (run.data() != array.data()) assign(op, array, run);
}

}  // namespace

void fill_uniform(const Array& array, uint64_t seed, uint64_t stream, double lo, double hi) {
  check<ValueError>(!(hi < lo), "fill_uniform: lo is ", lo, ", hi is ", hi, "; hi must not be below lo");
  fill("fill_uniform", Random::uniform, array, seed, stream, lo, hi);
}

void fill_normal(const Array& array, uint64_t seed, uint64_t stream, double mean, double std) {
  check<ValueError>(!(std < 0.0), "fill_normal: std is ", std, "; wanted at least 0");
  fill("fill_normal", Random::normal, array, seed, stream, mean, std);
}

Array permutation(int64_t n, uint64_t seed, uint64_t stream, Device& device) {
  check<ValueError>(n >= 0, "permutation: n is ", n, "; wanted at least 0");
  const Array order = Array::empty({n}, DType::int64, device);
  order.device().kernels().fill_random({Random::permutation, DType::int64, n, seed, stream, 0.0, 0.0, order.data()});
  return order;
}

}  // namespace deltarule
