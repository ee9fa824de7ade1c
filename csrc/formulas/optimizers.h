// Optimisers: one update of the parameters w from their gradient g, over a lane type V, and the list. g' = g + decay w.
//   sgd        w -= lr g'
//   momentum   m = mu m + g';  w -= lr m                                       (Polyak 1964, as PyTorch writes it)
//   nesterov   m = mu m + g';  w -= lr (g' + mu m)                             (Sutskever et al. 2013)
//   adam       m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2;                  (Kingma & Ba 2015)
//              w -= lr / (1 - b1^t)  m / (sqrt(v / (1 - b2^t)) + eps)
//   adamw      w -= lr decay w, then adam with g' = g                          (Loshchilov & Hutter 2019)
// To add one: a struct, a line in the list, a line in tests/reference.py.
#pragma once

#include "formulas/math.h"

namespace deltarule {

// X(name, struct, number of slots); the slots are m, then v
#define DELTARULE_OPTIMIZERS(X) \
  X(sgd, Sgd, 0) X(momentum, Momentum, 1) X(nesterov, Nesterov, 1) X(adam, Adam, 2) X(adamw, AdamW, 2)

#define DELTARULE_X(name, type, slots) name,
enum class Optimizer : unsigned char { DELTARULE_OPTIMIZERS(DELTARULE_X) };
#undef DELTARULE_X

struct OptimizerInfo {
  const char* name;
  int slots;
};

#define DELTARULE_X(name, type, slots) {#name, slots},
inline constexpr OptimizerInfo kOptimizers[] = {DELTARULE_OPTIMIZERS(DELTARULE_X)};
#undef DELTARULE_X

namespace {

// What an update needs besides its arrays, the same for every element; computed in float64, once a call.
template <class V> struct StepConstants {
  V lr, momentum, decay, beta1, rest1, beta2, rest2, eps;
  V corrected_lr;     // lr / (1 - b1^t)
  V root_correction;  // 1 / sqrt(1 - b2^t)
  V keep;             // 1 - lr decay
};

template <class V> constexpr StepConstants<V> without_decay(StepConstants<V> c) {
  c.decay = lanes<V>(0.0);
  c.keep = lanes<V>(1.0);
  return c;
}

struct Sgd {
  static constexpr int slots = 0;
  template <class V> static constexpr void update(V& w, V g, V&, V&, const StepConstants<V>& c) {
    w = fnma(c.lr, fma(c.decay, w, g), w);
  }
};

struct Momentum {
  static constexpr int slots = 1;
  template <class V> static constexpr void update(V& w, V g, V& m, V&, const StepConstants<V>& c) {
    m = fma(c.momentum, m, fma(c.decay, w, g));
    w = fnma(c.lr, m, w);
  }
};

struct Nesterov {
  static constexpr int slots = 1;
  template <class V> static constexpr void update(V& w, V g, V& m, V&, const StepConstants<V>& c) {
    const V decayed = fma(c.decay, w, g);
    m = fma(c.momentum, m, decayed);
    w = fnma(c.lr, fma(c.momentum, m, decayed), w);
  }
};

template <class V> constexpr void adam_update(V& w, V g, V& m, V& v, const StepConstants<V>& c) {
  m = fma(c.beta1, m, c.rest1 * g);
  v = fma(c.beta2, v, c.rest2 * g * g);
  w = fnma(c.corrected_lr, m / fma(sqrt(v), c.root_correction, c.eps), w);
}

struct Adam {
  static constexpr int slots = 2;
  template <class V> static constexpr void update(V& w, V g, V& m, V& v, const StepConstants<V>& c) {
    adam_update(w, fma(c.decay, w, g), m, v, c);
  }
};

struct AdamW {
  static constexpr int slots = 2;
  template <class V> static constexpr void update(V& w, V g, V& m, V& v, const StepConstants<V>& c) {
    w = w * c.keep;
    adam_update(w, g, m, v, c);
  }
};

// visit(Adam{}) and so on: turns the run-time choice into a type.
template <class Visitor> constexpr void with_optimizer(Optimizer optimizer, Visitor&& visit) {
  switch (optimizer) {
#define DELTARULE_X(name, type, slots) \
  case Optimizer::name:                \
    visit(type{});                     \
    break;
    DELTARULE_OPTIMIZERS(DELTARULE_X)
#undef DELTARULE_X
  }
}

}  // namespace
}  // namespace deltarule
