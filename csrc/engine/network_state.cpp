// Network: building it, its parameters and slots, and the memory of a step.
#include <algorithm>

#include "engine/network.h"

namespace deltarule {

Network::Network(int64_t inputs, const std::string& loss, const std::string& dtype, const std::string& precision,
                 const std::string& device, uint64_t seed)
    : inputs_(inputs),
      loss_(find_name<Loss>("Network: loss", loss, kLosses)),
      dtype_(find_name<DType>("Network: dtype", dtype, kNetworkDTypes)),
      precision_(find_name<Precision>("Network: precision", precision, kPrecisions)),
      device_(find_device(device)),
      seed_(seed) {
  check<ValueError>(inputs >= 1, "Network: inputs is ", inputs, "; wanted at least 1");
}

void Network::add_dense(int64_t units, const std::string& activation, std::optional<double> slope, bool bias) {
  std::lock_guard lock(mutex_);
  const auto kind = find_name<Activation>("Dense: activation", activation, kActivations);
  check<ValueError>(units >= 1, "Dense: units is ", units, "; wanted at least 1");
  const double value = slope.value_or(kActivations[static_cast<int>(kind)].default_slope);
  check<ValueError>(std::isfinite(value), "Dense: slope is ", value, "; wanted a finite number");
  if (parameters_.empty()) lowest_ = layers_.size();
  add(std::make_unique<Dense>(outputs(), units, kind, value, bias, dtype_, device_));
}

void Network::add_dropout(double rate) {
  std::lock_guard lock(mutex_);
  check<ValueError>(rate >= 0.0 && rate < 1.0, "Dropout: rate is ", rate, "; wanted a number in [0, 1)");
  add(std::make_unique<Dropout>(outputs(), rate, static_cast<int64_t>(layers_.size())));
}

void Network::add(std::unique_ptr<Layer> layer) {
  for (Parameter* parameter : {layer->weight(), layer->bias()})
    if (parameter) parameters_.push_back(parameter);
  due_.reserve(parameters_.size());
  layers_.push_back(std::move(layer));
  // Everything planned for the old stack is planned anew.
  ++version_;
  for (Parameter* parameter : parameters_) parameter->gradient = Array();
  capacity_ = 0;
  slot_count_ = -1;
  kept_ = Keep::none;
}

void Network::require_trainable(const char* op) const {
  check<ValueError>(!layers_.empty() && layers_.back()->weight(), op, ": the network's last layer must be a dense one");
  check<ValueError>(loss_ != Loss::softmax_cross_entropy || outputs() >= 2, op,
                    ": softmax_cross_entropy with 1 output is always 0; wanted at least 2, or binary_cross_entropy");
}

void Network::set_step(int64_t step) {
  check<ValueError>(step >= 0, "step: ", step, " is negative; wanted a number of updates");
  std::lock_guard lock(mutex_);
  step_ = step;
}

std::vector<Array> Network::parameters() const {
  std::lock_guard lock(mutex_);
  std::vector<Array> list;
  for (const Parameter* parameter : parameters_) list.push_back(parameter->value);
  return list;
}

std::map<std::string, Array> Network::slots() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, Array> slots;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (slot_count_ >= 1) slots["m." + std::to_string(i)] = parameters_[i]->m;
    if (slot_count_ >= 2) slots["v." + std::to_string(i)] = parameters_[i]->v;
  }
  if (slot_count_ >= 2) slots["t"] = slot_updates_;
  return slots;
}

void Network::set_slots(const std::map<std::string, Array>& slots) {
  std::lock_guard lock(mutex_);
  const bool moments = slots.count("v.0") > 0;
  const int count = slots.empty() ? 0 : moments ? 2 : 1;
  for (const auto& [name, array] : slots) {
    if (name == "t" && moments) {
      check<ValueError>(array.size() == 1, "set_slots: 't' is ", array.shape(), "; wanted (1,)");
      continue;
    }
    bool known = false;
    for (size_t i = 0; i < parameters_.size() && !known; ++i) {
      known = name == "m." + std::to_string(i) || (moments && name == "v." + std::to_string(i));
      check<ValueError>(!known || array.shape() == parameters_[i]->value.shape(), "set_slots: '", name, "' is ",
                        array.shape(), "; its parameter is ", parameters_[i]->value.shape());
    }
    check<ValueError>(known, "set_slots: '", name, "' is no slot of this network with its ", parameters_.size(),
                      " parameters");
  }
  const size_t wanted = parameters_.size() * static_cast<size_t>(count) + slots.count("t");
  check<ValueError>(slots.size() == wanted, "set_slots: ", slots.size(), " slots came; wanted ", count,
                    " for each of the ", parameters_.size(), " parameters");

  slot_count_ = -1;  // none of the old ones stay
  reserve_slots(count);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (count >= 1) assign("set_slots", parameters_[i]->m, slots.at("m." + std::to_string(i)));
    if (count >= 2) assign("set_slots", parameters_[i]->v, slots.at("v." + std::to_string(i)));
  }
  if (count < 2) return;
  if (slots.count("t")) assign("set_slots", slot_updates_, *slots.at("t").contiguous().reshaped({1}));
  else *slot_updates_.as<int64_t>() = step_;
}

Array transform_row(const char* name, const std::optional<Array>& given, double otherwise, int64_t inputs, DType dtype,
                    Device& device) {
  Array row = Array::empty({inputs}, dtype, cpu_device());
  if (given) {
    check<ValueError>(given->shape() == Shape{inputs}, "standardize: ", name, " is ", given->shape(), "; wanted (",
                      inputs, ",)");
    assign("standardize", row, *given);
  }
  for (int64_t i = 0; i < inputs; ++i) {
    if (dtype == DType::float32 && !given) row.as<float>()[i] = static_cast<float>(otherwise);
    if (dtype == DType::float64 && !given) row.as<double>()[i] = otherwise;
    const double value = dtype == DType::float32 ? row.as<float>()[i] : row.as<double>()[i];
    check<ValueError>(std::isfinite(value), "standardize: ", name, "[", i, "] is ", value, "; wanted finite numbers");
  }
  return row.on(device);
}

void Network::set_input_transform(const std::optional<Array>& shift, const std::optional<Array>& scale) {
  std::lock_guard lock(mutex_);
  ++version_;
  if (!shift && !scale) {
    shift_ = scale_ = Array();
    return;
  }
  const Array minus = transform_row("shift", shift, 0.0, inputs_, dtype_, device_);
  scale_ = transform_row("scale", scale, 1.0, inputs_, dtype_, device_);
  shift_ = minus;
}

void Network::reserve(int64_t rows) {
  if (rows <= capacity_) return;
  ++version_;
  int64_t widest = 0;
  for (const auto& layer : layers_) {
    layer->reserve(rows, dtype_, device_);
    widest = std::max(widest, layer->outputs());
  }
  for (Array& dy : dy_) dy = Array::empty({rows, widest}, dtype_, device_);
  capacity_ = rows;
}

// Biases always have a gradient of their own; weights as `keep` says, sharing one piece of memory for Keep::one.
void Network::reserve_gradients(Keep keep) {
  int64_t largest = 0;
  for (const Parameter* parameter : parameters_) largest = std::max(largest, parameter->value.size());
  Array shared;
  for (Parameter* parameter : parameters_) {
    const Shape& shape = parameter->value.shape();
    Array& gradient = parameter->gradient;
    const bool own = !parameter->decays || keep == Keep::all;
    if (own && (gradient.data() == nullptr || (parameter->decays && kept_ == Keep::one))) {
      gradient = Array::empty(shape, dtype_, device_);
      ++version_;
    } else if (!own && keep == Keep::one && kept_ == Keep::none) {
      if (shared.data() == nullptr) shared = Array::empty({largest}, dtype_, device_);
      ++version_;
      gradient = Array::wrap(shared.data(), shape, contiguous_strides(shape), dtype_, device_, shared.owner(), true);
    }
  }
  kept_ = std::max(kept_, keep);
}

// Slots belong to the optimiser of the last step: one that needs others starts them from zero.
void Network::reserve_slots(int count) {
  if (count == slot_count_) return;
  ++version_;
  for (Parameter* parameter : parameters_) {
    const Shape& shape = parameter->value.shape();
    parameter->m = count >= 1 ? Array::zeros(shape, dtype_, device_) : Array();
    parameter->v = count >= 2 ? Array::zeros(shape, dtype_, device_) : Array();
  }
  slot_updates_ = Array::zeros({1}, DType::int64, cpu_device());
  slot_count_ = count;
}

}  // namespace deltarule
