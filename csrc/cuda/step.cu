// step, advance, clip.
//
// Computes   one update of contiguous parameters, formulas/optimizers.h's; StepState from one step to the next; the
//            scale that clips the gradients.
// Layout     a thread takes 16 bytes of every array, loads before stores.
// Arithmetic bound by memory: sgd moves 12 bytes an element (float32), momentum 20, Adam 28. With a state, Adam's
//            constants (two powers in float64) are computed by one thread of each block while the others' loads are on
//            their way.
// Measured   not run on hardware yet. sm_90a: 14 to 32 registers, 54 to 64 for Adam (the powers), no spill.
// Refs       formulas/optimizers.h.
#include <cmath>
#include <cstdint>

#include "cuda/map.cuh"
#include "cuda/slots.h"
#include "cuda/vec.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 256;

// As csrc/cpu/step.inl has them.
template <class V, int Slots>
__host__ __device__ StepConstants<V> step_constants(const StepArgs& args, double lr, int64_t updates) {
  const double t = static_cast<double>(updates);
  StepConstants<V> c;
  c.lr = lanes<V>(lr);
  c.momentum = lanes<V>(args.momentum);
  c.decay = lanes<V>(args.weight_decay);
  c.beta1 = lanes<V>(args.beta1);
  c.rest1 = lanes<V>(1.0 - args.beta1);
  c.beta2 = lanes<V>(args.beta2);
  c.rest2 = lanes<V>(1.0 - args.beta2);
  c.eps = lanes<V>(args.eps);
  constexpr bool moments = Slots > 1;
  c.corrected_lr = lanes<V>(moments ? lr / (1.0 - ::pow(args.beta1, t)) : lr);
  c.root_correction = lanes<V>(moments ? 1.0 / ::sqrt(1.0 - ::pow(args.beta2, t)) : 1.0);
  c.keep = lanes<V>(1.0 - lr * args.weight_decay);
  return c;
}

template <class V, class Rule>
__global__ void __launch_bounds__(kThreads)
    step_kernel(const __grid_constant__ StepArgs args, const __grid_constant__ StepConstants<V> given, bool aligned) {
  using T = typename V::scalar;
  constexpr int kWidth = 16 / sizeof(T), kSlots = Rule::slots;
  DELTARULE_SHARED(StepConstants<V>, shared);
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth, rest = args.n - first;
  const int count = static_cast<int>(rest < 0 ? 0 : rest < kWidth ? rest : kWidth);
  const bool whole = aligned && count == kWidth;
  T* const w = static_cast<T*>(args.w) + first;
  T* const m = static_cast<T*>(args.m) + (kSlots > 0 ? first : 0);
  T* const v = static_cast<T*>(args.v) + (kSlots > 1 ? first : 0);
  Group<T, kWidth> gradients = load_group<kWidth>(static_cast<const T*>(args.g) + first, false, whole, count);
  Group<T, kWidth> weights = load_group<kWidth>(w, false, whole, count), momenta{}, squares{};
  if constexpr (kSlots > 0) momenta = load_group<kWidth>(m, false, whole, count);
  if constexpr (kSlots > 1) squares = load_group<kWidth>(v, false, whole, count);

  const StepState* const state = args.state;
  StepConstants<V> constants = given;
  V scale = lanes<V>(args.grad_scale);
  if (state != nullptr) {
    if (state->stopped != 0) return;
    if constexpr (kSlots > 1) {
      if (threadIdx.x == 0) *shared = step_constants<V, kSlots>(args, state->lr, state->updates);
      __syncthreads();
      constants = *shared;
    } else {
      constants = step_constants<V, kSlots>(args, state->lr, state->updates);
    }
    scale = lanes<V>(state->grad_scale);
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    V weight = V::set(weights.lane[i]), momentum = V::set(momenta.lane[i]), square = V::set(squares.lane[i]);
    Rule::update(weight, V::set(gradients.lane[i]) * scale, momentum, square, constants);
    weights.lane[i] = weight.v;
    momenta.lane[i] = momentum.v;
    squares.lane[i] = square.v;
  }
  store_group<kWidth>(w, weights, whole, count);
  if constexpr (kSlots > 0) store_group<kWidth>(m, momenta, whole, count);
  if constexpr (kSlots > 1) store_group<kWidth>(v, squares, whole, count);
}

template <class V, class Rule> void step_with(const StepArgs& args) {
  constexpr int64_t kPerBlock = kThreads * 16 / sizeof(typename V::scalar);
  const unsigned blocks = static_cast<unsigned>(ceil_div(args.n, kPerBlock));
  const bool aligned = is_aligned(args.w, 16) && is_aligned(args.g, 16) &&
                       (Rule::slots < 1 || is_aligned(args.m, 16)) && (Rule::slots < 2 || is_aligned(args.v, 16));
  const StepConstants<V> constants = step_constants<V, Rule::slots>(args, args.lr, args.step);
  run(DELTARULE_HERE("step"), dim3(blocks), dim3(kThreads), sizeof(StepConstants<V>), step_kernel<V, Rule>, args,
      constants, aligned);
}

__global__ void advance_kernel(AdvanceArgs args) {
  StepState& state = *args.state;
  if (state.stopped != 0) return;
  state.start += args.rows;
  state.slot += 1;
  state.step += 1;
  state.updates += 1;
  if (state.slot < args.steps) state.lr = args.rates[state.slot];
}

// One warp: every lane sums its share in float64, then the lanes' sums in a fixed order.
template <class T> __global__ void clip_kernel(int64_t n, const T* squares, double most, StepState* state) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += 32) sum += static_cast<double>(squares[i]);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  const double norm = ::sqrt(sum);
  if (threadIdx.x == 0 && state->stopped == 0) state->grad_scale = norm > most ? most / norm : 1.0;
}

}  // namespace

void step(const StepArgs& args) noexcept {
  if (args.n == 0) return;
  with_optimizer(args.optimizer, [&](auto rule) {
    if (args.dtype == DType::float32) step_with<F32, decltype(rule)>(args);
    else step_with<F64, decltype(rule)>(args);
  });
}

void advance(const AdvanceArgs& args) noexcept {
  run(DELTARULE_HERE("advance"), dim3(1), dim3(1), 0, advance_kernel, args);
}

void clip(const ClipArgs& args) noexcept {
  if (args.dtype == DType::float32)
    run(DELTARULE_HERE("clip"), dim3(1), dim3(32), 0, clip_kernel<float>, args.n,
        static_cast<const float*>(args.squares), args.clip_norm, args.state);
  else
    run(DELTARULE_HERE("clip"), dim3(1), dim3(32), 0, clip_kernel<double>, args.n,
        static_cast<const double*>(args.squares), args.clip_norm, args.state);
}

}  // namespace deltarule::cuda
