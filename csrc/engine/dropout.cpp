#include "engine/layer.h"
#include "engine/streams.h"

namespace deltarule {

void Dropout::reserve(int64_t rows, DType dtype, Device& device) {
  y_ = Array::empty({rows, outputs()}, dtype, device);
}

// x[B,O] -> y[B,O]; forward and backward draw the same mask, so none is kept.
void Dropout::apply(const Pass& pass, const void* x, void* y) const {
  const uint64_t stream =
      dropout_stream(static_cast<uint64_t>(index_), static_cast<uint64_t>(pass.state ? 0 : pass.step));
  pass.kernels.dropout({pass.dtype, pass.rows * outputs(), rate_, pass.seed, stream, x, y, pass.state});
}

const void* Dropout::forward(const Pass& pass, const void* x) {
  if (!pass.dropout) return x;
  apply(pass, x, y_.data());
  return y_.data();
}

Gradient Dropout::backward(const Pass& pass, Gradient dy, void*, const std::optional<Fusion>&) {
  if (pass.dropout) apply(pass, dy.data, dy.data);
  return dy;
}

}  // namespace deltarule
