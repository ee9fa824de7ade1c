// An optimiser's settings, as the user gives them; its formulas are in formulas/optimizers.h.
#pragma once

#include <cmath>
#include <string>

#include "engine/names.h"

namespace deltarule {

struct OptimizerSettings {
  Optimizer kind = Optimizer::sgd;
  double lr = 0.0, momentum = 0.0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  double clip_norm = 0.0;  // bound on the norm of all gradients together; 0: none

  int slots() const { return kOptimizers[static_cast<int>(kind)].slots; }
  std::string name() const { return kOptimizers[static_cast<int>(kind)].name; }
  void set_name(const std::string& name) { kind = find_name<Optimizer>("Optimizer: kind", name, kOptimizers); }

  // gemm's sgd epilogue has this optimiser's formula: weight gradients need not be stored.
  bool fits_epilogue() const {
    return clip_norm == 0.0 && (kind == Optimizer::sgd || kind == Optimizer::momentum || kind == Optimizer::nesterov);
  }

  // `op` and `whose` begin the message.
  void validate(const char* op, const char* whose = ": the optimizer's ") const {
    const auto require = [&](bool ok, const char* name, double value, const char* wanted) {
      check<ValueError>(ok, op, whose, name, " is ", value, "; wanted ", wanted);
    };
    const auto at_least_0 = [&](const char* name, double value) {
      require(value >= 0.0 && std::isfinite(value), name, value, "a finite number, at least 0");
    };
    const auto fraction = [&](const char* name, double value) {
      require(value >= 0.0 && value < 1.0, name, value, "a number in [0, 1)");
    };
    at_least_0("lr", lr);
    at_least_0("weight_decay", weight_decay);
    at_least_0("clip_norm", clip_norm);
    fraction("momentum", momentum);
    fraction("beta1", beta1);
    fraction("beta2", beta2);
    require(eps > 0.0 && std::isfinite(eps), "eps", eps, "a finite number above 0");
  }
};

}  // namespace deltarule
