// Element-wise functions, arithmetic and reductions of arrays: the lists, and the arithmetic over a lane type V.
// To add one: a struct, a line in the list, a line in tests/reference.py. Enum, names and bindings follow.
#pragma once

#include "formulas/math.h"

namespace deltarule {

// X(name, struct)
#define DELTARULE_UNARY(X)   \
  X(negative, Negative)      \
  X(abs, Abs)                \
  X(sign, Sign)              \
  X(square, Square)          \
  X(sqrt, Sqrt)              \
  X(reciprocal, Reciprocal)  \
  X(exp, Exp)                \
  X(expm1, Expm1)            \
  X(log, Log)                \
  X(log1p, Log1p)            \
  X(tanh, HyperbolicTangent) \
  X(erf, Erf)                \
  X(sigmoid, Logistic)
#define DELTARULE_BINARY(X) \
  X(add, Add)               \
  X(subtract, Subtract)     \
  X(multiply, Multiply)     \
  X(divide, Divide)         \
  X(maximum, Maximum)       \
  X(minimum, Minimum)
#define DELTARULE_REDUCTIONS(X) X(sum) X(prod) X(max) X(min) X(sum_squares) X(argmax) X(argmin)
#define DELTARULE_RANDOM(X) X(uniform) X(normal) X(permutation)

#define DELTARULE_X(name, ...) name,
enum class Unary : unsigned char { DELTARULE_UNARY(DELTARULE_X) };
enum class Binary : unsigned char { DELTARULE_BINARY(DELTARULE_X) };
enum class Reduction : unsigned char { DELTARULE_REDUCTIONS(DELTARULE_X) };
enum class Random : unsigned char { DELTARULE_RANDOM(DELTARULE_X) };
#undef DELTARULE_X

#define DELTARULE_X(name, ...) #name,
inline constexpr const char* kUnary[] = {DELTARULE_UNARY(DELTARULE_X)};
inline constexpr const char* kBinary[] = {DELTARULE_BINARY(DELTARULE_X)};
inline constexpr const char* kReductions[] = {DELTARULE_REDUCTIONS(DELTARULE_X)};
inline constexpr const char* kRandom[] = {DELTARULE_RANDOM(DELTARULE_X)};
#undef DELTARULE_X

namespace {

// cheap: bound by memory, not by arithmetic; the kernels share it among threads from a larger size on.
struct Cheap {
  static constexpr bool cheap = true;
};
struct Costly {
  static constexpr bool cheap = false;
};

struct Negative : Cheap {
  template <class V> static constexpr V f(V x) { return negate(x); }
};
struct Abs : Cheap {
  template <class V> static constexpr V f(V x) { return abs(x); }
};
struct Square : Cheap {
  template <class V> static constexpr V f(V x) { return x * x; }
};
struct Sqrt : Cheap {
  template <class V> static constexpr V f(V x) { return sqrt(x); }
};
struct Reciprocal : Cheap {
  template <class V> static constexpr V f(V x) { return lanes<V>(1.0) / x; }
};
struct Exp : Costly {
  template <class V> static constexpr V f(V x) { return exp(x); }
};
struct Expm1 : Costly {
  template <class V> static constexpr V f(V x) { return expm1(x); }
};
struct Log : Costly {
  template <class V> static constexpr V f(V x) { return log(x); }
};
struct Log1p : Costly {
  template <class V> static constexpr V f(V x) { return log1p(x); }
};
struct HyperbolicTangent : Costly {
  template <class V> static constexpr V f(V x) { return tanh(x); }
};
struct Erf : Costly {
  template <class V> static constexpr V f(V x) { return erf(x); }
};
struct Logistic : Costly {
  template <class V> static constexpr V f(V x) { return sigmoid(x); }
};
struct Sign : Cheap {
  template <class V> static constexpr V f(V x) {
    const V zero_or_nan = select(equal(x, V::zero()), V::zero(), x);
    return select(less(V::zero(), abs(x)), copysign(lanes<V>(1.0), x), zero_or_nan);
  }
};

struct Add {
  template <class V> static constexpr V f(V a, V b) { return a + b; }
};
struct Subtract {
  template <class V> static constexpr V f(V a, V b) { return a - b; }
};
struct Multiply {
  template <class V> static constexpr V f(V a, V b) { return a * b; }
};
struct Divide {
  template <class V> static constexpr V f(V a, V b) { return a / b; }
};
struct Maximum {
  template <class V> static constexpr V f(V a, V b) { return maximum(a, b); }
};
struct Minimum {
  template <class V> static constexpr V f(V a, V b) { return minimum(a, b); }
};

// visit(Exp{}) and so on: turns the run-time choice into a type.
template <class Visitor> constexpr void with_unary(Unary op, Visitor&& visit) {
  switch (op) {
#define DELTARULE_X(name, type) \
  case Unary::name:             \
    visit(type{});              \
    break;
    DELTARULE_UNARY(DELTARULE_X)
#undef DELTARULE_X
  }
}

template <class Visitor> constexpr void with_binary(Binary op, Visitor&& visit) {
  switch (op) {
#define DELTARULE_X(name, type) \
  case Binary::name:            \
    visit(type{});              \
    break;
    DELTARULE_BINARY(DELTARULE_X)
#undef DELTARULE_X
  }
}

}  // namespace
}  // namespace deltarule
