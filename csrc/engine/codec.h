// Codec: one dense layer that learns by itself to give its inputs back, and the way back that it needs for it.
//
//   h = f(x w + b)      x' = g(h v + c)      x[B,I] w[I,H] b[H] v[H,I] c[I]; v may be w transposed
//
// Contrastive divergence (Hinton 2002) takes it as a restricted Boltzmann machine: f and g are sigmoid, v is w
// transposed. Back-propagation (Vincent et al. 2008: of x with a part of it set to 0) takes it as an auto-encoder.
//
// Memory   the rows a minibatch meets lie in pairs, one above the other: the sum or difference of the two terms of w's
//          gradient is then one product over 2B rows, whose epilogue updates w.
// Threads  calls on one codec from several threads take turns.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/network.h"

namespace deltarule {

class Codec {
 public:
  // Arrays on one device, changed in place by the steps; without v it is w transposed. `index`: of the random streams.
  Codec(const Array& w, const Array& b, const Array& c, const std::optional<Array>& v, const std::string& precision,
        uint64_t seed, int64_t index);

  // x -> (x - shift) * scale, [I] each, before anything else.
  void set_input_transform(const std::optional<Array>& shift, const std::optional<Array>& scale);

  // Number of updates made: names the random streams, and Adam's t.
  int64_t step() const { return step_; }
  void set_step(int64_t step);
  // The optimiser's, "m.0", "v.0", ... in the order w, b, c, v. Views.
  std::map<std::string, Array> slots() const;
  void set_slots(const std::map<std::string, Array>& slots);

  // One step for every `batch_size` rows of x[N,I] in the order of order[n]; the last one has what is left. Losses are
  // means over the minibatch, before its update. One that is not finite ends the call without that update.
  //   contrastive divergence   1/2 |x' - x|^2 of the chain's last x', its `gibbs_steps`-th
  //   auto-encoder             `loss` of x', with g linear where that takes logits, against x
  StepsResult divergence_steps(const Array& x, const Array& order, int64_t batch_size,
                               const OptimizerSettings& optimizer, int64_t gibbs_steps, bool validated);
  StepsResult autoencoder_steps(const Array& x, const Array& order, int64_t batch_size,
                                const OptimizerSettings& optimizer, const std::string& activation,
                                std::optional<double> slope, const std::string& output, const std::string& loss,
                                double corruption, bool validated);

 private:
  enum Place { kW, kB, kC, kV, kPlaces };  // in parameters_
  struct Step;
  struct Ledger;
  struct Autoencoder {
    Activation f, g;
    double slope;
    Loss loss;
    double corruption;
    Array lost;  // 0-d: corruption
  };
  struct Product {
    Place weights;
    bool transposed;  // the weights
    Place bias;
    Activation activation;
    double slope;
    void* z;  // null: nobody wants it
  };

  StepsResult run(const char* op, const Array& x, const Array& order, int64_t batch_size,
                  const OptimizerSettings& optimizer, bool validated, const std::function<void(const Step&)>& learn);
  void diverge(const Step& step, int64_t gibbs_steps);
  void imitate(const Step& step, const Autoencoder& kind);

  void gather(const Step& step, void* x) const;
  void activate(const Step& step, const Product& product, const void* x, void* y) const;
  void propagate(const Step& step, const Product& product, const void* dy, const void* h, void* dh) const;
  void sample(const Step& step, int64_t gibbs_step, const void* p, void* h) const;
  void corrupt(const Step& step, const Autoencoder& kind, const void* x, void* y) const;
  void take_loss(const Step& step, Loss loss, const void* y, const void* targets, void* dy) const;
  void sum_rows(const Step& step, const void* x, int64_t rows, Place bias) const;
  void descend(const Step& step, Place weights, const void* a, const void* d, int64_t rows, double alpha);
  void update(const Step& step, std::initializer_list<Place> places) const;

  void reserve(int64_t rows, const OptimizerSettings& optimizer);
  void reserve_slots(int count);
  Device& device() const { return parameters_[kW].value.device(); }
  DType dtype() const { return parameters_[kW].value.dtype(); }
  int64_t inputs() const { return parameters_[kW].value.shape()[0]; }
  int64_t units() const { return parameters_[kW].value.shape()[1]; }

  mutable std::mutex mutex_;
  std::vector<Parameter> parameters_;
  Precision precision_;
  uint64_t seed_;
  int64_t index_;
  Array shift_, scale_;

  int64_t step_ = 0;
  int slot_count_ = 0;
  int64_t capacity_ = 0;                // rows
  Array visible_, hidden_;              // [2B,I], [2B,H]: pairs
  Array clean_, output_, z_output_;     // [B,I]
  Array sampled_, uniform_, z_hidden_;  // [B,H]
};

}  // namespace deltarule
