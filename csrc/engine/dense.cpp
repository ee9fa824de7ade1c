#include "engine/layer.h"

namespace deltarule {

Dense::Dense(int64_t inputs, int64_t units, Activation activation, double slope, bool bias, DType dtype, Device& device)
    : Layer(inputs, units),
      activation_(activation),
      slope_(slope),
      has_bias_(bias),
      weight_{Array::zeros({inputs, units}, dtype, device), {}, {}, {}, true},
      bias_{bias ? Array::zeros({units}, dtype, device) : Array(), {}, {}, {}, false} {}

void Dense::reserve(int64_t rows, DType dtype, Device& device) {
  y_ = Array::empty({rows, outputs()}, dtype, device);
  if (needs_input(activation_)) z_ = Array::empty({rows, outputs()}, dtype, device);
}

// x[B,I] w[I,O] -> y[B,O]
GemmArgs Dense::product(const Pass& pass, const void* x, void* y) const {
  GemmArgs args;
  args.dtype = pass.dtype;
  args.precision = pass.precision;
  args.M = pass.rows, args.N = outputs(), args.K = inputs();
  args.A = x, args.lda = inputs();
  args.B = weight_.value.data(), args.ldb = outputs();
  args.C = y, args.ldc = outputs();
  return args;
}

// x[B,I] w[I,O] b[O] -> y[B,O]
const void* Dense::forward(const Pass& pass, const void* x) {
  x_ = x;
  GemmArgs args = block_.rows > 0 ? block_product(pass) : product(pass, x, y_.data());
  args.epilogue = Epilogue::bias_act;
  args.activation = activation_;
  args.slope = slope_;
  args.bias = bias_.value.data();
  args.z = z_.data(), args.ldz = outputs();
  pass.kernels.gemm(args);
  out_ = args.C;
  return out_;
}

// dz = dy f'(z), db = column sums of dz, unless the layer above has done it.
void Dense::backward_through_activation(const Pass& pass, Gradient dy) {
  dz_ = dy.data;
  if (dy.fused) return;
  const int64_t n = pass.rows * outputs();
  if (activation_ != Activation::linear)
    pass.kernels.activate_grad({activation_, pass.dtype, slope_, n, dy.data, z_.data(), out_, dy.data});
  if (has_bias_)
    pass.kernels.reduce({Reduction::sum, pass.dtype, 1, pass.rows, outputs(), dy.data, bias_.gradient.data()});
}

// dx[B,I] = dz[B,O] w^T[O,I]
Gradient Dense::backward(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below) {
  backward_through_activation(pass, dy);
  if (dx == nullptr) return {nullptr, false};

  GemmArgs args;
  args.dtype = pass.dtype;
  args.precision = pass.precision;
  args.trans_b = true;
  args.M = pass.rows, args.N = inputs(), args.K = outputs();
  args.A = dz_, args.lda = outputs();
  args.B = weight_.value.data(), args.ldb = outputs();
  args.C = dx, args.ldc = inputs();
  if (below) {
    args.epilogue = Epilogue::backprop;
    args.activation = below->activation;
    args.slope = below->slope;
    args.z = const_cast<void*>(below->z), args.ldz = inputs();
    args.y = below->y, args.ldy = inputs();
    args.db = below->db;
  }
  pass.kernels.gemm(args);
  return {dx, below.has_value()};
}

std::optional<Fusion> Dense::fusion() const {
  return Fusion{activation_, slope_, z_.data(), out_, has_bias_ ? bias_.gradient.data() : nullptr};
}

std::optional<TrainRowsLayer> Dense::as_row_layer() const {
  return TrainRowsLayer{inputs(), outputs(), weight_.value.data(), bias_.value.data(), activation_, slope_};
}

// x^T[I,B] dz[B,O], without its destination
GemmArgs Dense::weight_product(const Pass& pass) const {
  GemmArgs args;
  args.dtype = pass.dtype;
  args.precision = pass.precision;
  args.trans_a = true;
  args.M = inputs(), args.N = outputs(), args.K = pass.rows;
  args.A = x_, args.lda = inputs();
  args.B = dz_, args.ldb = outputs();
  args.ldc = outputs();
  return args;
}

void Dense::weight_gradient(const Pass& pass) {
  GemmArgs args = weight_product(pass);
  args.C = weight_.gradient.data();
  pass.kernels.gemm(args);
}

void Dense::descend(const Pass& pass, const Descent& descent) {
  GemmArgs args = weight_product(pass);
  args.C = weight_.value.data();
  args.epilogue = Epilogue::sgd;
  args.lr = descent.lr;
  args.momentum = descent.momentum;
  args.weight_decay = descent.weight_decay;
  args.nesterov = descent.nesterov;
  args.velocity = weight_.m.data();
  args.state = pass.state;
  pass.kernels.gemm(args);
}

// One row: dx and the update share one pass over w.
Gradient Dense::backward_and_descend(const Pass& pass, Gradient dy, void* dx, const std::optional<Fusion>& below,
                                     const Descent& descent) {
  if (block_.rows > 0) {
    backward_through_activation(pass, dy);
    defer(pass, descent.lr);
    return {nullptr, false};
  }
  if (pass.rows != 1) return Layer::backward_and_descend(pass, dy, dx, below, descent);
  backward_through_activation(pass, dy);
  OnlineArgs args{};
  args.dtype = pass.dtype;
  args.inputs = inputs(), args.outputs = outputs();
  args.x = x_, args.dz = dz_, args.w = weight_.value.data();
  args.lr = descent.lr, args.momentum = descent.momentum, args.weight_decay = descent.weight_decay;
  args.velocity = weight_.m.data(), args.nesterov = descent.nesterov;
  args.dx = dx;
  if (below) {
    args.activation = below->activation, args.slope = below->slope;
    args.z = below->z, args.y = below->y, args.db = below->db;
  }
  args.state = pass.state;
  pass.kernels.online(args);
  return {dx, dx != nullptr && below.has_value()};
}

}  // namespace deltarule
