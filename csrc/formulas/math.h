// exp, log, tanh, erf over a lane type V, in float32 and float64: each written once for every instruction set.
//
// Computes   exp, expm1: x = n ln2 + r, |r| <= ln2/2; a Taylor polynomial in r; 2^n by scale2.
//            log, log1p: x = m 2^e, f = m - 1, s = f / (2 + f); log m = f - f^2/2 + s (f^2/2 + R(s^2)).
//            tanh: a rational function on |x| < 5/8, 1 - 2 / (e^2x + 1) above.
//            erf, normal_cdf: e^-x^2 with x^2 exact to twice the precision, times one polynomial in
//            t = (x - a) / (x + a), which maps [0, inf) to [-1, 1); near 0 an odd polynomial.
// Accuracy   at most 2 ulp; the table by function and range is in tests/tolerance.py. inf, NaN, -0 and subnormals
//            give what IEEE 754 functions give.
// Refs       Moshier, Cephes Mathematical Library (tanh); Sun fdlibm, e_log.c; Shepherd and Laframboise, "Chebyshev
//            approximation of (1 + 2x) exp(x^2) erfc x", Math. Comp. 36 (1981).
// Functions are constexpr so that nvcc (--expt-relaxed-constexpr) takes them for the GPU as they stand.
#pragma once

namespace deltarule {
namespace {

template <class V> constexpr bool is_single = sizeof(typename V::scalar) == 4;

template <class V> constexpr V lanes(double x) { return V::set(static_cast<typename V::scalar>(x)); }

// The constant of this precision.
template <class V> constexpr V lanes(double single, double full) { return lanes<V>(is_single<V> ? single : full); }

template <class V> constexpr V negate(V x) { return lanes<V>(-0.0) - x; }

// |x| kept within the bound; NaN passes, because min and max return their second operand then.
template <class V> constexpr V clamp(V x, V bound) { return max(negate(bound), min(bound, x)); }

// NaN if either is, as NumPy's maximum and minimum.
template <class V> constexpr V maximum(V a, V b) { return select(is_nan(a), a, max(a, b)); }

template <class V> constexpr V minimum(V a, V b) { return select(is_nan(a), a, min(a, b)); }

// c[0] + c[1] x + ... by Horner's rule.
template <class V, int Terms> constexpr V polynomial(V x, const double (&c)[Terms]) {
  V sum = lanes<V>(c[Terms - 1]);
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 32
#endif
  for (int i = Terms - 2; i >= 0; --i) sum = fma(sum, x, lanes<V>(c[i]));
  return sum;
}

// ln2 in two parts; n times the first is exact for every exponent n.
template <class V> constexpr V ln2_high() { return lanes<V>(0.693359375, 6.93145751953125E-1); }

template <class V> constexpr V ln2_low() { return lanes<V>(-2.12194440054690583e-4, 1.42860682030941723212E-6); }

// x = n ln2 + r, with n integral.
template <class V> constexpr V reduce_ln2(V x, V& n) {
  n = round(x * lanes<V>(1.4426950408889634));
  return fnma(n, ln2_low<V>(), fnma(n, ln2_high<V>(), x));
}

// e^r - 1 = r + r^2 (1/2 + r/6 + ...), |r| <= ln2/2. Remainders: float32 5e-9 r, float64 4e-18.
template <class V> constexpr V expm1_reduced(V r) {
  if constexpr (is_single<V>) {
    constexpr double c[] = {1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040};
    return fma(r * r, polynomial(r, c), r);
  } else {
    constexpr double c[] = {1. / 2,     1. / 6,      1. / 24,      1. / 120,      1. / 720,       1. / 5040,
                            1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
    return fma(r * r, polynomial(r, c), r);
  }
}

// The bounds keep n small; beyond them the results are 0 and inf in any case.
template <class V> constexpr V exp(V x) {
  V n;
  const V r = reduce_ln2(clamp(x, lanes<V>(120.0, 800.0)), n);
  return scale2(expm1_reduced(r) + lanes<V>(1.0), n);
}

// 2^n (e^r - 1) + 2^n - 1, computed halved: 2^(n-1) does not overflow where the result does not.
template <class V> constexpr V expm1(V x) {
  V n;
  const V r = reduce_ln2(max(lanes<V>(-120.0), min(lanes<V>(89.0, 710.0), x)), n);
  const V power = scale2(lanes<V>(0.5), n);
  const V half = fma(power, expm1_reduced(r), power - lanes<V>(0.5));
  return select(less(abs(x), lanes<V>(1e-8, 1e-17)), x, half + half);
}

template <class V> constexpr V log_finite(V x) {
  V e;
  const V f = split2(x, e) - lanes<V>(1.0);
  const V s = f / (lanes<V>(2.0) + f), s2 = s * s;
  const V half_square = lanes<V>(0.5) * f * f;
  V series;
  if constexpr (is_single<V>) {
    constexpr double c[] = {2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11};
    series = s2 * polynomial(s2, c);
  } else {
    constexpr double c[] = {2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21};
    series = s2 * polynomial(s2, c);
  }
  return fma(e, ln2_high<V>(), f - (half_square - fma(s, half_square + series, e * ln2_low<V>())));
}

template <class V> constexpr V log(V x) {
  const V infinity = lanes<V>(__builtin_inf());
  V y = select(less(x, infinity), log_finite(x), x);  // inf, NaN
  y = select(equal(x, V::zero()), negate(infinity), y);
  return select(less(x, V::zero()), lanes<V>(__builtin_nan("")), y);
}

// log(1 + x): with u = 1 + x rounded, log u corrected by the part of x that the rounding lost.
template <class V> constexpr V log1p(V x) {
  const V one = lanes<V>(1.0);
  const V u = one + x;
  const V lost = x - (u - one);
  const V log_u = log(u);
  const V corrected = select(equal(u, one), x, log_u + lost / u);
  const V inside = select(less(x, lanes<V>(__builtin_inf())), corrected, x);
  return select(less(negate(one), x), inside, log_u);
}

template <class V> constexpr V tanh(V x) {
  const V size = abs(x), x2 = x * x;
  V near;
  if constexpr (is_single<V>) {
    constexpr double c[] = {-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2,
                            -5.70498872745e-3};
    near = fma(x * x2, polynomial(x2, c), x);
  } else {
    constexpr double p[] = {-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1};
    constexpr double q[] = {4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0};
    near = fma(x * x2, polynomial(x2, p) / polynomial(x2, q), x);
  }
  // Where tanh rounds to 1 the exponential need not grow any further.
  const V e = exp(min(lanes<V>(20.0, 40.0), size + size));
  const V far = copysign(lanes<V>(1.0) - lanes<V>(2.0) / (e + lanes<V>(1.0)), x);
  return select(less(size, lanes<V>(0.625)), select(equal(x, V::zero()), x, near), far);
}

// From e^-|x|, which does not overflow: the small side keeps its precision down to the subnormals.
template <class V> constexpr V sigmoid(V x) {
  const V one = lanes<V>(1.0);
  const V e = exp(negate(abs(x)));
  return select(less(x, V::zero()), e, one) / (one + e);
}

// e^(c x^2), c = -1 or -1/2. x = z + d with z^2 exact, so x^2 = z^2 + d (x + z): without it an error of x^2 / 2 ulp.
template <class V> constexpr V exp_square(V x, double c) {
  const V bounded = clamp(x, lanes<V>(15.0, 40.0));
  const V z = round(bounded * lanes<V>(128.0)) * lanes<V>(1.0 / 128.0);
  const V high = lanes<V>(c) * z * z;
  const V low = lanes<V>(c) * (bounded - z) * (bounded + z);
  V n;
  n = round((high + low) * lanes<V>(1.4426950408889634));
  const V r = fnma(n, ln2_low<V>(), fnma(n, ln2_high<V>(), high)) + low;
  return scale2(expm1_reduced(r) + lanes<V>(1.0), n);
}

// e^(x^2) erfc(x) for x >= 0.
template <class V> constexpr V erfc_scaled(V x) {
  const V center = lanes<V>(3.0, 4.0);
  const V bounded = min(lanes<V>(11.0, 28.5), x);
  const V t = (bounded - center) / (bounded + center);
  V p;
  if constexpr (is_single<V>) {
    constexpr double c[] = {1.253008059,    -0.1356211556,   -0.04756237295,  0.1296468575,
                            -0.119270944,   0.06829274811,   -0.02380005901,  0.00257290446,
                            0.002009782327, -0.000775897423, -0.0002690068022};
    p = polynomial(t, c);
  } else {
    constexpr double c[] = {
        1.23299511862555251,     -0.139621116840562918,     0.0153796521026204646,     0.0680970542547398492,
        -0.101039066036335445,   0.0937328349967201509,     -0.0663303658119232888,    0.0371675155634213057,
        -0.0161977340543760585,  0.00503196975025274562,    -0.000757773374092863669,  -0.000199255492765650126,
        0.000150622379990674557, -0.0000244031618406936287, -0.0000112251333207390296, 5.71773769578231057e-6,
        3.01856015629158545e-7,  -8.34774069291678639e-7,   6.23416039232456217e-8,    1.14910266428721018e-7,
        -7.67058850790572581e-9, -1.34793391742858055e-8,   -1.76062774986417533e-9};
    p = polynomial(t, c);
  }
  return p / (lanes<V>(1.0) + bounded + bounded);
}

template <class V> constexpr V erf(V x) {
  const V size = abs(x), x2 = x * x;
  V p;
  if constexpr (is_single<V>) {
    constexpr double c[] = {0.1283791658,   -0.3761262667,    0.1128359472,  -0.02685421201,
                            0.005189087423, -0.0008016864287, 7.875875063e-5};
    p = polynomial(x2, c);
  } else {
    constexpr double c[] = {0.128379167095512574,    -0.376126389031837481,     0.112837916709548787,
                            -0.0268661706450767932,  0.00522397762481801447,    -0.000854832698083378991,
                            0.000120553311116427109, -0.0000149255952668311816, 1.6461000484121368e-6,
                            -1.6350312701054695e-7,  1.46597752740474358e-8,    -1.13728488567916737e-9,
                            5.9571761477489114e-11};
    p = polynomial(x2, c);
  }
  const V far = copysign(lanes<V>(1.0) - exp_square(x, -1.0) * erfc_scaled(size), x);
  return select(less(size, lanes<V>(1.0)), fma(x, p, x), far);
}

// Phi(x) = erfc(-x / sqrt(2)) / 2, the normal distribution function.
template <class V> constexpr V normal_cdf(V x) {
  const V tail = exp_square(x, -0.5) * (lanes<V>(0.5) * erfc_scaled(lanes<V>(0.7071067811865476) * abs(x)));
  return select(less(x, V::zero()), tail, lanes<V>(1.0) - tail);
}

}  // namespace
}  // namespace deltarule
