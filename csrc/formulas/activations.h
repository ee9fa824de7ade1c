// Activation functions: each is one struct of arithmetic over a lane type V, and one line of the list.
//   f(x, slope)       the activation
//   df(x, y, slope)   its derivative at x, where y = f(x); written with y alone where that suffices
// To add one: a struct, a line in the list, a line in tests/reference.py. Enum, names and bindings follow.
#pragma once

#include "formulas/math.h"

namespace deltarule {

// X(name, struct, derivative needs x besides y, default slope)
#define DELTARULE_ACTIVATIONS(X)         \
  X(linear, Linear, false, 0.0)          \
  X(threshold, Threshold, false, 0.0)    \
  X(sigmoid, Sigmoid, false, 0.0)        \
  X(tanh, Tanh, false, 0.0)              \
  X(scaled_tanh, ScaledTanh, false, 0.0) \
  X(relu, Relu, false, 0.0)              \
  X(leaky_relu, LeakyRelu, false, 0.01)  \
  X(elu, Elu, false, 1.0)                \
  X(gelu, Gelu, true, 0.0)               \
  X(softplus, Softplus, false, 0.0)      \
  X(softsign, Softsign, false, 0.0)      \
  X(gaussian, Gaussian, true, 0.0)

enum class Activation : unsigned char {
#define DELTARULE_X(name, type, needs, slope) name,
  DELTARULE_ACTIVATIONS(DELTARULE_X)
#undef DELTARULE_X
};

struct ActivationInfo {
  const char* name;
  bool needs_input;
  double default_slope;
};

inline constexpr ActivationInfo kActivations[] = {
#define DELTARULE_X(name, type, needs, slope) {#name, needs, slope},
    DELTARULE_ACTIVATIONS(DELTARULE_X)
#undef DELTARULE_X
};

constexpr bool needs_input(Activation activation) { return kActivations[static_cast<int>(activation)].needs_input; }

namespace {

struct Linear {
  template <class V> static constexpr V f(V x, V) { return x; }
  template <class V> static constexpr V df(V, V, V) { return lanes<V>(1.0); }
};

// The perceptron's unit: 1 where x >= 0, else 0. Its derivative is 1 by definition, which turns the gradient of the
// squared error, (y - t) x, into the perceptron rule (Rosenblatt 1958).
struct Threshold {
  template <class V> static constexpr V f(V x, V) {
    return select(is_nan(x), x, select(less(x, V::zero()), V::zero(), lanes<V>(1.0)));
  }
  template <class V> static constexpr V df(V, V, V) { return lanes<V>(1.0); }
};

struct Sigmoid {
  template <class V> static constexpr V f(V x, V) { return sigmoid(x); }
  template <class V> static constexpr V df(V, V y, V) { return y * (lanes<V>(1.0) - y); }
};

struct Tanh {
  template <class V> static constexpr V f(V x, V) { return tanh(x); }
  template <class V> static constexpr V df(V, V y, V) { return fnma(y, y, lanes<V>(1.0)); }
};

// 1.7159 tanh(2/3 x): f(+-1) = +-1 (LeCun et al., "Efficient BackProp", 1998).
struct ScaledTanh {
  static constexpr double kA = 1.7159, kB = 2.0 / 3.0;
  template <class V> static constexpr V f(V x, V) { return lanes<V>(kA) * tanh(lanes<V>(kB) * x); }
  template <class V> static constexpr V df(V, V y, V) { return fnma(y * lanes<V>(kB / kA), y, lanes<V>(kA * kB)); }
};

struct Relu {
  template <class V> static constexpr V f(V x, V) { return select(less(x, V::zero()), V::zero(), x); }
  template <class V> static constexpr V df(V, V y, V) { return select(less(V::zero(), y), lanes<V>(1.0), V::zero()); }
};

struct LeakyRelu {
  template <class V> static constexpr V f(V x, V slope) { return select(less(x, V::zero()), slope * x, x); }
  template <class V> static constexpr V df(V, V y, V slope) { return select(less(V::zero(), y), lanes<V>(1.0), slope); }
};

// x, or slope (e^x - 1) below 0 (Clevert et al. 2015).
struct Elu {
  template <class V> static constexpr V f(V x, V slope) { return select(less(x, V::zero()), slope * expm1(x), x); }
  template <class V> static constexpr V df(V, V y, V slope) {
    return select(less(V::zero(), y), lanes<V>(1.0), y + slope);
  }
};

// x Phi(x), Phi the normal distribution function, not its tanh approximation (Hendrycks & Gimpel 2016). Phi is 0 long
// before the bounds, which only keep inf * 0 away.
struct Gelu {
  template <class V> static constexpr V f(V x, V) { return max(lanes<V>(-50.0), x) * normal_cdf(x); }
  template <class V> static constexpr V df(V x, V, V) {
    const V density = lanes<V>(0.3989422804014327) * exp_square(x, -0.5);
    return fma(clamp(x, lanes<V>(50.0)), density, normal_cdf(x));
  }
};

// log(1 + e^x), from |x| so that nothing overflows.
struct Softplus {
  template <class V> static constexpr V f(V x, V) { return max(V::zero(), x) + log1p(exp(negate(abs(x)))); }
  template <class V> static constexpr V df(V, V y, V) { return negate(expm1(negate(y))); }
};

// x / (1 + |x|) (Bergstra et al. 2009).
struct Softsign {
  template <class V> static constexpr V f(V x, V) {
    const V y = x / (lanes<V>(1.0) + abs(x));
    return select(equal(abs(x), lanes<V>(__builtin_inf())), copysign(lanes<V>(1.0), x), y);
  }
  template <class V> static constexpr V df(V, V y, V) {
    const V rest = lanes<V>(1.0) - abs(y);
    return rest * rest;
  }
};

// e^(-x^2), a radial basis unit.
struct Gaussian {
  template <class V> static constexpr V f(V x, V) { return exp_square(x, -1.0); }
  template <class V> static constexpr V df(V x, V y, V) { return lanes<V>(-2.0) * clamp(x, lanes<V>(50.0)) * y; }
};

// visit(Tanh{}) and so on: turns the run-time choice into a type.
template <class Visitor> constexpr void with_activation(Activation activation, Visitor&& visit) {
  switch (activation) {
#define DELTARULE_X(name, type, needs, slope) \
  case Activation::name:                      \
    visit(type{});                            \
    break;
    DELTARULE_ACTIVATIONS(DELTARULE_X)
#undef DELTARULE_X
  }
}

}  // namespace
}  // namespace deltarule
