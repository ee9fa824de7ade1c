// The compile gate's input: every formula of the lists, instantiated for a CUDA thread, and Philox.
#include <cstdint>

#include "base/philox.h"
#include "cuda/vec.cuh"
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

}  // namespace deltarule
