// Network: a stack of layers, a loss, and everything training keeps between steps.
//
// Memory   weights, the optimiser's slots, activations and two gradients of the largest minibatch seen, and, for
//          optimisers that need it whole, a weight gradient, or all of them for clipping and on devices that queue
//          their work. Planned at the start of a call; a step allocates nothing.
// Threads  calls on one network from several threads take turns.
// Files    network.cpp trains and evaluates, network_inside.cpp shows what passes through the layers, network_state.cpp
//          keeps, network_masks.cpp prunes, network_queued.cpp trains on devices that queue their work.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/layer.h"
#include "engine/optimizer.h"
#include "engine/samples.h"

namespace deltarule {

struct StepsResult {
  Array losses;  // [steps] float64; the last one is not finite if that stopped the call
  Array weight;  // [steps] float64, sum of the sample weights of each minibatch
  int64_t errors = 0;
  bool finite = true;
  std::vector<double> norms;  // per layer with weights, where asked for and finite
};

// Loss, gradients in parameters() order, dx[N,I].
using Gradients = std::tuple<double, std::vector<Array>, Array>;

class Network {
 public:
  Network(int64_t inputs, const std::string& loss, const std::string& dtype, const std::string& precision,
          const std::string& device, uint64_t seed);

  // No slope: the activation's default.
  void add_dense(int64_t units, const std::string& activation, std::optional<double> slope, bool bias);
  void add_dropout(double rate);

  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return layers_.empty() ? inputs_ : layers_.back()->outputs(); }
  const char* loss() const { return kLosses[static_cast<int>(loss_)]; }
  const char* dtype() const { return name_of(dtype_); }
  const char* precision() const { return kPrecisions[static_cast<int>(precision_)]; }
  const std::string& device() const { return device_.name; }
  uint64_t seed() const { return seed_; }

  // Number of updates made: names dropout's masks and is Adam's t (unless set_slots gave another).
  int64_t step() const { return step_; }
  void set_step(int64_t step);

  // Weights [I,O] and biases [O] in layer order; views.
  std::vector<Array> parameters() const;
  // "m.0", "v.0", ... (index as in parameters()), and "t" [1] int64, Adam's number of updates. Views.
  std::map<std::string, Array> slots() const;
  void set_slots(const std::map<std::string, Array>& slots);

  // By the weights' index in parameters(): true, or not 0, where a weight lives; the others are 0 and stay it.
  std::map<int64_t, Array> masks() const;
  void set_masks(const std::map<int64_t, Array>& masks);

  // x -> (x - shift) * scale, [I] each, before the first layer.
  void set_input_transform(const std::optional<Array>& shift, const std::optional<Array>& scale);

  // Looks at every value once, for calls that then say `validated`. `op` begins the message of what is thrown.
  void check_samples(const std::string& op, const Array& x, const Array& y,
                     const std::optional<Array>& sample_weight) const;
  // The whole of x as one minibatch: its loss before the update, not finite if there was none.
  double train_step(const Array& x, const Array& y, const OptimizerSettings& optimizer,
                    const std::optional<Array>& sample_weight);
  // rates: the learning rate of every step; without them it is the optimizer's. Plain gradient descent may take steps
  // in blocks, `block_steps` of them from the first on, which rounds otherwise than step by step.
  StepsResult train_steps(const Array& x, const Array& y, const std::optional<Array>& order, int64_t batch_size,
                          OptimizerSettings optimizer, const std::optional<Array>& sample_weight, bool norms,
                          bool validated, const std::optional<Array>& rates);
  int64_t block_steps(int64_t batch_size, const OptimizerSettings& optimizer) const;
  std::pair<double, int64_t> evaluate(const Array& x, const Array& y, int64_t batch_size,
                                      const std::optional<Array>& sample_weight, bool validated);
  Array outputs_of(const Array& x, int64_t batch_size, bool validated);
  Gradients gradients(const Array& x, const Array& y, const std::optional<Array>& sample_weight);
  // What passes through the layers with weights, in their order, without dropout: y = f(z) on the way up, and the
  // gradient of the loss with respect to z on the way down, [N,O] each.
  std::vector<Array> activations(const Array& x, int64_t batch_size);
  std::vector<Array> deltas(const Array& x, const Array& y, const std::optional<Array>& sample_weight);

 private:
  // How much of the weight gradients is kept: nothing (gemm updates in place), one layer's at a time, or all.
  enum class Keep { none, one, all };

  struct LossValue {
    double value, weight;
    int64_t errors;
  };

  Pass pass_of(int64_t rows, bool training) const;
  const void* forward(const Pass& pass, const void* x);
  LossValue loss_of(const Pass& pass, const Minibatch& batch, const void* y, bool mean, void* dy) const;
  Keep reserve_for_training(int64_t rows, const OptimizerSettings& optimizer, bool norms);
  LossValue learn(const Minibatch& batch, const OptimizerSettings& optimizer, Keep keep, std::vector<double>* norms);
  template <typename Visit> void backpropagate(const Pass& pass, void* bottom, const Visit& visit);
  void descend(const Pass& pass, const OptimizerSettings& optimizer, Keep keep, std::vector<double>* norms);

  // On a device that queues its work.
  struct Queued {
    const Samples& samples;
    const Array& order;
    int64_t n, batch_size;
    const OptimizerSettings& optimizer;
    Keep keep;
    bool norms;
    Array rates;  // [steps], or empty: the optimizer's
  };
  struct StepBlock;
  StepsResult train_queued(const Queued& call);
  void queue_step(const Queued& call, const StepBlock& block, int64_t rows, std::vector<double>* norms);
  void run_step(const Queued& call, const StepBlock& block, int64_t rows);
  int64_t train_rows(const Queued& call, const StepBlock& block, int64_t rows);
  LossValue loss_queued(const Pass& pass, const Minibatch& batch, const void* y, bool mean, void* dy) const;
  std::pair<double, int64_t> evaluate_queued(const Samples& samples, int64_t batch_size);

  int64_t steps_of_block(int64_t batch_size, const OptimizerSettings& optimizer) const;
  std::optional<Fusion> fusion_below(size_t layer) const;
  void add_due(const Parameter& parameter);
  void update_due(const Pass& pass, const OptimizerSettings& optimizer, double gradient_scale);
  double clipped(const Pass& pass, const OptimizerSettings& optimizer) const;
  double norm(const Array& gradient) const;
  void apply_masks();
  void apply_mask(const Parameter& parameter, const Array& array) const;

  SampleSpec spec(const char* op, bool validated) const;
  Minibatch minibatch(const Samples& samples, const Array& order, int64_t start, int64_t rows);
  void require_trainable(const char* op) const;
  void add(std::unique_ptr<Layer> layer);
  void reserve(int64_t rows);
  void reserve_gradients(Keep keep);
  void reserve_slots(int count);

  mutable std::mutex mutex_;
  int64_t inputs_;
  Loss loss_;
  DType dtype_;
  Precision precision_;
  Device& device_;
  uint64_t seed_;

  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<Parameter*> parameters_;
  size_t lowest_ = 0;  // index of the first layer with weights: no training gradient is wanted below it
  Array shift_, scale_;

  bool masked_ = false;  // some weights are pruned

  int64_t step_ = 0;
  int slot_count_ = -1;  // slots per parameter: 0, 1 (velocity), 2 (moments), or -1: no step has been made
  Array slot_updates_;   // [1] int64: Adam's t

  std::vector<StepTensor> due_;  // parameters whose gradients are there, in a step: the next call of the slot step
  int64_t capacity_ = 0;         // rows the layers and dy_ have room for
  Array dy_[2];                  // gradients on their way down, in turns
  Keep kept_ = Keep::none;
  MinibatchBuffer buffer_;

  // Steps of training as they were recorded, by all that went into them; void once memory has moved.
  struct RecordedStep {
    std::vector<int64_t> key;
    std::shared_ptr<Recording> recording;
  };
  int64_t version_ = 0;  // of the memory planned above
  std::vector<RecordedStep> recorded_;
  Array block_, order_;  // StepBlock's memory; the call's order, at an address of its own
};

// shift or scale [inputs] of set_input_transform, checked, converted and on the device; `otherwise` where none is
// given.
Array transform_row(const char* name, const std::optional<Array>& given, double otherwise, int64_t inputs, DType dtype,
                    Device& device);

}  // namespace deltarule
