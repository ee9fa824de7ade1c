// Optimisers: one update of one parameter, over a lane type V, and the list.
#pragma once

#include "formulas/math.h"

namespace deltarule {

// X(name, number of slots)
#define DELTARULE_OPTIMIZERS(X) X(sgd, 0) X(momentum, 1) X(nesterov, 1) X(adam, 2) X(adamw, 2)

#define DELTARULE_X(name, slots) name,
enum class Optimizer : unsigned char { DELTARULE_OPTIMIZERS(DELTARULE_X) };
#undef DELTARULE_X

struct OptimizerInfo {
  const char* name;
  int slots;
};

#define DELTARULE_X(name, slots) {#name, slots},
inline constexpr OptimizerInfo kOptimizers[] = {DELTARULE_OPTIMIZERS(DELTARULE_X)};
#undef DELTARULE_X

}  // namespace deltarule
