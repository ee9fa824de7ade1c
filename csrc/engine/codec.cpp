#include "engine/codec.h"

#include <algorithm>
#include <cmath>

#include "engine/ops.h"
#include "engine/streams.h"

namespace deltarule {

// What one minibatch's step is made with.
struct Codec::Step {
  const Kernels& kernels;
  const Samples& samples;
  const OptimizerSettings& optimizer;
  int64_t rows;
  int64_t number;        // updates made before it
  const int64_t* index;  // [B] rows of the samples
  const void* inverse;   // 0-d: 1 / rows
  double* value;         // where the loss goes,...
  double* weight;        // ...the number of rows...
  int64_t* errors;       // ...and what nobody asks for
  StepState* state;      // of a device that queues its work, else null

  bool ruined() const { return state == nullptr && !std::isfinite(*value); }
};

Codec::Codec(const Array& w, const Array& b, const Array& c, const std::optional<Array>& v,
             const std::string& precision, uint64_t seed, int64_t index)
    : precision_(find_name<Precision>("Codec: precision", precision, kPrecisions)), seed_(seed), index_(index) {
  check<TypeError>(is_floating(w.dtype()), "Codec: w is ", name_of(w.dtype()), "; wanted float32 or float64");
  check<ValueError>(w.rank() == 2 && w.size() > 0, "Codec: w is ", w.shape(), "; wanted (inputs, units)");
  check<ValueError>(index >= 0 && index < kCodecs, "Codec: index is ", index, "; wanted 0 to ", kCodecs - 1);
  const auto add = [&](const char* name, const Array& array, const Shape& shape, bool decays) {
    check<ValueError>(array.shape() == shape, "Codec: ", name, " is ", array.shape(), "; wanted ", shape);
    check<TypeError>(array.dtype() == w.dtype(), "Codec: ", name, " is ", name_of(array.dtype()), ", w is ",
                     name_of(w.dtype()));
    check<DeviceError>(&array.device() == &w.device(), "Codec: ", name, " is on ", array.device().name, ", w is on ",
                       w.device().name);
    check<ValueError>(array.writable() && array.is_contiguous(), "Codec: ", name,
                      " is read-only or not contiguous; it is changed in place");
    parameters_.push_back({array, {}, {}, {}, decays});
  };
  add("w", w, w.shape(), true);
  add("b", b, {w.shape()[1]}, false);
  add("c", c, {w.shape()[0]}, false);
  if (v) add("v", *v, {w.shape()[1], w.shape()[0]}, true);
}

void Codec::set_input_transform(const std::optional<Array>& shift, const std::optional<Array>& scale) {
  std::lock_guard lock(mutex_);
  const bool none = !shift && !scale;
  const Array minus = none ? Array() : transform_row("shift", shift, 0.0, inputs(), dtype(), device());
  scale_ = none ? Array() : transform_row("scale", scale, 1.0, inputs(), dtype(), device());
  shift_ = minus;
}

void Codec::set_step(int64_t step) {
  check<ValueError>(step >= 0, "step: ", step, " is negative; wanted a number of updates");
  std::lock_guard lock(mutex_);
  step_ = step;
}

std::map<std::string, Array> Codec::slots() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, Array> slots;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (slot_count_ >= 1) slots["m." + std::to_string(i)] = parameters_[i].m;
    if (slot_count_ >= 2) slots["v." + std::to_string(i)] = parameters_[i].v;
  }
  return slots;
}

void Codec::set_slots(const std::map<std::string, Array>& slots) {
  std::lock_guard lock(mutex_);
  const int count = slots.empty() ? 0 : slots.count("v.0") ? 2 : 1;
  std::map<std::string, Shape> wanted;
  for (size_t i = 0; i < parameters_.size(); ++i)
    for (int slot = 0; slot < count; ++slot)
      wanted[(slot ? "v." : "m.") + std::to_string(i)] = parameters_[i].value.shape();
  for (const auto& [name, shape] : wanted) {
    check<ValueError>(slots.count(name) > 0, "set_slots: '", name, "' is missing");
    check<ValueError>(slots.at(name).shape() == shape, "set_slots: '", name, "' is ", slots.at(name).shape(),
                      "; its parameter is ", shape);
  }
  check<ValueError>(slots.size() == wanted.size(), "set_slots: ", slots.size(), " slots came; wanted ", wanted.size());
  slot_count_ = -1;  // none of the old ones stay
  reserve_slots(count);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (count >= 1) assign("set_slots", parameters_[i].m, slots.at("m." + std::to_string(i)));
    if (count >= 2) assign("set_slots", parameters_[i].v, slots.at("v." + std::to_string(i)));
  }
}

void Codec::reserve_slots(int count) {
  if (count == slot_count_) return;
  for (Parameter& parameter : parameters_) {
    const Shape& shape = parameter.value.shape();
    parameter.m = count >= 1 ? Array::zeros(shape, dtype(), device()) : Array();
    parameter.v = count >= 2 ? Array::zeros(shape, dtype(), device()) : Array();
  }
  slot_count_ = count;
}

void Codec::reserve(int64_t rows, const OptimizerSettings& optimizer) {
  reserve_slots(optimizer.slots());
  for (Parameter& parameter : parameters_)  // w's and v's only where gemm cannot update in place
    if (parameter.gradient.data() == nullptr && !(parameter.decays && optimizer.fits_epilogue()))
      parameter.gradient = Array::empty(parameter.value.shape(), dtype(), device());
  if (rows <= capacity_) return;
  for (Array* pair : {&visible_, &hidden_})
    *pair = Array::empty({2 * rows, pair == &visible_ ? inputs() : units()}, dtype(), device());
  for (Array* buffer : {&clean_, &output_, &z_output_}) *buffer = Array::empty({rows, inputs()}, dtype(), device());
  for (Array* buffer : {&sampled_, &uniform_, &z_hidden_}) *buffer = Array::empty({rows, units()}, dtype(), device());
  capacity_ = rows;
}

StepsResult Codec::divergence_steps(const Array& x, const Array& order, int64_t batch_size,
                                    const OptimizerSettings& optimizer, int64_t gibbs_steps, bool validated) {
  const char* op = "divergence_steps";
  check<ValueError>(gibbs_steps >= 1 && gibbs_steps < kGibbsSteps, op, ": gibbs_steps is ", gibbs_steps,
                    "; wanted 1 to ", kGibbsSteps - 1);
  check<ValueError>(parameters_.size() == 3, op, ": the codec has v of its own; wanted w transposed");
  return run(op, x, order, batch_size, optimizer, validated, [&](const Step& step) { diverge(step, gibbs_steps); });
}

StepsResult Codec::autoencoder_steps(const Array& x, const Array& order, int64_t batch_size,
                                     const OptimizerSettings& optimizer, const std::string& activation,
                                     std::optional<double> slope, const std::string& output, const std::string& loss,
                                     double corruption, bool validated) {
  const char* op = "autoencoder_steps";
  Autoencoder kind{find_name<Activation>("autoencoder_steps: activation", activation, kActivations),
                   find_name<Activation>("autoencoder_steps: output", output, kActivations),
                   0.0,
                   find_name<Loss>("autoencoder_steps: loss", loss, kLosses),
                   corruption,
                   {}};
  kind.slope = slope.value_or(kActivations[static_cast<int>(kind.f)].default_slope);
  check<ValueError>(corruption >= 0.0 && corruption < 1.0, op, ": corruption is ", corruption,
                    "; wanted a number in [0, 1)");
  check<ValueError>(kind.loss == Loss::squared_error || kind.g == Activation::linear, op, ": output is '", output,
                    "'; ", loss, " takes logits: wanted 'linear'");
  kind.lost = number(corruption, dtype(), device());
  return run(op, x, order, batch_size, optimizer, validated, [&](const Step& step) { imitate(step, kind); });
}

// Where the steps of a call leave their losses; and on a device that queues its work, where it finds what they need.
struct Codec::Ledger {
  Ledger(int64_t steps, double lr, int64_t updates, Device& device)
      : values(Array::empty({steps}, DType::float64, device)),
        weights(Array::empty({steps}, DType::float64, device)),
        errors(Array::zeros({1}, DType::int64, device)) {
    if (device.host_accessible) return;
    rates = full({steps}, lr, DType::float64, device);
    const Array here = Array::empty({static_cast<int64_t>(sizeof(StepState))}, DType::uint8, cpu_device());
    *here.as<StepState>() = {0, 0, updates, updates + 1, 0, lr, 1.0};
    state = here.on(device);
  }

  StepsResult read(int64_t done, bool finite) const {
    StepsResult result;
    result.finite = finite;
    if (state.data()) {
      const Array here = state.on(cpu_device());
      result.finite = here.as<StepState>()->stopped == 0;
      done = here.as<StepState>()->slot + (result.finite ? 0 : 1);
    }
    result.losses = values.on(cpu_device()).sliced(0, 0, done, 1);
    result.weight = weights.on(cpu_device()).sliced(0, 0, done, 1);
    return result;
  }

  Array values, weights, errors;  // [steps] float64, [1] int64
  Array rates, state;             // [steps] float64, StepState; or empty
};

StepsResult Codec::run(const char* op, const Array& x, const Array& order, int64_t batch_size,
                       const OptimizerSettings& optimizer, bool validated,
                       const std::function<void(const Step&)>& learn) {
  std::lock_guard lock(mutex_);
  optimizer.validate(op);
  check<ValueError>(optimizer.clip_norm == 0.0, op, ": the optimizer's clip_norm is ", optimizer.clip_norm,
                    "; wanted 0: no clipping here");
  const Samples samples({op, inputs(), units(), dtype(), device(), validated}, x, std::nullopt, std::nullopt);
  const Array indices = checked_order(op, order, samples.rows(), device());
  const int64_t n = indices.size();
  check<ValueError>(batch_size >= 1 && batch_size <= n, op, ": batch_size is ", batch_size, "; wanted 1 to ", n,
                    ", the number of samples");
  reserve(batch_size, optimizer);

  const int64_t steps = (n + batch_size - 1) / batch_size, left = n - (steps - 1) * batch_size;
  const Array inverse = number(1.0 / static_cast<double>(batch_size), dtype(), device());
  const Array last_inverse = number(1.0 / static_cast<double>(left), dtype(), device());
  const Ledger ledger(steps, optimizer.lr, step_, device());
  const Kernels& kernels = device().kernels();
  int64_t done = 0;
  bool finite = true;
  while (done < steps && finite) {
    const bool last = done == steps - 1;
    const int64_t at = ledger.state.data() ? 0 : done;  // a state says itself which value
    const Step step{kernels,
                    samples,
                    optimizer,
                    last ? left : batch_size,
                    step_ + done,
                    indices.as<int64_t>() + done * batch_size,
                    last ? last_inverse.data() : inverse.data(),
                    ledger.values.as<double>() + at,
                    ledger.weights.as<double>() + at,
                    ledger.errors.as<int64_t>(),
                    ledger.state.as<StepState>()};
    learn(step);
    if (step.state) kernels.advance({step.state, step.rows, ledger.rates.as<double>(), steps});
    finite = !step.ruined();
    ++done;
  }
  const StepsResult result = ledger.read(done, finite);
  step_ += result.losses.size() - (result.finite ? 0 : 1);
  return result;
}

// Rows x0 of the data start the chain: h0 = sigmoid(x0 w + b), and k times h ~ h', x' = sigmoid(h w^T + c),
// h' = sigmoid(x' w + b). Then the gradient of w is (x'^T h' - x0^T h0) / B.
// Pairs: [x0; x'] and [-h0; h'].
void Codec::diverge(const Step& step, int64_t gibbs_steps) {
  char* const x0 = visible_.as<char>();
  char* const h0 = hidden_.as<char>();
  char* const x1 = x0 + step.rows * inputs() * size_of(dtype());
  char* const h1 = h0 + step.rows * units() * size_of(dtype());
  const Product up{kW, false, kB, Activation::sigmoid, 0.0, nullptr};
  const Product down{kW, true, kC, Activation::sigmoid, 0.0, nullptr};

  gather(step, x0);
  activate(step, up, x0, h0);
  for (int64_t k = 0; k < gibbs_steps; ++k) {
    sample(step, k, k == 0 ? h0 : h1, sampled_.data());
    activate(step, down, sampled_.data(), x1);
    activate(step, up, x1, h1);
  }
  take_loss(step, Loss::squared_error, x1, x0, output_.data());
  if (step.ruined()) return;

  sum_rows(step, output_.data(), step.rows, kC);  // (x' - x0) / B, summed
  const int64_t hidden = step.rows * units();
  step.kernels.unary({Unary::negative, dtype(), 1, {hidden}, h0, {1}, h0, {1}});
  sum_rows(step, h0, 2 * step.rows, kB);
  void* const db = parameters_[kB].gradient.data();
  step.kernels.binary({Binary::multiply, dtype(), 1, {units()}, db, {1}, step.inverse, {0}, db, {1}});
  descend(step, kW, x0, h0, 2 * step.rows, 1.0 / static_cast<double>(step.rows));
  update(step, {kB, kC});
}

// xc: x with a part of it set to 0. h = f(xc w + b), y = g(h v + c); from there down dy and dh, with respect to what
// went into g and f. The gradient of w is xc^T dh, of v h^T dy; where v is w^T that of w is xc^T dh + dy^T h.
// Pairs: [xc; dy] and [dh; h].
void Codec::imitate(const Step& step, const Autoencoder& kind) {
  const bool tied = parameters_.size() == 3;
  const int64_t visible = step.rows * inputs(), hidden = step.rows * units(), size = size_of(dtype());
  char* const xc = visible_.as<char>();
  char* const dy = xc + visible * size;
  char* const dh = hidden_.as<char>();
  char* const h = dh + hidden * size;
  void* const zh = needs_input(kind.f) ? z_hidden_.data() : nullptr;
  void* const zy = needs_input(kind.g) ? z_output_.data() : nullptr;
  const double slope = kActivations[static_cast<int>(kind.g)].default_slope;

  void* const x = kind.corruption > 0.0 ? clean_.data() : xc;
  gather(step, x);
  if (kind.corruption > 0.0) corrupt(step, kind, x, xc);
  activate(step, {kW, false, kB, kind.f, kind.slope, zh}, xc, h);
  activate(step, {tied ? kW : kV, tied, kC, kind.g, slope, zy}, h, output_.data());
  take_loss(step, kind.loss, output_.data(), x, dy);
  if (step.ruined()) return;

  if (kind.g != Activation::linear)
    step.kernels.activate_grad({kind.g, dtype(), slope, visible, dy, zy, output_.data(), dy});
  sum_rows(step, dy, step.rows, kC);

  propagate(step, {tied ? kW : kV, !tied, kB, kind.f, kind.slope, zh}, dy, h, dh);
  descend(step, kW, xc, dh, tied ? 2 * step.rows : step.rows, 1.0);
  if (!tied) descend(step, kV, h, dy, step.rows, 1.0);
  update(step, {kB, kC});
}

// The minibatch's rows into x[B,I], converted and standardised.
void Codec::gather(const Step& step, void* x) const {
  const Array& source = step.samples.x();
  const int64_t ld = source.shape()[0] > 1 ? source.strides()[0] : inputs();
  step.kernels.gather_rows(
      {source.dtype(), dtype(), step.rows, inputs(), source.data(), ld, step.index, shift_.data(), scale_.data(), x});
}

// y = f(x w + b), or by the weights transposed
void Codec::activate(const Step& step, const Product& product, const void* x, void* y) const {
  const Array& w = parameters_[product.weights].value;
  GemmArgs args;
  args.dtype = dtype(), args.precision = precision_;
  args.trans_b = product.transposed;
  args.M = step.rows, args.K = w.shape()[product.transposed ? 1 : 0], args.N = w.shape()[product.transposed ? 0 : 1];
  args.A = x, args.lda = args.K;
  args.B = w.data(), args.ldb = w.shape()[1];
  args.C = y, args.ldc = args.N;
  args.epilogue = Epilogue::bias_act;
  args.activation = product.activation, args.slope = product.slope;
  args.bias = parameters_[product.bias].value.data();
  args.z = product.z, args.ldz = args.N;
  step.kernels.gemm(args);
}

// dh[B,H] = dy[B,I] w[I,H] f'(z, h), or by the weights transposed; and the gradient of the bias of h
void Codec::propagate(const Step& step, const Product& product, const void* dy, const void* h, void* dh) const {
  const Array& w = parameters_[product.weights].value;
  GemmArgs args;
  args.dtype = dtype(), args.precision = precision_;
  args.trans_b = product.transposed;
  args.M = step.rows, args.N = units(), args.K = inputs();
  args.A = dy, args.lda = inputs();
  args.B = w.data(), args.ldb = w.shape()[1];
  args.C = dh, args.ldc = units();
  args.epilogue = Epilogue::backprop;
  args.activation = product.activation, args.slope = product.slope;
  args.z = product.z, args.ldz = units();
  args.y = h, args.ldy = units();
  args.db = parameters_[product.bias].gradient.data();
  step.kernels.gemm(args);
}

// h[B,H] = 1 where u <= p, else 0
void Codec::sample(const Step& step, int64_t gibbs_step, const void* p, void* h) const {
  const int64_t n = step.rows * units();
  const uint64_t stream = gibbs_stream(static_cast<uint64_t>(index_), static_cast<uint64_t>(gibbs_step),
                                       static_cast<uint64_t>(step.number));
  step.kernels.fill_random({Random::uniform, dtype(), n, seed_, stream, 0.0, 1.0, uniform_.data()});
  step.kernels.binary({Binary::subtract, dtype(), 1, {n}, p, {1}, uniform_.data(), {1}, h, {1}});
  step.kernels.activate({Activation::threshold, dtype(), 0.0, n, h, h});
}

// y[B,I] = x, or 0 where u < corruption
void Codec::corrupt(const Step& step, const Autoencoder& kind, const void* x, void* y) const {
  const int64_t n = step.rows * inputs();
  const uint64_t stream = corruption_stream(static_cast<uint64_t>(index_), static_cast<uint64_t>(step.number));
  step.kernels.fill_random({Random::uniform, dtype(), n, seed_, stream, 0.0, 1.0, y});
  step.kernels.binary({Binary::subtract, dtype(), 1, {n}, y, {1}, kind.lost.data(), {0}, y, {1}});
  step.kernels.activate({Activation::threshold, dtype(), 0.0, n, y, y});
  step.kernels.binary({Binary::multiply, dtype(), 1, {n}, x, {1}, y, {1}, y, {1}});
}

// The minibatch's mean loss and its gradient dy[B,I]
void Codec::take_loss(const Step& step, Loss loss, const void* y, const void* targets, void* dy) const {
  step.kernels.loss({loss, dtype(), step.rows, inputs(), y, nullptr, targets, nullptr, 1.0, true, dy, step.value,
                     step.weight, step.errors, step.state});
}

void Codec::sum_rows(const Step& step, const void* x, int64_t rows, Place bias) const {
  const Array& gradient = parameters_[bias].gradient;
  step.kernels.reduce({Reduction::sum, dtype(), 1, rows, gradient.size(), x, gradient.data()});
}

// w by its gradient alpha a^T[M,rows] d[rows,N]
void Codec::descend(const Step& step, Place weights, const void* a, const void* d, int64_t rows, double alpha) {
  const Parameter& parameter = parameters_[weights];
  const OptimizerSettings& o = step.optimizer;
  GemmArgs args;
  args.dtype = dtype(), args.precision = precision_;
  args.trans_a = true;
  args.alpha = alpha;
  args.M = parameter.value.shape()[0], args.N = parameter.value.shape()[1], args.K = rows;
  args.A = a, args.lda = args.M;
  args.B = d, args.ldb = args.N;
  args.ldc = args.N;
  if (!o.fits_epilogue()) {
    args.C = parameter.gradient.data();
    step.kernels.gemm(args);
    return update(step, {weights});
  }
  args.C = parameter.value.data();
  args.epilogue = Epilogue::sgd;
  args.lr = o.lr, args.momentum = o.momentum, args.weight_decay = o.weight_decay;
  args.velocity = parameter.m.data(), args.nesterov = o.kind == Optimizer::nesterov;
  args.state = step.state;
  step.kernels.gemm(args);
}

// Parameters by their gradients, in one call
void Codec::update(const Step& step, std::initializer_list<Place> places) const {
  const OptimizerSettings& o = step.optimizer;
  StepTensor tensors[kPlaces];
  int64_t count = 0;
  for (const Place place : places) {
    const Parameter& p = parameters_[place];
    tensors[count++] = {p.value.size(), p.value.data(), p.gradient.data(), p.m.data(), p.v.data(), p.decays};
  }
  step.kernels.step({o.kind, dtype(), count, tensors, o.lr, o.momentum, o.beta1, o.beta2, o.eps, o.weight_decay, 1.0,
                     step.number + 1, step.state});
}

}  // namespace deltarule
