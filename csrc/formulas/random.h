// Normal random numbers from Philox words, the same bits on every device: float64, each product and sum rounded by
// itself, no library function but sqrt, which IEEE 754 fixes.
//
// Computes   Box-Muller: z0, z1 = sqrt(-2 log(1 - u)) (cos, sin)(2 pi v), u, v in [0, 1) of 53 bits each.
// Accuracy   2e-15 relative to |z| + 1.
// Refs       Box and Muller, Annals of Mathematical Statistics 29 (1958).
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace deltarule {
namespace {

// Compilers may not fuse these: -ffp-contract=off on the CPU, the intrinsics on the GPU.
DELTARULE_HD inline double times(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
DELTARULE_HD inline double plus(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

template <int Terms> DELTARULE_HD inline double separate_polynomial(double x, const double (&c)[Terms]) {
  double sum = c[Terms - 1];
  for (int i = Terms - 2; i >= 0; --i) sum = plus(times(sum, x), c[i]);
  return sum;
}

// log(k 2^-53), k in [1, 2^53]: the power of two by shifting k up, then 2 atanh(s), s = (m - 1) / (m + 1).
DELTARULE_HD inline double log_unit(uint64_t k) {
  const double x = static_cast<double>(k);  // exact
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  constexpr uint64_t root = 0x3fe6a09e667f3bcd;  // sqrt(1/2)
  const int64_t offset = static_cast<int64_t>(bits - root);
  const double e = static_cast<double>((offset >> 52) - 53);
  const uint64_t mantissa = (static_cast<uint64_t>(offset) & 0x000fffffffffffff) + root;
  double m;
  __builtin_memcpy(&m, &mantissa, 8);
  const double s = (m - 1.0) / (m + 1.0), s2 = times(s, s);
  constexpr double c[] = {2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21};
  const double series = times(times(s, s2), separate_polynomial(s2, c));
  const double low = plus(series, times(e, 1.42860682030941723212e-6));
  return plus(times(e, 6.93145751953125e-1), plus(plus(s, s), low));  // e times the first part of ln2 is exact
}

// cos(2 pi v), sin(2 pi v), v in [0, 1): eighths of a turn, so that the series run over |angle| <= pi/4.
DELTARULE_HD inline void cos_sin_turn(double v, double& cosine, double& sine) {
  const double quarter = static_cast<double>(static_cast<int>(plus(times(v, 4.0), 0.5)));  // nearest, 0 to 4
  const double angle = times(plus(v, times(quarter, -0.25)), 6.283185307179586);           // v - quarter/4 is exact
  const double a2 = times(angle, angle);
  constexpr double cs[] = {1.0,
                           -1. / 2,
                           1. / 24,
                           -1. / 720,
                           1. / 40320,
                           -1. / 3628800,
                           1. / 479001600,
                           -1. / 87178291200.,
                           1. / 20922789888000.};
  constexpr double sn[] = {1.0,
                           -1. / 6,
                           1. / 120,
                           -1. / 5040,
                           1. / 362880,
                           -1. / 39916800,
                           1. / 6227020800.,
                           -1. / 1307674368000.,
                           1. / 355687428096000.};
  const double c = separate_polynomial(a2, cs), s = times(angle, separate_polynomial(a2, sn));
  const int q = static_cast<int>(quarter) & 3;
  cosine = q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s;
  sine = q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c;
}

// Two independent standard normal numbers from one counter's words.
DELTARULE_HD inline void normal_pair(const uint32_t* words, double& z0, double& z1) {
  const uint64_t u = ((uint64_t{words[1]} << 32) | words[0]) >> 11;
  double cosine, sine;
  cos_sin_turn(unit_double(words[2], words[3]), cosine, sine);
#if defined(__CUDA_ARCH__)
  const double radius = __dsqrt_rn(times(-2.0, log_unit((uint64_t{1} << 53) - u)));
#else
  const double radius = __builtin_sqrt(times(-2.0, log_unit((uint64_t{1} << 53) - u)));
#endif
  z0 = times(radius, cosine);
  z1 = times(radius, sine);
}

}  // namespace
}  // namespace deltarule
