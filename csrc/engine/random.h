// Random arrays. Same (seed, stream): the same numbers, on every device and instruction set.
#pragma once

#include "engine/array.h"

namespace deltarule {

// Into any writable float array; the i-th number goes to the i-th element in C order.
void fill_uniform(const Array& array, uint64_t seed, uint64_t stream, double lo, double hi);
void fill_normal(const Array& array, uint64_t seed, uint64_t stream, double mean, double std);
// 0 .. n-1 in random order, [n] int64.
Array permutation(int64_t n, uint64_t seed, uint64_t stream, Device& device);

}  // namespace deltarule
