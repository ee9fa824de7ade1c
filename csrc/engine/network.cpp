// Network: the training step and evaluation.
#include "engine/network.h"

#include <algorithm>
#include <cmath>

namespace deltarule {

void Network::check_samples(const std::string& op, const Array& x, const Array& y,
                            const std::optional<Array>& sample_weight) const {
  std::lock_guard lock(mutex_);
  require_trainable(op.c_str());
  Samples(spec(op.c_str(), false), x, y, sample_weight);
}

namespace {

Array checked_rates(const char* op, const Array& rates, int64_t steps) {
  check<ValueError>(rates.rank() == 1 && rates.size() == steps, op, ": rates is ", rates.shape(), "; wanted (", steps,
                    ",), one for each step");
  const Array here = rates.on(cpu_device());
  const Array values = here.dtype() == DType::float64 ? here.contiguous() : here.astype(DType::float64);
  for (int64_t i = 0; i < steps; ++i) {
    const double rate = values.as<double>()[i];
    check<ValueError>(rate >= 0.0 && std::isfinite(rate), op, ": rates[", i, "] is ", rate,
                      "; wanted a finite number, at least 0");
  }
  return values;
}

}  // namespace

StepsResult Network::train_steps(const Array& x, const Array& y, const std::optional<Array>& order, int64_t batch_size,
                                 OptimizerSettings optimizer, const std::optional<Array>& sample_weight, bool norms,
                                 bool validated, const std::optional<Array>& rates) {
  const char* op = "train_steps";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  optimizer.validate(op);
  const Samples samples(spec(op, validated), x, y, sample_weight);
  const Array indices = order ? checked_order(op, *order, samples.rows(), device_) : Array();
  const int64_t n = order ? indices.size() : samples.rows();
  check<ValueError>(batch_size >= 1 && batch_size <= n, op, ": batch_size is ", batch_size, "; wanted 1 to ", n,
                    ", the number of samples");

  const Keep keep = reserve_for_training(batch_size, optimizer, norms);
  if (!device_.host_accessible) {
    const int64_t queued = (n + batch_size - 1) / batch_size;
    return train_queued(
        {samples, indices, n, batch_size, optimizer, keep, norms, rates ? checked_rates(op, *rates, queued) : Array()});
  }
  const int64_t block_steps = steps_of_block(batch_size, optimizer);
  if (block_steps > 1) layers_[0]->reserve_block(block_steps * batch_size, dtype_, device_);
  const int64_t steps = (n + batch_size - 1) / batch_size;
  const Array rate = rates ? checked_rates(op, *rates, steps) : Array();
  StepsResult result;
  result.losses = Array::empty({steps}, DType::float64, device_);
  result.weight = Array::empty({steps}, DType::float64, device_);
  const auto step = [&](const Minibatch& batch, int64_t i) {
    const bool with_norms = norms && i == steps - 1;
    if (rates) optimizer.lr = rate.as<double>()[i];
    const LossValue loss =
        learn(batch, optimizer, with_norms ? std::max(keep, Keep::one) : keep, with_norms ? &result.norms : nullptr);
    result.losses.as<double>()[i] = loss.value;
    result.weight.as<double>()[i] = loss.weight;
    result.errors += loss.errors;
    result.finite = std::isfinite(loss.value);
  };
  // Blocks of steps; the one whose gradients are looked at stands alone.
  int64_t i = 0;
  while (i < steps && result.finite) {
    const int64_t first = i, end = std::min(first + block_steps, norms ? std::max(steps - 1, first + 1) : steps);
    const int64_t start = first * batch_size, rows = std::min(end * batch_size, n) - start;
    const Minibatch block = minibatch(samples, indices, start, rows);
    if (end - first == 1) {
      step(block, i++);
      continue;
    }
    Layer& lowest = *layers_[0];
    const Pass pass = pass_of(rows, true);
    lowest.begin_block(pass, block.x);
    for (; i < end && result.finite; ++i) {
      const int64_t at = (i - first) * batch_size;
      step(rows_of(block, at, std::min(batch_size, rows - at), dtype_, inputs_, outputs()), i);
    }
    lowest.end_block(pass);
  }
  result.losses = result.losses.sliced(0, 0, i, 1);
  result.weight = result.weight.sliced(0, 0, i, 1);
  return result;
}

int64_t Network::block_steps(int64_t batch_size, const OptimizerSettings& optimizer) const {
  std::lock_guard lock(mutex_);
  require_trainable("block_steps");
  check<ValueError>(batch_size >= 1, "block_steps: batch_size is ", batch_size, "; wanted at least 1");
  return steps_of_block(batch_size, optimizer);
}

// The lowest layer alone knows its inputs beforehand, unless something random stands below it.
int64_t Network::steps_of_block(int64_t batch_size, const OptimizerSettings& optimizer) const {
  if (!device_.host_accessible) return 1;
  const bool plain = optimizer.kind == Optimizer::sgd && optimizer.weight_decay == 0.0 && optimizer.clip_norm == 0.0;
  return plain && !masked_ && lowest_ == 0 ? layers_[0]->block_steps(batch_size) : 1;
}

double Network::train_step(const Array& x, const Array& y, const OptimizerSettings& optimizer,
                           const std::optional<Array>& sample_weight) {
  const char* op = "train_step";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  optimizer.validate(op);
  const Samples samples(spec(op, false), x, y, sample_weight);
  check<ValueError>(samples.rows() >= 1, op, ": x has no rows");
  const Keep keep = reserve_for_training(samples.rows(), optimizer, false);
  if (!device_.host_accessible) {
    const StepsResult result =
        train_queued({samples, Array(), samples.rows(), samples.rows(), optimizer, keep, false, Array()});
    return result.losses.as<double>()[0];
  }
  return learn(minibatch(samples, Array(), 0, samples.rows()), optimizer, keep, nullptr).value;
}

Network::Keep Network::reserve_for_training(int64_t rows, const OptimizerSettings& optimizer, bool norms) {
  // On the CPU one gradient is still in its cache when it is used; elsewhere all of them make one launch of `step`.
  const Keep whole = device_.host_accessible && optimizer.clip_norm == 0.0 ? Keep::one : Keep::all;
  const Keep keep = optimizer.fits_epilogue() && !masked_ ? Keep::none : whole;
  reserve(rows);
  reserve_slots(optimizer.slots());
  apply_masks();
  reserve_gradients(norms ? std::max(keep, Keep::one) : keep);
  return keep;
}

// Forward, loss, and from the top down: dx by the weights as they are, then the weights' update.
Network::LossValue Network::learn(const Minibatch& batch, const OptimizerSettings& optimizer, Keep keep,
                                  std::vector<double>* norms) {
  const Pass pass = pass_of(batch.rows, true);
  const void* y = forward(pass, batch.x);
  const LossValue loss = loss_of(pass, batch, y, true, dy_[0].data());
  if (!std::isfinite(loss.value)) return loss;

  ++step_;
  if (slot_count_ == 2) ++*slot_updates_.as<int64_t>();
  descend(pass, optimizer, keep, norms);
  return loss;
}

// From dy_[0] down: the gradients, and every parameter's update.
void Network::descend(const Pass& pass, const OptimizerSettings& optimizer, Keep keep, std::vector<double>* norms) {
  const Descent descent{optimizer.lr, optimizer.momentum, optimizer.weight_decay,
                        optimizer.kind == Optimizer::nesterov};
  Gradient gradient{dy_[0].data(), false};
  due_.clear();
  for (size_t l = layers_.size(); l-- > lowest_;) {
    void* dx = gradient.data == dy_[0].data() ? dy_[1].data() : dy_[0].data();
    Layer& layer = *layers_[l];
    void* wanted = l > lowest_ ? dx : nullptr;
    if (keep == Keep::none) gradient = layer.backward_and_descend(pass, gradient, wanted, fusion_below(l), descent);
    else gradient = layer.backward(pass, gradient, wanted, fusion_below(l));
    if (layer.weight() == nullptr) continue;
    if (keep != Keep::none) {
      layer.weight_gradient(pass);
      if (masked_) apply_mask(*layer.weight(), layer.weight()->gradient);
    }
    if (norms) norms->insert(norms->begin(), norm(layer.weight()->gradient));
    if (keep != Keep::none) add_due(*layer.weight());
    if (layer.bias()) add_due(*layer.bias());
    if (keep == Keep::one) update_due(pass, optimizer, 1.0);  // the next weight gradient takes this one's place
  }
  update_due(pass, optimizer, optimizer.clip_norm > 0.0 ? clipped(pass, optimizer) : 1.0);
}

// What the gradients of all parameters are to be scaled by; a device that queues its work keeps that to itself.
double Network::clipped(const Pass& pass, const OptimizerSettings& optimizer) const {
  const double most = optimizer.clip_norm;
  if (pass.state != nullptr) {
    const auto count = static_cast<int64_t>(due_.size());
    pass.kernels.clip({dtype_, count, due_.data(), most, const_cast<StepState*>(pass.state)});
    return 1.0;
  }
  double squares = 0.0;
  for (const Parameter* parameter : parameters_) squares += std::pow(norm(parameter->gradient), 2);
  const double whole = std::sqrt(squares);
  return whole > most ? most / whole : 1.0;
}

Pass Network::pass_of(int64_t rows, bool training) const {
  return {device_.kernels(), dtype_, precision_, rows, training, seed_, step_};
}

// x[B,I] -> outputs of the last layer [B,O]
const void* Network::forward(const Pass& pass, const void* x) {
  for (const auto& layer : layers_) x = layer->forward(pass, x);
  return x;
}

// y[B,O] -> the sum of w_i l(y_i, t_i) or its mean, its gradient dy[B,O] unless null, the weights' sum and the wrong
// rows
Network::LossValue Network::loss_of(const Pass& pass, const Minibatch& batch, const void* y, bool mean,
                                    void* dy) const {
  if (!device_.host_accessible) return loss_queued(pass, batch, y, mean, dy);
  LossValue result{};
  pass.kernels.loss({loss_, dtype_, batch.rows, outputs(), y, batch.labels, batch.targets, batch.weights, 1.0, mean, dy,
                     &result.value, &result.weight, &result.errors});
  return result;
}

std::optional<Fusion> Network::fusion_below(size_t layer) const {
  return layer > 0 ? layers_[layer - 1]->fusion() : std::nullopt;
}

void Network::add_due(const Parameter& p) {
  due_.push_back({p.value.size(), p.value.data(), p.gradient.data(), p.m.data(), p.v.data(), p.decays});
}

void Network::update_due(const Pass& pass, const OptimizerSettings& o, double gradient_scale) {
  if (due_.empty()) return;
  pass.kernels.step({o.kind, dtype_, static_cast<int64_t>(due_.size()), due_.data(), o.lr, o.momentum, o.beta1, o.beta2,
                     o.eps, o.weight_decay, gradient_scale, *slot_updates_.as<int64_t>(), pass.state});
  due_.clear();
}

double Network::norm(const Array& gradient) const {
  const Array squares = Array::empty({}, dtype_, device_);
  device_.kernels().reduce({Reduction::sum_squares, dtype_, 1, gradient.size(), 1, gradient.data(), squares.data()});
  const Array here = squares.on(cpu_device());
  return std::sqrt(dtype_ == DType::float32 ? *here.as<float>() : *here.as<double>());
}

SampleSpec Network::spec(const char* op, bool validated) const {
  return {op, inputs_, outputs(), dtype_, device_, validated, loss_ == Loss::squared_error};
}

Minibatch Network::minibatch(const Samples& samples, const Array& order, int64_t start, int64_t rows) {
  return buffer_.cut(samples, order, start, rows, dtype_, shift_, scale_);
}

std::pair<double, int64_t> Network::evaluate(const Array& x, const Array& y, int64_t batch_size,
                                             const std::optional<Array>& sample_weight, bool validated) {
  const char* op = "evaluate";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  const Samples samples(spec(op, validated), x, y, sample_weight);
  check<ValueError>(samples.rows() >= 1, op, ": x has no rows");
  check<ValueError>(batch_size >= 1, op, ": batch_size is ", batch_size, "; wanted at least 1");
  batch_size = std::min(batch_size, samples.rows());
  reserve(batch_size);

  if (!device_.host_accessible) return evaluate_queued(samples, batch_size);
  double weighted = 0.0, weight = 0.0;
  int64_t errors = 0;
  for (int64_t start = 0; start < samples.rows(); start += batch_size) {
    const Minibatch batch = minibatch(samples, Array(), start, std::min(batch_size, samples.rows() - start));
    const Pass pass = pass_of(batch.rows, false);
    const LossValue loss = loss_of(pass, batch, forward(pass, batch.x), false, nullptr);
    weighted += loss.value;
    weight += loss.weight;
    errors += loss.errors;
  }
  return {weight > 0.0 ? weighted / weight : 0.0, errors};
}

}  // namespace deltarule
