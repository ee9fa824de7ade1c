// exp, log, tanh, erf over a lane type V, in float32 and float64: each written once for every instruction set.
//
// Computes   exp, expm1: x = n ln2 + r, |r| <= ln2/2; a Taylor polynomial in r; 2^n by scale2.
//            log, log1p: x = m 2^e, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m-1)/(m+1)) as a series.
//            tanh = expm1(2x) / (expm1(2x) + 2), on |x| with the sign put back.
//            erf: rational approximations on |x| <= 1 and above.
// Accuracy   the ULP table is in tests/test_formulas.py.
// Refs       Moshier, Cephes Mathematical Library (ranges, erf's coefficients); Muller, Elementary Functions, ch. 11.
#pragma once

namespace deltarule {
namespace {

template <class V>
constexpr bool is_single = sizeof(typename V::scalar) == 4;

template <class V>
V lanes(double x) {
  return V::set(static_cast<typename V::scalar>(x));
}

// c[0] + c[1] x + ... by Horner's rule.
template <class V, int Terms>
inline V polynomial(V x, const double (&c)[Terms]) {
  V sum = lanes<V>(c[Terms - 1]);
#pragma GCC unroll 32
  for (int i = Terms - 2; i >= 0; --i) sum = fma(sum, x, lanes<V>(c[i]));
  return sum;
}

// e^r - 1 = r + r^2 tail(r), |r| <= ln2/2. Remainders: float 5e-9 r, double 4e-18.
template <class V>
inline V exp_tail(V r) {
  if constexpr (is_single<V>) {
    constexpr double c[] = {1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040};
    return polynomial(r, c);
  } else {
    constexpr double c[] = {1. / 2,     1. / 6,      1. / 24,      1. / 120,      1. / 720,       1. / 5040,
                            1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
    return polynomial(r, c);
  }
}

// x = n ln2 + r; ln2 in two parts, so that n times the first is exact.
template <class V>
inline V reduce_ln2(V x, V& n) {
  n = round(x * lanes<V>(1.4426950408889634));
  const V high = is_single<V> ? lanes<V>(0.693359375) : lanes<V>(6.93145751953125E-1);
  const V low = is_single<V> ? lanes<V>(-2.12194440e-4) : lanes<V>(1.42860682030941723212E-6);
  return fnma(n, low, fnma(n, high, x));
}

// Beyond these the results are 0 and inf in any case; the bounds keep n small. NaN passes (it is the second operand).
template <class V>
inline V clamp_exponent(V x) {
  const V bound = is_single<V> ? lanes<V>(120.0) : lanes<V>(800.0);
  return max(lanes<V>(0.0) - bound, min(bound, x));
}

template <class V>
inline V exp(V x) {
  V n;
  const V r = reduce_ln2(clamp_exponent(x), n);
  return scale2(fma(r * r, exp_tail(r), r) + lanes<V>(1.0), n);
}

template <class V>
inline V expm1(V x) {
  V n;
  const V r = reduce_ln2(clamp_exponent(x), n);
  const V power = scale2(lanes<V>(1.0), n);
  const V tail = fma(r * r, exp_tail(r), r);
  const V y = fma(power, tail, power - lanes<V>(1.0));
  // x - x is 0, or NaN for inf: keep -0 and tiny x as they are; where 2^n overflows y is inf - inf, so take exp.
  const V bound = is_single<V> ? lanes<V>(60.0) : lanes<V>(100.0);
  const V kept = select(equal(x, V::zero()), x, y);
  return select(less(bound, x), exp(x), kept);
}

// log(m) for m = (1+s)/(1-s): 2 s (1 + s^2/3 + s^4/5 + ...), |s| <= 0.172.
template <class V>
inline V atanh_series(V s) {
  const V s2 = s * s;
  if constexpr (is_single<V>) {
    constexpr double c[] = {2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11};
    return fma(s * s2, polynomial(s2, c), s + s);
  } else {
    constexpr double c[] = {2. / 3,  2. / 5,  2. / 7,  2. / 9,  2. / 11, 2. / 13,
                            2. / 15, 2. / 17, 2. / 19, 2. / 21, 2. / 23, 2. / 25};
    return fma(s * s2, polynomial(s2, c), s + s);
  }
}

template <class V>
inline V log(V x) {
  V e;
  const V m = split2(x, e);
  const V one = lanes<V>(1.0);
  const V low = is_single<V> ? lanes<V>(-2.12194440e-4) : lanes<V>(1.42860682030941723212E-6);
  const V high = is_single<V> ? lanes<V>(0.693359375) : lanes<V>(6.93145751953125E-1);
  V y = atanh_series((m - one) / (m + one));
  y = fma(e, high, fma(e, low, y));
  const V infinity = lanes<V>(1.0) / V::zero();
  y = select(less(x, infinity), y, x);                             // inf, NaN
  y = select(equal(x, V::zero()), V::zero() - infinity, y);        // 0
  return select(less(x, V::zero()), infinity - infinity, y);       // negative
}

// log(1 + x): with u = 1 + x rounded, log(u) corrected by the part of x that the rounding lost.
template <class V>
inline V log1p(V x) {
  const V one = lanes<V>(1.0);
  const V u = one + x;
  const V lost = x - (u - one);
  const V y = log(u) + lost / u;
  const V infinity = one / V::zero();
  return select(less(V::zero() - one, x), select(less(x, infinity), select(equal(u, one), x, y), x), log(u));
}

template <class V>
inline V tanh(V x) {
  const V bound = is_single<V> ? lanes<V>(10.0) : lanes<V>(20.0);  // tanh rounds to 1 there
  const V e = expm1(min(bound, abs(x) + abs(x)) );
  return copysign(e / (e + lanes<V>(2.0)), x);
}

template <class V>
inline V sigmoid(V x) {
  const V one = lanes<V>(1.0);
  return one / (one + exp(V::zero() - x));
}

}  // namespace
}  // namespace deltarule
