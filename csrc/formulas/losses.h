// Losses of one row of outputs y[cols] against targets t[cols]: the list, and the arithmetic over a lane type V.
//   squared_error          l = 1/2 sum_j (y_j - t_j)^2                        dl/dy_j = y_j - t_j
//   binary_cross_entropy   l = sum_j log(1 + e^y_j) - t_j y_j   (logits)      dl/dy_j = sigmoid(y_j) - t_j
//   softmax_cross_entropy  l = sum_j t_j (log sum_k e^y_k - y_j)   (logits)   dl/dy_j = softmax(y)_j sum_k t_k - t_j
// The first two are sums over elements: a struct each. The third is a sum over rows: cpu/loss.inl.
#pragma once

#include "formulas/math.h"

namespace deltarule {

#define DELTARULE_LOSSES(X) X(squared_error) X(binary_cross_entropy) X(softmax_cross_entropy)

#define DELTARULE_X(name) name,
enum class Loss : unsigned char { DELTARULE_LOSSES(DELTARULE_X) };
#undef DELTARULE_X

#define DELTARULE_X(name) #name,
inline constexpr const char* kLosses[] = {DELTARULE_LOSSES(DELTARULE_X)};
#undef DELTARULE_X

namespace {

struct SquaredError {
  static constexpr double threshold = 0.5;    // with one output: y > threshold is the class 1
  static constexpr bool counts_bits = false;  // with targets: are they classes, so that (y > 0) != (t > 0.5) errs?
  template <class V> static constexpr V value(V y, V t) {
    const V d = y - t;
    return lanes<V>(0.5) * d * d;
  }
  template <class V> static constexpr V gradient(V y, V t) { return y - t; }
};

// The logarithm from |y|, so that nothing overflows.
struct BinaryCrossEntropy {
  static constexpr double threshold = 0.0;
  static constexpr bool counts_bits = true;
  template <class V> static constexpr V value(V y, V t) {
    return fnma(y, t, max(V::zero(), y)) + log1p(exp(negate(abs(y))));
  }
  template <class V> static constexpr V gradient(V y, V t) { return sigmoid(y) - t; }
};

}  // namespace
}  // namespace deltarule
