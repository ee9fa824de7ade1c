// online: the way back through one dense layer for a minibatch of one row, and its update, in one pass over W.
//
// Computes   dx[I] = W[I,O] dz[O], then W -= lr (x dz^T + decay W), or by momentum as kernels.h has it for sgd; then
//            dx *= f'(z,y) of the layer below, db = dx.
// Layout     A row of W belongs to a group of threads, 4 to 32 neighbours in a warp or all 128 of the block:
//
//              W[i]  | 0 | 1 | 2 | .. | 0 | 1 | 2 | ..     thread of the group; 16 bytes each where O is a multiple
//
//            Each sums its columns in order, then a tree adds the group: dx's order follows from O alone. dz stays in
//            L1 from row to row.
//
//            Where dx is not wanted (the lowest layer) and x[i] is 0 (the background of a digit), row i of the gradient
//            is 0 and W[i] is neither read nor written, unless decay or velocity move it or dz is not finite.
// Arithmetic 4 FLOP for 8 bytes moved (float32): bound by memory. 4 accesses in flight a thread, 8 with velocity.
// Measured   Not run on hardware yet. ptxas, registers a thread for sm_90a, no spills: 16 bytes a thread 91 (float64
//            104), five blocks of 128 threads a multiprocessor; element by element 56 (64).
// Refs       LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998: why on-line learning.
#include "cuda/gemm_epilogue.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 128, kBatch = 4;

template <class T> struct OnlineParams {
  const T *x, *dz;
  T *w, *velocity, *dx, *db;
  const T *z, *y;
  const StepState* state;
  int64_t inputs, outputs;
  T lr, momentum, decay, slope;
  Activation activation;
  bool nesterov, aligned;
  int group;  // threads of a row: a power of 2 up to 32, or kThreads
};

template <int Width, class T>
__device__ __forceinline__ void load_columns(const OnlineParams<T>& p, const T* from, T (&x)[Width]) {
  if constexpr (Width > 1) {
    if (p.aligned) return load_wide(from, x);
  }
#pragma unroll
  for (int c = 0; c < Width; ++c) x[c] = from[c];
}

template <int Width, class T>
__device__ __forceinline__ void store_columns(const OnlineParams<T>& p, T* to, const T (&x)[Width]) {
  if constexpr (Width > 1) {
    if (p.aligned) return store_wide(to, x);
  }
#pragma unroll
  for (int c = 0; c < Width; ++c) to[c] = x[c];
}

template <int Width, class T> __device__ bool all_finite(const T (&x)[Width]) {
  T zeros = T(0);
#pragma unroll
  for (int c = 0; c < Width; ++c) zeros = fma(x[c], T(0), zeros);
  return zeros == T(0);
}

// Elements of a row by their gradient x dz. w and v become what is stored.
template <int Width, class T>
__device__ __forceinline__ void update(const OnlineParams<T>& p, T rate, T x, const T (&dz)[Width], T (&w)[Width],
                                       T (&v)[Width]) {
#pragma unroll
  for (int c = 0; c < Width; ++c) {
    T step = fma(p.decay, w[c], x * dz[c]);
    if (p.velocity != nullptr) {
      v[c] = fma(p.momentum, v[c], step);
      step = p.nesterov ? fma(p.momentum, v[c], step) : v[c];
    }
    w[c] = fma(-rate, step, w[c]);
  }
}

// kBatch pieces of Width columns, `stride` apart, of the row at `row`, from column j on; their sum of w dz is returned
// on top of `sum`. skip: pieces whose gradient is 0 stay as they are.
template <int Width, class T>
__device__ __forceinline__ T update_pieces(const OnlineParams<T>& p, T rate, T x, bool skip, int64_t row, int64_t j,
                                           int64_t stride, T sum) {
  T dz[kBatch][Width] = {}, w[kBatch][Width] = {}, v[kBatch][Width] = {};
  bool there[kBatch];
#pragma unroll
  for (int n = 0; n < kBatch; ++n) {
    there[n] = j + n * stride < p.outputs;
    if (there[n]) load_columns(p, p.dz + j + n * stride, dz[n]);
  }
#pragma unroll
  for (int n = 0; n < kBatch; ++n) {
    there[n] = there[n] && !(skip && all_finite(dz[n]));
    if (!there[n]) continue;
    load_columns(p, p.w + row + j + n * stride, w[n]);
    if (p.velocity != nullptr) load_columns(p, p.velocity + row + j + n * stride, v[n]);
  }
#pragma unroll
  for (int n = 0; n < kBatch; ++n) {
    if (!there[n]) continue;
#pragma unroll
    for (int c = 0; c < Width; ++c) sum = fma(w[n][c], dz[n][c], sum);
    update(p, rate, x, dz[n], w[n], v[n]);
    store_columns(p, p.w + row + j + n * stride, w[n]);
    if (p.velocity != nullptr) store_columns(p, p.velocity + row + j + n * stride, v[n]);
  }
  return sum;
}

// The sum over the group, in every thread of its first warp; called by all threads of the block.
template <class T> __device__ T add_group(T sum, int group, T* shared) {
  const int lanes = group < 32 ? group : 32;
  for (int distance = lanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
  if (group <= 32) return sum;
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
  __syncthreads();
  return (shared[0] + shared[1]) + (shared[2] + shared[3]);
}

template <class T, int Width>
__global__ void __launch_bounds__(kThreads) train_row(const __grid_constant__ OnlineParams<T> p) {
  static_assert(kThreads == 128, "add_group adds four warps");
  DELTARULE_SHARED(T, shared);
  if (p.state != nullptr && p.state->stopped != 0) return;
  const T rate = p.state != nullptr ? static_cast<T>(p.state->lr) : p.lr;
  const int member = static_cast<int>(threadIdx.x) % p.group;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / p.group) + threadIdx.x / p.group;
  T sum = T(0);
  if (i < p.inputs) {
    const T x = p.x[i];
    const bool skip = x == T(0) && p.dx == nullptr && p.velocity == nullptr && p.decay == T(0);
    const int64_t stride = int64_t{p.group} * Width;
#pragma unroll 1
    for (int64_t j = member * Width; j < p.outputs; j += kBatch * stride)
      sum = update_pieces<Width>(p, rate, x, skip, i * p.outputs, j, stride, sum);
  }
  if (p.dx == nullptr) return;
  sum = add_group(sum, p.group, shared);
  if (i >= p.inputs || member != 0) return;
  if (p.y != nullptr) {
    const Lane<T> z{p.z != nullptr ? p.z[i] : T(0)}, y{p.y[i]}, slope{p.slope};
    with_activation(p.activation, [&](auto activation) { sum *= activation.df(z, y, slope).v; });
    if (p.db != nullptr) p.db[i] = sum;
  }
  p.dx[i] = sum;
}

template <class T> void train_row_of(const OnlineArgs& args) noexcept {
  constexpr int W = kWide<T>;
  OnlineParams<T> p{};
  p.x = static_cast<const T*>(args.x);
  p.dz = static_cast<const T*>(args.dz);
  p.w = static_cast<T*>(args.w);
  p.velocity = static_cast<T*>(args.velocity);
  p.dx = static_cast<T*>(args.dx);
  p.db = static_cast<T*>(args.db);
  p.z = static_cast<const T*>(args.z);
  p.y = static_cast<const T*>(args.y);
  p.state = args.state;
  p.inputs = args.inputs;
  p.outputs = args.outputs;
  p.lr = static_cast<T>(args.lr);
  p.momentum = static_cast<T>(args.momentum);
  p.decay = static_cast<T>(args.weight_decay);
  p.slope = static_cast<T>(args.slope);
  p.activation = args.activation;
  p.nesterov = args.nesterov;
  p.aligned = is_wide(p.w, 0) && is_wide(p.velocity, 0) && is_wide(p.dz, 0);
  const bool wide = p.outputs % W == 0;
  const int64_t pieces = wide ? p.outputs / W : p.outputs;
  p.group = pieces >= kThreads ? kThreads : 4;
  while (p.group < pieces && p.group < 32) p.group *= 2;
  const unsigned blocks = static_cast<unsigned>(ceil_div<int64_t>(p.inputs, kThreads / p.group));
  constexpr size_t kShared = 4 * sizeof(T);
  if (wide) run(DELTARULE_HERE("online"), blocks, kThreads, kShared, train_row<T, W>, p);
  else run(DELTARULE_HERE("online"), blocks, kThreads, kShared, train_row<T, 1>, p);
}

}  // namespace

void online(const OnlineArgs& args) noexcept {
  if (args.inputs == 0) return;
  if (args.dtype == DType::float32) train_row_of<float>(args);
  else train_row_of<double>(args);
}

}  // namespace deltarule::cuda
