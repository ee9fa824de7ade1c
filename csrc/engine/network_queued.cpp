// Network on a device that queues its work: a call's steps run without the host in between.
//
// What differs from step to step (first row, learning rate, random numbers, where the loss goes) is in the device's
// memory, in StepState, and a small kernel moves it on. So every step of one shape is the same work: it is queued call
// by call the first time, recorded the second, and from then on run whole (a CUDA graph). The host waits once, at the
// end of the call, and reads losses, weights and errors. A loss that is not finite sets StepState::stopped, and the
// kernels that change weights leave them alone from then on.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/network.h"
#include "engine/streams.h"

namespace deltarule {

// One piece of memory, so that one copy brings all of it there and another brings it back.
struct Network::StepBlock {
  static constexpr int64_t kHead = 64;  // StepState and errors

  int64_t capacity;  // steps
  char* memory;

  StepState* state() const { return reinterpret_cast<StepState*>(memory); }
  int64_t* errors() const { return reinterpret_cast<int64_t*>(memory + kHead - 8); }
  double* rates() const { return reinterpret_cast<double*>(memory + kHead); }
  double* values() const { return rates() + capacity; }
  double* weights() const { return values() + capacity; }
  int64_t bytes() const { return kHead + 3 * capacity * 8; }
};

namespace {

static_assert(sizeof(StepState) <= 56);

int64_t bits_of(double value) {
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

int64_t bits_of(const void* pointer) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(pointer)); }

// Ends a recording that an exception has cut short.
class RecordingGuard {
 public:
  explicit RecordingGuard(Device& device) : device_(device) { device_.record(device_); }
  RecordingGuard(const RecordingGuard&) = delete;
  ~RecordingGuard() {
    if (!open_) return;
    try {
      device_.recorded(device_);
    } catch (const DeviceError&) {  // the one on its way says what went wrong
    }
  }
  std::shared_ptr<Recording> end() {
    open_ = false;
    return device_.recorded(device_);
  }

 private:
  Device& device_;
  bool open_ = true;
};

}  // namespace

StepsResult Network::train_queued(const Queued& given) {
  const int64_t steps = (given.n + given.batch_size - 1) / given.batch_size;
  if (block_.data() == nullptr || block_.size() < StepBlock{steps, nullptr}.bytes()) {
    int64_t capacity = 64;
    while (capacity < steps) capacity *= 2;
    block_ = Array::empty({StepBlock{capacity, nullptr}.bytes()}, DType::uint8, device_);
    ++version_;
  }
  const StepBlock block{(block_.size() - StepBlock::kHead) / 24, block_.as<char>()};
  Array order;
  if (given.order.data()) {  // at an address of its own
    if (order_.data() == nullptr || order_.size() < given.n) {
      order_ = Array::empty({given.n}, DType::int64, device_);
      ++version_;
    }
    assign("train_steps", order_.sliced(0, 0, given.n, 1), given.order);
    order = order_;
  }
  const Queued call{given.samples,   order,      given.n,     given.batch_size,
                    given.optimizer, given.keep, given.norms, given.rates};

  std::vector<char> host(static_cast<size_t>(block.bytes()));
  const StepBlock mirror{block.capacity, host.data()};
  const bool has_rates = call.rates.data() != nullptr;
  *mirror.state() = {0, 0, step_, *slot_updates_.as<int64_t>() + 1, 0, 0.0, 1.0};
  for (int64_t i = 0; i < steps; ++i) mirror.rates()[i] = has_rates ? call.rates.as<double>()[i] : call.optimizer.lr;
  mirror.state()->lr = mirror.rates()[0];
  device_.upload(device_, block.memory, host.data(), StepBlock::kHead + steps * 8);

  StepsResult result;
  const int64_t single = train_rows(call, block, steps - (call.norms ? 1 : 0));
  for (int64_t i = single; i < steps; ++i) {
    const int64_t rows = std::min(call.batch_size, call.n - i * call.batch_size);
    if (call.norms && i == steps - 1) queue_step(call, block, rows, &result.norms);
    else run_step(call, block, rows);
  }

  device_.download(device_, host.data(), block.memory, block.bytes());
  const StepState& state = *mirror.state();
  const int64_t done = state.slot + (state.stopped ? 1 : 0);
  result.losses = Array::empty({done}, DType::float64, cpu_device());
  result.weight = Array::empty({done}, DType::float64, cpu_device());
  std::copy_n(mirror.values(), done, result.losses.as<double>());
  std::copy_n(mirror.weights(), done, result.weight.as<double>());
  std::fill_n(result.weight.as<double>(), std::min(single, done), 1.0);
  result.errors = *mirror.errors();
  result.finite = !state.stopped;
  if (!result.finite) result.norms.clear();
  step_ = state.step;
  if (slot_count_ == 2) *slot_updates_.as<int64_t>() = state.updates - 1;
  return result;
}

// One step, call by call.
void Network::queue_step(const Queued& call, const StepBlock& block, int64_t rows, std::vector<double>* norms) {
  const Minibatch batch = buffer_.cut(call.samples, call.order, 0, rows, dtype_, shift_, scale_, block.state());
  Pass pass = pass_of(rows, true);
  pass.state = block.state();
  const void* y = forward(pass, batch.x);
  pass.kernels.loss({loss_, dtype_, rows, outputs(), y, batch.labels, batch.targets, batch.weights, 1.0, true,
                     dy_[0].data(), block.values(), block.weights(), block.errors(), block.state()});
  descend(pass, call.optimizer, norms ? std::max(call.keep, Keep::one) : call.keep, norms);
  pass.kernels.advance({block.state(), rows, block.rates(), block.capacity});
}

// One step, from its recording once there is one.
void Network::run_step(const Queued& call, const StepBlock& block, int64_t rows) {
  constexpr size_t kKept = 8;
  const OptimizerSettings& o = call.optimizer;
  const Samples& samples = call.samples;
  const auto place = [](const Array& x, std::vector<int64_t>& key) {
    key.push_back(bits_of(x.data()));
    key.push_back(static_cast<int64_t>(x.dtype()));
    key.push_back(x.rank() > 0 ? x.strides()[0] : 0);
  };
  std::vector<int64_t> key = {rows,
                              version_,
                              buffer_.version(),
                              device_.generation(device_),
                              bits_of(call.order.data()),
                              static_cast<int64_t>(o.kind),
                              static_cast<int64_t>(call.keep),
                              bits_of(o.momentum),
                              bits_of(o.beta1),
                              bits_of(o.beta2),
                              bits_of(o.eps),
                              bits_of(o.weight_decay),
                              bits_of(o.clip_norm)};
  for (const Array* x : {&samples.x(), &samples.labels(), &samples.targets(), &samples.weight()}) place(*x, key);

  const auto found = std::ranges::find(recorded_, key, &RecordedStep::key);
  if (found == recorded_.end()) {
    queue_step(call, block, rows, nullptr);  // whatever memory it needs is there from now on
    if (recorded_.size() == kKept) recorded_.erase(recorded_.begin());
    key[1] = version_, key[2] = buffer_.version(), key[3] = device_.generation(device_);
    recorded_.push_back({std::move(key), nullptr});
    return;
  }
  if (!found->recording) {
    RecordingGuard guard(device_);
    queue_step(call, block, rows, nullptr);
    found->recording = guard.end();
  }
  device_.run(device_, *found->recording);
}

// The first `rows` steps of one row each in one call of the slot for it, where it takes this network; how many it did.
int64_t Network::train_rows(const Queued& call, const StepBlock& block, int64_t rows) {
  const Kernels& kernels = device_.kernels();
  const OptimizerSettings& o = call.optimizer;
  if (call.batch_size != 1 || rows < 1 || kernels.train_rows == nullptr || call.samples.weight().data()) return 0;
  if (o.kind != Optimizer::sgd || o.clip_norm > 0.0 || masked_) return 0;
  if (layers_.size() > TrainRowsArgs::kMaxLayers) return 0;
  if (call.samples.targets().data() && call.samples.targets().dtype() != dtype_) return 0;

  TrainRowsArgs args{};
  args.dtype = dtype_, args.precision = precision_, args.loss = loss_;
  for (const auto& layer : layers_) {
    const std::optional<TrainRowsLayer> row_layer = layer->as_row_layer();
    if (!row_layer) return 0;
    args.layer[args.layers++] = *row_layer;
  }
  const Array& x = call.samples.x();
  args.steps = rows;
  args.x = {x.dtype(),
            dtype_,
            1,
            inputs_,
            x.data(),
            x.shape()[0] > 1 ? x.strides()[0] : inputs_,
            static_cast<const int64_t*>(call.order.data()),
            shift_.data(),
            scale_.data(),
            nullptr,
            block.state()};
  args.labels = static_cast<const int64_t*>(call.samples.labels().data());
  args.targets = call.samples.targets().data();
  args.rates = block.rates(), args.known_rates = block.capacity;
  args.weight_decay = o.weight_decay;
  args.value = block.values(), args.errors = block.errors(), args.state = block.state();
  if (!kernels.trains_rows(args)) return 0;
  kernels.train_rows(args);
  return rows;
}

// y[B,O] -> as loss_of, waiting for it.
Network::LossValue Network::loss_queued(const Pass& pass, const Minibatch& batch, const void* y, bool mean,
                                        void* dy) const {
  struct Result {
    double value, weight;
    int64_t errors;
  } result{};
  const Array there = Array::empty({static_cast<int64_t>(sizeof result)}, DType::uint8, device_);
  auto* const out = there.as<Result>();
  pass.kernels.loss({loss_, dtype_, batch.rows, outputs(), y, batch.labels, batch.targets, batch.weights, 1.0, mean, dy,
                     &out->value, &out->weight, &out->errors});
  device_.download(device_, &result, out, sizeof result);
  return {result.value, result.weight, result.errors};
}

// Mean loss and wrong rows over minibatches of this size, waiting once.
std::pair<double, int64_t> Network::evaluate_queued(const Samples& samples, int64_t batch_size) {
  const int64_t batches = (samples.rows() + batch_size - 1) / batch_size;
  const Array results = Array::empty({3, batches}, DType::float64, device_);  // values, weights; errors as int64
  double* const values = results.as<double>();
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t start = i * batch_size;
    const Minibatch batch = minibatch(samples, Array(), start, std::min(batch_size, samples.rows() - start));
    const Pass pass = pass_of(batch.rows, false);
    const void* y = forward(pass, batch.x);
    pass.kernels.loss({loss_, dtype_, batch.rows, outputs(), y, batch.labels, batch.targets, batch.weights, 1.0, false,
                       nullptr, values + i, values + batches + i,
                       reinterpret_cast<int64_t*>(values + 2 * batches + i)});
  }
  const Array here = results.on(cpu_device());
  double weighted = 0.0, weight = 0.0;
  int64_t errors = 0;
  for (int64_t i = 0; i < batches; ++i) {
    weighted += here.as<double>()[i];
    weight += here.as<double>()[batches + i];
    errors += here.as<int64_t>()[2 * batches + i];
  }
  return {weight > 0.0 ? weighted / weight : 0.0, errors};
}

}  // namespace deltarule
