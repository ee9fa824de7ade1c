// Network: weights that are pruned, 0 and kept there by training.
//
// A mask [I,O] of the network's dtype is 1 where a weight lives and 0 where it is pruned. At the start of a call
// weights and slots are multiplied by it, and in every step the gradient is: then each update of formulas/optimizers.h
// leaves a weight of 0 at 0, with any momentum, moments and decay, and gradient norms and clipping see what lives
// alone. So masked networks take their weight gradients whole (Keep::one) and no steps in blocks; without masks nothing
// changes.
#include "engine/network.h"

namespace deltarule {

std::map<int64_t, Array> Network::masks() const {
  std::lock_guard lock(mutex_);
  std::map<int64_t, Array> masks;
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i]->mask.data()) masks[static_cast<int64_t>(i)] = parameters_[i]->mask.read_only();
  return masks;
}

void Network::set_masks(const std::map<int64_t, Array>& masks) {
  const char* op = "set_masks";
  std::lock_guard lock(mutex_);
  std::map<int64_t, Array> checked;
  for (const auto& [i, given] : masks) {
    check<ValueError>(i >= 0 && i < static_cast<int64_t>(parameters_.size()), op, ": ", i,
                      " is no parameter of this network with its ", parameters_.size());
    const Parameter& parameter = *parameters_[static_cast<size_t>(i)];
    check<ValueError>(parameter.decays, op, ": parameter ", i, " is a bias; wanted weights alone");
    check<ValueError>(given.shape() == parameter.value.shape(), op, ": mask ", i, " is ", given.shape(),
                      "; its weights are ", parameter.value.shape());
    checked[i] = given.astype(DType::boolean).astype(dtype_).on(device_);
  }
  ++version_;
  for (Parameter* parameter : parameters_) parameter->mask = Array();
  for (auto& [i, mask] : checked) parameters_[static_cast<size_t>(i)]->mask = std::move(mask);
  masked_ = !checked.empty();
  apply_masks();
}

// To the weights and slots there are.
void Network::apply_masks() {
  if (!masked_) return;
  for (const Parameter* parameter : parameters_)
    for (const Array* array : {&parameter->value, &parameter->m, &parameter->v}) apply_mask(*parameter, *array);
}

// array[I,O] *= mask[I,O], where there are both
void Network::apply_mask(const Parameter& parameter, const Array& array) const {
  if (parameter.mask.data() == nullptr || array.data() == nullptr) return;
  const int64_t n = array.size();
  device_.kernels().binary(
      {Binary::multiply, dtype_, 1, {n}, array.data(), {1}, parameter.mask.data(), {1}, array.data(), {1}});
}

}  // namespace deltarule
