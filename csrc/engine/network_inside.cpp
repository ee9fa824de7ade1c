// Network: what passes through its layers, without an update: outputs, activations, gradients.
#include "engine/network.h"

namespace deltarule {
namespace {

// [rows,cols] where a kernel left them.
Array view(const void* data, int64_t rows, int64_t cols, DType dtype, Device& device) {
  const Shape shape{rows, cols};
  return Array::wrap(const_cast<void*>(data), shape, contiguous_strides(shape), dtype, device, nullptr, false);
}

}  // namespace

// x[N,I] -> [N,O]
Array Network::outputs_of(const Array& x, int64_t batch_size, bool validated) {
  const char* op = "forward";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  const Samples samples(spec(op, validated), x, std::nullopt, std::nullopt);
  check<ValueError>(batch_size >= 1, op, ": batch_size is ", batch_size, "; wanted at least 1");
  batch_size = std::min(batch_size, samples.rows());
  reserve(batch_size);

  const Array result = Array::empty({samples.rows(), outputs()}, dtype_, device_);
  for (int64_t start = 0; start < samples.rows(); start += batch_size) {
    const Minibatch batch = minibatch(samples, Array(), start, std::min(batch_size, samples.rows() - start));
    const void* y = forward(pass_of(batch.rows, false), batch.x);
    const Array rows = result.sliced(0, start, batch.rows, 1);
    assign(op, rows, view(y, batch.rows, outputs(), dtype_, device_));
  }
  return result;
}

// x[N,I] -> [N,O] of every layer with weights
std::vector<Array> Network::activations(const Array& x, int64_t batch_size) {
  const char* op = "activations";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  const Samples samples(spec(op, false), x, std::nullopt, std::nullopt);
  check<ValueError>(batch_size >= 1, op, ": batch_size is ", batch_size, "; wanted at least 1");
  batch_size = std::min(batch_size, samples.rows());
  reserve(batch_size);

  std::vector<Array> result;
  for (const auto& layer : layers_)
    if (layer->weight()) result.push_back(Array::empty({samples.rows(), layer->outputs()}, dtype_, device_));
  for (int64_t start = 0; start < samples.rows(); start += batch_size) {
    const Minibatch batch = minibatch(samples, Array(), start, std::min(batch_size, samples.rows() - start));
    const Pass pass = pass_of(batch.rows, false);
    const void* y = batch.x;
    auto place = result.begin();
    for (const auto& layer : layers_) {
      y = layer->forward(pass, y);
      if (layer->weight())
        assign(op, (place++)->sliced(0, start, batch.rows, 1), view(y, batch.rows, layer->outputs(), dtype_, device_));
    }
  }
  return result;
}

// From dy_[0] down to bottom[B,I], or not so far if it is null; visit(layer) when its dz and bias gradient are there.
template <typename Visit> void Network::backpropagate(const Pass& pass, void* bottom, const Visit& visit) {
  Gradient gradient{dy_[0].data(), false};
  for (size_t l = layers_.size(); l-- > lowest_;) {
    void* dx = gradient.data == dy_[0].data() ? dy_[1].data() : dy_[0].data();
    gradient = layers_[l]->backward(pass, gradient, l > lowest_ ? dx : bottom, fusion_below(l));
    if (layers_[l]->weight()) visit(*layers_[l]);
  }
}

// The whole of x as one minibatch, without dropout: -> dz[N,O] of every layer with weights
std::vector<Array> Network::deltas(const Array& x, const Array& y, const std::optional<Array>& sample_weight) {
  const char* op = "deltas";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  const Samples samples(spec(op, false), x, y, sample_weight);
  check<ValueError>(samples.rows() >= 1, op, ": x has no rows");
  reserve(samples.rows());
  reserve_gradients(Keep::none);

  const Minibatch batch = minibatch(samples, Array(), 0, samples.rows());
  const Pass pass = pass_of(batch.rows, false);
  loss_of(pass, batch, forward(pass, batch.x), true, dy_[0].data());
  std::vector<Array> result;
  backpropagate(pass, nullptr, [&](const Layer& layer) {
    const Array place = Array::empty({batch.rows, layer.outputs()}, dtype_, device_);
    assign(op, place, view(layer.delta(), batch.rows, layer.outputs(), dtype_, device_));
    result.insert(result.begin(), place);
  });
  return result;
}

// The whole of x as one minibatch, without dropout; nothing is updated.
Gradients Network::gradients(const Array& x, const Array& y, const std::optional<Array>& sample_weight) {
  const char* op = "gradients";
  std::lock_guard lock(mutex_);
  require_trainable(op);
  const Samples samples(spec(op, false), x, y, sample_weight);
  check<ValueError>(samples.rows() >= 1, op, ": x has no rows");
  reserve(samples.rows());
  reserve_gradients(Keep::all);

  const Minibatch batch = minibatch(samples, Array(), 0, samples.rows());
  const Pass pass = pass_of(batch.rows, false);
  const void* outputs = forward(pass, batch.x);
  const double loss = loss_of(pass, batch, outputs, true, dy_[0].data()).value;
  const Array bottom = Array::empty({batch.rows, inputs_}, dtype_, device_);

  backpropagate(pass, bottom.data(), [&](Layer& layer) { layer.weight_gradient(pass); });
  if (scale_.data()) {  // by the chain rule: the layers saw (x - shift) * scale
    pass.kernels.binary({Binary::multiply,
                         dtype_,
                         2,
                         {batch.rows, inputs_},
                         bottom.data(),
                         {inputs_, 1},
                         scale_.data(),
                         {0, 1},
                         bottom.data(),
                         {inputs_, 1}});
  }
  // The caller gets the memory itself; a training that wants gradients whole takes new.
  std::vector<Array> whole;
  for (Parameter* parameter : parameters_) whole.push_back(std::exchange(parameter->gradient, Array()));
  kept_ = Keep::none;
  return {loss, std::move(whole), bottom};
}

}  // namespace deltarule
