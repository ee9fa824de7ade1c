// exp, log, tanh, erf over a lane type V, in float32 and float64: each written once for every instruction set.
//
// Computes   exp, float32: x = n ln2 + r, n in sixteenths, |r| <= ln2/32; 2^(fraction of n) from a table of 16, which
//            is one instruction of AVX-512, times a cubic in r; 2^n by scale2. Float64, expm1: n whole, |r| <= ln2/2, a
//            Taylor polynomial in r. sigmoid, float32: the same exponential within K / (K + K e^-x), K about sqrt(2).
//            log, log1p: x = m 2^e, f = m - 1, s = f / (2 + f); log m = f - f^2/2 + s (f^2/2 + R(s^2)).
//            tanh, float32: 16 intervals, growing with |x|, a polynomial of degree 5 in each; the intervals' centers
//            are numbers whose tanh is a float32 to 10^-10. Float64: a rational function on |x| < 5/8, 1 - 2 / (e^2x +
//            1) above. erf, normal_cdf: e^-x^2 with x^2 exact to twice the precision, times one polynomial in t = (x -
//            a) / (x + a), which maps [0, inf) to [-1, 1); near 0 an odd polynomial.
// Accuracy   at most 2.5 ulp; the table by function and range is in tests/tolerance.py. inf, NaN, -0 and subnormals
//            give what IEEE 754 functions give.
// Measured   ns an element in L1, float32, AVX-512, AMD EPYC (Zen 4), one thread: exp 0.14 (polynomial alone, 1.04 ulp:
//            0.19), tanh 0.21 (rational function and exponential, 1.32 ulp: 0.43), sigmoid 0.18, 1.96 ulp (from e^-|x|
//            by the polynomial: 0.28). Without a table, as on a GPU, sigmoid has 2.37 ulp, in float64 2.40 (every
//            float32 of [-104, 104], 30 million float64).
//            Dead ends: tanh as E / (E + 2), E = expm1(2|x|): 0.28, 2.3 ulp; degree 6 on twice as wide intervals: 0.23;
//            degree 4 on 32 intervals, tables of two registers: 0.22, without a table of centers 0.20; intervals that
//            begin where their number's low bits are 0, without a table of centers: 0.21.
//            Sigmoid as K / (K + K e^-x) with K a power of two: 2.6 ulp; with e^-x rounded before K is added: 2.96,
//            with the table to twice the precision 2.4 and 0.21; with an estimate of 1/x and a Newton step in place of
//            the division, which costs little beside the rest: 0.21, and estimates differ between makers of CPUs.
// Refs       Tang, "Table-driven implementation of the exponential function", ACM TOMS 15 (1989); Gal, "Computing
//            elementary functions: a new approach for achieving high accuracy and good performance" (1986);
//            Moshier, Cephes Mathematical Library (tanh); Sun fdlibm, e_log.c; Shepherd and Laframboise, "Chebyshev
//            approximation of (1 + 2x) exp(x^2) erfc x", Math. Comp. 36 (1981).
// Functions are constexpr so that nvcc (--expt-relaxed-constexpr) takes them for the GPU as they stand.
#pragma once

namespace deltarule {
namespace {

template <class V> constexpr bool is_single = sizeof(typename V::scalar) == 4;

// Whether float32 functions look up tables of 16 by the lane type's `pick`; it declines by naming `no_tables`.
template <class V> constexpr bool by_table = is_single<V> && !requires { V::no_tables; };

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
#if defined(__CUDA_ARCH__)
#pragma unroll
#elif !defined(__CUDACC__)
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
template <class V> constexpr V exp_by_polynomial(V x) {
  V n;
  const V r = reduce_ln2(clamp(x, lanes<V>(120.0, 800.0)), n);
  return scale2(expm1_reduced(r) + lanes<V>(1.0), n);
}

// 2^(j/16)
struct SixteenthPowers {
  static constexpr float value[16] = {1.0f,       1.0442737f, 1.0905077f, 1.1387886f, 1.1892071f, 1.2418578f,
                                      1.2968396f, 1.3542556f, 1.4142135f, 1.4768262f, 1.5422108f, 1.6104903f,
                                      1.6817929f, 1.7562522f, 1.8340081f, 1.9152066f};
};

template <class V> constexpr V exp_by_table(V x) {
  const V bounded = clamp(x, lanes<V>(120.0));
  const V shift = lanes<V>(0x1.8p19);  // a float32 of this size counts in sixteenths: its last four bits are j
  const V sum = fma(bounded, lanes<V>(1.4426950408889634), shift), n = sum - shift;
  const V r = fnma(n, ln2_low<V>(), fnma(n, ln2_high<V>(), bounded));
  const V power = pick(SixteenthPowers::value, sum, 0);
  const V p = fma(r * r, fma(r, lanes<V>(1. / 6), lanes<V>(0.5)), r);
  return scale2(fma(power, p, power), n);
}

template <class V> constexpr V exp(V x) {
  if constexpr (by_table<V>) return exp_by_table(x);
  else return exp_by_polynomial(x);
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

// Center and coefficients of an interval, by the leading bits of 1.59 |x| + 1: four intervals to a power of two from 1
// to 16, that is 0.157 wide at 0 and 1.26 from 4.4 on. The order is that of the bits, so 0 has index 12.
struct TanhIntervals {
  static constexpr float center[16] = {0.78618544f, 1.1006106f, 1.4151452f,  1.7295693f, 2.2012162f, 2.8301997f,
                                       3.4591296f,  4.0878434f, 5.031604f,   6.287543f,  7.565727f,  8.805032f,
                                       0.0f,        0.2358473f, 0.39308244f, 0.55029273f};
  static constexpr float c0[16] = {0.65624267f, 0.80071825f, 0.88858175f, 0.939005f,  0.97580135f, 0.9930619f,
                                   0.99802285f, 0.99943733f, 0.99991477f, 0.9999931f, 0.99999946f, 0.99999994f,
                                   0.0f,        0.23156953f, 0.37401453f, 0.5007396f};
  static constexpr float c1[16] = {0.5693456f,     0.35885027f,    0.21042246f,    0.11826957f,
                                   0.047811706f,   0.013828077f,   0.0039503886f,  0.001125021f,
                                   0.00017048222f, 1.3829711e-05f, 1.0731444e-06f, 8.9971806e-08f,
                                   1.0f,           0.94637555f,    0.86011314f,    0.7492599f};
  static constexpr float c2[16] = {-0.37362978f,    -0.28734294f,    -0.18698011f,    -0.11105633f,
                                   -0.04665196f,    -0.013730068f,   -0.0039418736f,  -0.0011241782f,
                                   -0.00016991555f, -1.3784956e-05f, -1.0695572e-06f, 1.9796775e-07f,
                                   9.734155e-07f,   -0.2191508f,     -0.32169375f,    -0.3751835f};
  static constexpr float c3[16] = {0.055398617f,   0.1104638f,    0.09600765f,   0.0648604f,
                                   0.029590283f,   0.00902639f,   0.0026175128f, 0.00074860605f,
                                   0.00011323296f, 9.190524e-06f, 7.107218e-07f, 5.9888976e-08f,
                                   -0.33338866f,   -0.26471108f,  -0.16639206f,  -0.061889607f};
  static constexpr float c4[16] = {0.08830951f,     0.007981358f,   -0.022649014f,  -0.023805466f,
                                   -0.013413241f,   -0.004454574f,  -0.001321447f,  -0.00038033674f,
                                   -6.1083185e-05f, -4.958429e-06f, -3.845639e-07f, -7.541849e-07f,
                                   0.00093320425f,  0.13379927f,    0.16888951f,    0.15571976f};
  static constexpr float c5[16] = {-0.062851846f,  -0.034895007f,  -0.007145815f,  0.0033268742f,
                                   0.0041653826f,  0.00167493f,    0.0005196527f,  0.00015132937f,
                                   2.4400211e-05f, 1.9746476e-06f, 1.5959782e-07f, 1.26896325e-08f,
                                   0.12807304f,    0.07847706f,    0.012076018f,   -0.039987277f};
};

// Beyond 9.4, well after tanh rounds to 1, x is taken for 9.4.
template <class V> constexpr V tanh_by_table(V x) {
  const V size = min(lanes<V>(9.4), abs(x));
  const V place = fma(size, lanes<V>(1.59), lanes<V>(1.0));
  const auto at = [&](const float (&table)[16]) { return pick(table, place, 21); };
  const V t = size - at(TanhIntervals::center);
  V y = fma(at(TanhIntervals::c5), t, at(TanhIntervals::c4));
  y = fma(y, t, at(TanhIntervals::c3));
  y = fma(y, t, at(TanhIntervals::c2));
  y = fma(y, t, at(TanhIntervals::c1));
  return copysign(fma(y, t, at(TanhIntervals::c0)), x);
}

template <class V> constexpr V tanh_by_exp(V x) {
  const V size = abs(x), x2 = x * x;
  constexpr double p[] = {-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1};
  constexpr double q[] = {4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0};
  const V near = fma(x * x2, polynomial(x2, p) / polynomial(x2, q), x);
  // Where tanh rounds to 1 the exponential need not grow any further.
  const V e = exp(min(lanes<V>(40.0), size + size));
  const V far = copysign(lanes<V>(1.0) - lanes<V>(2.0) / (e + lanes<V>(1.0)), x);
  return select(less(size, lanes<V>(0.625)), select(equal(x, V::zero()), x, near), far);
}

template <class V> constexpr V tanh(V x) {
  if constexpr (by_table<V>) return tanh_by_table(x);
  else return tanh_by_exp(x);
}

// K 2^(j/16), K = 1.4 2^-64: K is the one around sqrt(2) for which all sixteen are nearest to float32 numbers.
struct ScaledPowers {
  static constexpr float unit = 0x1p-64f;
  static constexpr float value[16] = {1.3991445f * unit, 1.46109f * unit,   1.5257779f * unit, 1.5933299f * unit,
                                      1.6638726f * unit, 1.7375386f * unit, 1.814466f * unit,  1.8947992f * unit,
                                      1.9786892f * unit, 2.0662932f * unit, 2.1577759f * unit, 2.2533088f * unit,
                                      2.3530712f * unit, 2.4572506f * unit, 2.5660424f * unit, 2.6796508f * unit};
};

// K / (K + K e^-x). K's exponent keeps the sum finite where the result is still a subnormal number; with a K around
// sqrt(2) a relative error of the sum is nowhere more than sqrt(2) times as many ulp of the quotient, with 1 twice.
template <class V> constexpr V sigmoid_by_table(V x) {
  const V bounded = clamp(x, lanes<V>(120.0));
  const V shift = lanes<V>(0x1.8p19);  // see exp_by_table
  const V sum = fma(bounded, lanes<V>(-1.4426950408889634), shift), n = sum - shift;
  const V r = fma(n, ln2_low<V>(), fma(n, ln2_high<V>(), bounded));
  const V power = scale2(pick(ScaledPowers::value, sum, 0), n);
  const V p = fma(r * r, fma(r, lanes<V>(-1. / 6), lanes<V>(0.5)), negate(r));
  const V k = V::set(ScaledPowers::value[0]);
  return k / fma(power, p, power + k);
}

// The same without a table: K is 2^-63.5, as far from one power of two as from the next.
template <class V> constexpr V sigmoid_by_polynomial(V x) {
  V n;
  const V r = reduce_ln2(negate(clamp(x, lanes<V>(120.0))), n);
  const V k = lanes<V>(0x1.6a09e6p-64), power = scale2(k, n);
  return k / fma(power, expm1_reduced(r), power + k);
}

// From e^-|x|, which does not overflow: the small side keeps its precision down to the subnormals.
template <class V> constexpr V sigmoid_by_exp(V x) {
  const V one = lanes<V>(1.0);
  const V e = exp(copysign(x, lanes<V>(-1.0)));
  return select(less(x, V::zero()), e, one) / (one + e);
}

template <class V> constexpr V sigmoid(V x) {
  if constexpr (by_table<V>) return sigmoid_by_table(x);
  else if constexpr (is_single<V>) return sigmoid_by_polynomial(x);
  else return sigmoid_by_exp(x);
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
