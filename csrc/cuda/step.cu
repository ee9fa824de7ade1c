// step, advance, clip.
//
// Computes   one update of a list of tensors, formulas/optimizers.h's; StepState from one step to the next; the scale
//            that clips the gradients.
// Layout     The blocks of a launch are dealt to the tensors of a list in its order, those of a tensor to its elements.
//            step: a thread takes 16 bytes of every array, loads before stores. clip: a block sums the squares of 16 KB
//            of a gradient, the last block to finish those of all blocks, in an order fixed by the tensors' sizes.
// Arithmetic bound by memory: sgd moves 12 bytes an element (float32), momentum 20, Adam 28, clip 4. With a state,
//            Adam's constants (two powers in float64) are computed by one thread of each block while the others' loads
//            are on their way. Small tensors cost little more than their launch, so 64 of them share one; as many fit
//            into the 4 KB that a launch's arguments may have.
// Measured   not run on hardware yet. sm_90a: 14 to 32 registers, 58 to 66 for Adam (the powers); no spill, no
//            stack: the list is read where the launch has put it.
// Refs       formulas/optimizers.h; PyTorch's multi_tensor_apply.
#include <cmath>
#include <cstdint>

#include "cuda/folds.cuh"
#include "cuda/map.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kClipBytes = 16384;  // of a gradient, a block

// Some tensors of a list, and the blocks of a launch over them.
struct Tensors {
  static constexpr int kMost = 64;
  unsigned count, blocks;
  unsigned first[kMost];  // block of each
  StepTensor tensor[kMost];

  // The tensor of this block.
  __device__ __forceinline__ unsigned here() const {
    unsigned low = 0, high = count;  // it is in [low, high)
    while (high - low > 1) {
      const unsigned middle = (low + high) / 2;
      (blockIdx.x < first[middle] ? high : low) = middle;
    }
    return low;
  }
};

// visit(tensors, last) for the pieces of a list that fit a launch, the last one even if it is empty; blocks of
// `per_block` elements, tensors without elements left out.
template <class Visit>
void for_launches(const StepTensor* tensors, int64_t count, int64_t per_block, const Visit& visit) {
  Tensors piece{};
  for (int64_t i = 0; i < count; ++i) {
    if (tensors[i].n == 0) continue;
    if (piece.count == Tensors::kMost) {
      visit(piece, false);
      piece.count = piece.blocks = 0;
    }
    piece.first[piece.count] = piece.blocks;
    piece.tensor[piece.count++] = tensors[i];
    piece.blocks += static_cast<unsigned>(ceil_div(tensors[i].n, per_block));
  }
  visit(piece, true);
}

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
    step_kernel(const __grid_constant__ StepArgs args, const __grid_constant__ StepConstants<V> given,
                const __grid_constant__ Tensors tensors) {
  using T = typename V::scalar;
  constexpr int kWidth = 16 / sizeof(T), kSlots = Rule::slots;
  DELTARULE_SHARED(StepConstants<V>, shared);
  const unsigned at = tensors.here();
  const StepTensor& tensor = tensors.tensor[at];
  const int64_t first = (int64_t{blockIdx.x - tensors.first[at]} * kThreads + threadIdx.x) * kWidth;
  const int64_t rest = tensor.n - first;
  const int count = static_cast<int>(rest < 0 ? 0 : rest < kWidth ? rest : kWidth);
  T* const w = static_cast<T*>(tensor.w) + first;
  const T* const g = static_cast<const T*>(tensor.g) + first;
  T* const m = static_cast<T*>(tensor.m) + (kSlots > 0 ? first : 0);
  T* const v = static_cast<T*>(tensor.v) + (kSlots > 1 ? first : 0);
  const bool whole = count == kWidth && on_boundary(w) && on_boundary(g) && (kSlots < 1 || on_boundary(m)) &&
                     (kSlots < 2 || on_boundary(v));
  Group<T, kWidth> gradients = load_group<kWidth>(g, false, whole, count);
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
  if (!tensor.decays) constants = without_decay(constants);
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
  const StepConstants<V> constants = step_constants<V, Rule::slots>(args, args.lr, args.step);
  static_assert(sizeof args + sizeof constants + sizeof(Tensors) <= 4096, "arguments of a launch");
  for_launches(args.tensors, args.count, kPerBlock, [&](const Tensors& tensors, bool) {
    if (tensors.blocks == 0) return;
    run(DELTARULE_HERE("step"), dim3(tensors.blocks), dim3(kThreads), sizeof constants, step_kernel<V, Rule>, args,
        constants, tensors);
  });
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

__device__ unsigned clip_ticket;

// parts[before, before + blocks) = sums of squares; the last block of the last launch: the scale, from all of them.
template <class T>
__global__ void __launch_bounds__(kThreads) clip_kernel(const __grid_constant__ Tensors tensors, double* parts,
                                                        unsigned before, bool last, double most, StepState* state) {
  DELTARULE_SHARED(double, shared);
  constexpr int64_t kPerBlock = kClipBytes / sizeof(T);
  const WholeBlock team{shared};
  const unsigned at = tensors.here();
  const StepTensor& tensor = tensors.tensor[at];
  const T* const g = static_cast<const T*>(tensor.g);
  const int64_t begin = (blockIdx.x - tensors.first[at]) * kPerBlock;
  const int64_t end = begin + kPerBlock < tensor.n ? begin + kPerBlock : tensor.n;
  double sum = on_boundary(g) ? fold_packs<FoldSquares<T>, true, kThreads>(g, begin, end)
                              : fold_packs<FoldSquares<T>, false, kThreads>(g, begin, end);
  sum = team.fold(sum, AddUp());
  if (threadIdx.x == 0) parts[before + blockIdx.x] = sum;
  if (!last || !last_to_come(&clip_ticket, gridDim.x)) return;
  sum = 0.0;
  for (unsigned i = threadIdx.x; i < before + gridDim.x; i += kThreads) sum += parts[i];
  const double norm = ::sqrt(team.fold(sum, AddUp()));
  if (threadIdx.x == 0 && state->stopped == 0) state->grad_scale = norm > most ? most / norm : 1.0;
}

template <class T> void clip_with(const ClipArgs& args) {
  constexpr int64_t kPerBlock = kClipBytes / sizeof(T);
  int64_t blocks = 1;  // where there is nothing to sum
  for (int64_t i = 0; i < args.count; ++i) blocks += ceil_div(args.tensors[i].n, kPerBlock);
  auto* const parts = static_cast<double*>(scratch(blocks * static_cast<int64_t>(sizeof(double))));
  if (parts == nullptr) return;
  unsigned before = 0;
  for_launches(args.tensors, args.count, kPerBlock, [&](const Tensors& tensors, bool last) {
    run(DELTARULE_HERE("clip"), dim3(tensors.blocks > 0 ? tensors.blocks : 1), dim3(kThreads), kWarp * sizeof(double),
        clip_kernel<T>, tensors, parts, before, last, args.clip_norm, args.state);
    before += tensors.blocks;
  });
}

}  // namespace

void step(const StepArgs& args) noexcept {
  with_optimizer(args.optimizer, [&](auto rule) {
    if (args.dtype == DType::float32) step_with<F32, decltype(rule)>(args);
    else step_with<F64, decltype(rule)>(args);
  });
}

void advance(const AdvanceArgs& args) noexcept {
  run(DELTARULE_HERE("advance"), dim3(1), dim3(1), 0, advance_kernel, args);
}

void clip(const ClipArgs& args) noexcept {
  args.dtype == DType::float32 ? clip_with<float>(args) : clip_with<double>(args);
}

}  // namespace deltarule::cuda
