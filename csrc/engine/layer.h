// Layers: what a network is a stack of. B is the minibatch's number of rows, I and O a layer's inputs and outputs.
#pragma once

#include <optional>

#include "engine/array.h"

namespace deltarule {

// What one minibatch's way through the layers has in common.
struct Pass {
  const Kernels& kernels;
  DType dtype;
  Precision precision;
  int64_t rows;
  bool dropout;  // masks are drawn in training only
  uint64_t seed;
  int64_t step;                      // with seed and layer, the masks' stream
  const StepState* state = nullptr;  // of a device that queues its work, in training
};

// A tensor that training changes.
struct Parameter {
  Array value;
  Array gradient;  // of the last minibatch, where somebody needs it whole; may share its memory with other weights'
  Array m, v;      // the optimiser's slots, as far as it has any
  bool decays;     // weight decay is for weights, not for biases
  Array mask{};    // of pruned weights (network_masks.cpp)
};

// What the layer above needs to multiply f'(z) into the dx it hands down, and to sum this layer's bias gradient.
struct Fusion {
  Activation activation;
  double slope;
  const void* z;  // [B,O], or null if f' needs y alone
  const void* y;  // [B,O]
  void* db;       // [O], or null
};

// The gradient of the loss on its way down, at a layer's outputs.
struct Gradient {
  void* data;  // [B,O]
  bool fused;  // with respect to z and not y = f(z): the layer above has used this layer's Fusion
};

// Plain gradient descent in gemm's epilogue; velocity comes with the parameter.
struct Descent {
  double lr, momentum, weight_decay;
  bool nesterov;
};

class Layer {
 public:
  Layer(int64_t inputs, int64_t outputs) : inputs_(inputs), outputs_(outputs) {}
  virtual ~Layer() = default;

  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }

  // Room for minibatches of up to `rows`.
  virtual void reserve(int64_t rows, DType dtype, Device& device) = 0;
  // x[B,I] -> y[B,O]. Both stay as they are until backward has run.
  virtual const void* forward(const Pass& pass, const void* x) = 0;
  // dy[B,O] -> dx[B,I], into `dx` or in place; dx = null: nothing below needs it. Leaves the bias gradient.
  virtual Gradient backward(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below) = 0;

  virtual std::optional<Fusion> fusion() const { return std::nullopt; }
  // As the slot train_rows takes it, where it can.
  virtual std::optional<TrainRowsLayer> as_row_layer() const { return std::nullopt; }

  // Layers without weights have none of these.
  virtual Parameter* weight() { return nullptr; }
  virtual Parameter* bias() { return nullptr; }
  // dz[B,O] of the last backward.
  virtual const void* delta() const { return nullptr; }
  // Blocks: steps of plain descent in a row whose inputs are known beforehand. How many pay at this batch size; 1:
  // none.
  virtual int64_t block_steps(int64_t) const { return 1; }
  virtual void reserve_block(int64_t, DType, Device&) {}
  // x[R,I] -> the inputs of the forward passes up to end_block, one after the other; pass.rows is R. Between the two
  // backward_and_descend leaves the weights alone; end_block makes up for the steps that came.
  virtual void begin_block(const Pass&, const void*) {}
  virtual void end_block(const Pass&) {}
  // After backward: the weight gradient into weight()->gradient, or straight into the weights.
  virtual void weight_gradient(const Pass&) {}
  virtual void descend(const Pass&, const Descent&) {}
  // Both in one, where that is faster.
  virtual Gradient backward_and_descend(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below,
                                        const Descent& descent) {
    const Gradient result = backward(pass, dy, dx, below);
    descend(pass, descent);
    return result;
  }

 private:
  int64_t inputs_, outputs_;
};

// y = f(x w + b)
class Dense : public Layer {
 public:
  Dense(int64_t inputs, int64_t units, Activation activation, double slope, bool bias, DType dtype, Device& device);

  void reserve(int64_t rows, DType dtype, Device& device) override;
  const void* forward(const Pass& pass, const void* x) override;
  Gradient backward(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below) override;
  std::optional<Fusion> fusion() const override;
  std::optional<TrainRowsLayer> as_row_layer() const override;
  Parameter* weight() override { return &weight_; }
  Parameter* bias() override { return has_bias_ ? &bias_ : nullptr; }
  const void* delta() const override { return dz_; }
  void weight_gradient(const Pass& pass) override;
  void descend(const Pass& pass, const Descent& descent) override;
  Gradient backward_and_descend(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below,
                                const Descent& descent) override;
  int64_t block_steps(int64_t batch_size) const override;
  void reserve_block(int64_t rows, DType dtype, Device& device) override;
  void begin_block(const Pass& pass, const void* x) override;
  void end_block(const Pass& pass) override;

 private:
  GemmArgs product(const Pass& pass, const void* x, void* y) const;
  void backward_through_activation(const Pass& pass, Gradient dy);
  GemmArgs weight_product(const Pass& pass) const;
  GemmArgs block_product(const Pass& pass) const;
  void defer(const Pass& pass, double lr);

  Activation activation_;
  double slope_;
  bool has_bias_;
  Parameter weight_, bias_;    // [I,O], [O]
  Array y_, z_;                // [B,O]; z only where f' needs it
  const void* x_ = nullptr;    // [B,I] of the last forward
  const void* out_ = nullptr;  // [B,O] what it gave: y_, or rows of the block's y
  const void* dz_ = nullptr;   // [B,O] of the last backward

  // A block of steps (dense_block.cpp).
  struct Block {
    int64_t rows = 0, done = 0;  // R, 0 outside of blocks; rows that have been through backward
    const void* x = nullptr;     // [R,I]
    Array y, d;                  // [R,O]: x w by the weights as they are, then f(z); lr dz
    Array gram;                  // [R,R] = x x^T
    Array rate;                  // [1]
  } block_;
};

// y = x with a random part of it set to 0 and the rest divided by what is left (Srivastava et al. 2014).
class Dropout : public Layer {
 public:
  Dropout(int64_t units, double rate, int64_t index) : Layer(units, units), rate_(rate), index_(index) {}

  void reserve(int64_t rows, DType dtype, Device& device) override;
  const void* forward(const Pass& pass, const void* x) override;
  Gradient backward(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below) override;

 private:
  void apply(const Pass& pass, const void* x, void* y) const;

  double rate_;
  int64_t index_;  // of this layer in the network: names its random streams
  Array y_;        // [B,O]
};

}  // namespace deltarule
