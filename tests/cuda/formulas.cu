// The compile gate's input: every formula of the lists, instantiated for a CUDA thread, and Philox.
#include <cstdint>

#include "base/philox.h"
#include "cuda/vec.cuh"
#include "formulas/random.h"
#include "kernels.h"

namespace deltarule {

template <class V>
__global__ void activations(Activation activation, typename V::scalar slope, const typename V::scalar* x,
                            typename V::scalar* y, typename V::scalar* dy) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  with_activation(activation, [&](auto f) {
    const V in = V::load(x + i), out = f.f(in, V::set(slope));
    out.store(y + i);
    f.df(in, out, V::set(slope)).store(dy + i);
  });
}

template __global__ void activations<F32>(Activation, float, const float*, float*, float*);
template __global__ void activations<F64>(Activation, double, const double*, double*, double*);

__global__ void uniform(uint64_t seed, uint64_t stream, float* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const Philox4 draw = philox(seed, stream, static_cast<uint64_t>(i));
  for (int word = 0; word < 4; ++word) y[4 * i + word] = unit_float(draw.word[word]);
}

template <class V>
__global__ void functions(Unary unary, Binary binary, const typename V::scalar* x, typename V::scalar* y,
                          typename V::scalar* z) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const V a = V::load(x + i), b = V::load(y + i);
  with_unary(unary, [&](auto op) { op.f(a).store(y + i); });
  with_binary(binary, [&](auto op) { op.f(a, b).store(z + i); });
}

template __global__ void functions<F32>(Unary, Binary, const float*, float*, float*);
template __global__ void functions<F64>(Unary, Binary, const double*, double*, double*);

template <class V>
__global__ void update(Optimizer optimizer, StepConstants<V> constants, typename V::scalar* w,
                       const typename V::scalar* g, typename V::scalar* m, typename V::scalar* v) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  V lane_w = V::load(w + i), lane_m = V::load(m + i), lane_v = V::load(v + i);
  with_optimizer(optimizer, [&](auto rule) { rule.update(lane_w, V::load(g + i), lane_m, lane_v, constants); });
  lane_w.store(w + i);
  lane_m.store(m + i);
  lane_v.store(v + i);
}

template __global__ void update<F32>(Optimizer, StepConstants<F32>, float*, const float*, float*, float*);
template __global__ void update<F64>(Optimizer, StepConstants<F64>, double*, const double*, double*, double*);

template <class V>
__global__ void losses(const typename V::scalar* y, const typename V::scalar* t, typename V::scalar* value,
                       typename V::scalar* gradient) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const V a = V::load(y + i), b = V::load(t + i);
  (SquaredError::value(a, b) + BinaryCrossEntropy::value(a, b)).store(value + i);
  (SquaredError::gradient(a, b) + BinaryCrossEntropy::gradient(a, b)).store(gradient + i);
}

template __global__ void losses<F32>(const float*, const float*, float*, float*);
template __global__ void losses<F64>(const double*, const double*, double*, double*);

__global__ void normal(uint64_t seed, uint64_t stream, double* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const Philox4 draw = philox(seed, stream, static_cast<uint64_t>(i));
  normal_pair(draw.word, y[2 * i], y[2 * i + 1]);
}

}  // namespace deltarule
