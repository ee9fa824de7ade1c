// unary, binary, activate, activate_grad, dropout.
//
// Computes   y = op(x), y = op(a, b) over strided grids; f and dy * f' over contiguous arrays; dropout.
// Layout     map.cuh's. dropout: a thread draws one counter's four words for four neighbours.
// Arithmetic bound by memory (8 to 12 bytes an element, float32), but for float64 functions on GPUs with few float64
//            units.
// Measured   not run on hardware yet. sm_90a: 27 to 60 registers (float64 softplus' the most), no spill.
// Refs       formulas/functions.h, formulas/activations.h.
#include <cstdint>

#include "base/philox.h"
#include "cuda/map.cuh"
#include "cuda/slots.h"
#include "cuda/vec.cuh"

namespace deltarule::cuda {
namespace {

template <class V, class F> struct UnaryOp {
  using T = typename V::scalar;
  static constexpr int inputs = 1;
  __device__ __forceinline__ T operator()(const T (&x)[1]) const { return F::f(V::set(x[0])).v; }
};

template <class V, class F> struct BinaryOp {
  using T = typename V::scalar;
  static constexpr int inputs = 2;
  __device__ __forceinline__ T operator()(const T (&x)[2]) const { return F::f(V::set(x[0]), V::set(x[1])).v; }
};

template <class V, class F> struct ActivationOp {
  using T = typename V::scalar;
  static constexpr int inputs = 1;
  T slope;
  __device__ __forceinline__ T operator()(const T (&x)[1]) const { return F::f(V::set(x[0]), V::set(slope)).v; }
};

// Inputs dy, x, y; what f' does not look at is not loaded.
template <class V, class F> struct ActivationGradOp {
  using T = typename V::scalar;
  static constexpr int inputs = 3;
  T slope;
  __device__ __forceinline__ T operator()(const T (&x)[3]) const {
    return (V::set(x[0]) * F::df(V::set(x[1]), V::set(x[2]), V::set(slope))).v;
  }
};

// visit(F32{}) or visit(F64{})
template <class Visitor> void with_lanes(DType dtype, const Visitor& visit) {
  if (dtype == DType::float32) visit(F32{});
  else visit(F64{});
}

constexpr int kDropoutThreads = 256;

// A thread's four elements share a counter. x / kept where the word's 24 bits are `bound` or more.
template <class T>
__global__ void __launch_bounds__(kDropoutThreads)
    dropout_kernel(uint64_t seed, uint64_t stream, const StepState* state, uint32_t bound, T kept, bool aligned,
                   int64_t n, const T* x, T* y) {
  const int64_t counter = int64_t{blockIdx.x} * kDropoutThreads + threadIdx.x, first = 4 * counter;
  if (first >= n) return;
  const int count = static_cast<int>(n - first < 4 ? n - first : 4);
  const bool whole = aligned && count == 4;
  Group<T, 4> group = load_group<4>(x + first, false, whole, count);
  if (state != nullptr) stream += static_cast<uint64_t>(state->step);
  const Philox4 draw = philox(seed, stream, static_cast<uint64_t>(counter));
#pragma unroll
  for (int i = 0; i < 4; ++i) group.lane[i] = (draw.word[i] >> 8) >= bound ? group.lane[i] / kept : T(0);
  store_group<4>(y + first, group, whole, count);
}

// u >= rate, said in the 24 bits of u.
template <class T> void dropout_typed(const DropoutArgs& args) {
  const double scaled = args.rate * 0x1p24;
  uint32_t bound = static_cast<uint32_t>(scaled);
  if (bound < scaled) ++bound;
  constexpr int64_t kPerBlock = 4 * kDropoutThreads, kBytes = 4 * sizeof(T);
  run(DELTARULE_HERE("dropout"), dim3(static_cast<unsigned>(ceil_div(args.n, kPerBlock))), dim3(kDropoutThreads), 0,
      dropout_kernel<T>, args.seed, args.stream, args.state, bound, static_cast<T>(1.0 - args.rate),
      is_aligned(args.x, kBytes) && is_aligned(args.y, kBytes), args.n, static_cast<const T*>(args.x),
      static_cast<T*>(args.y));
}

}  // namespace

void unary(const UnaryArgs& args) noexcept {
  const Axes<2> axes = make_axes<2>(args.rank, args.shape, {args.stride_y, args.stride_x});
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const Sources<T, 1> x{{static_cast<const T*>(args.x)}};
    with_unary(args.op, [&](auto f) {
      map_grid(DELTARULE_HERE("unary"), UnaryOp<V, decltype(f)>{}, axes, x, static_cast<T*>(args.y));
    });
  });
}

void binary(const BinaryArgs& args) noexcept {
  const Axes<3> axes = make_axes<3>(args.rank, args.shape, {args.stride_y, args.stride_a, args.stride_b});
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const Sources<T, 2> x{{static_cast<const T*>(args.a), static_cast<const T*>(args.b)}};
    with_binary(args.op, [&](auto f) {
      map_grid(DELTARULE_HERE("binary"), BinaryOp<V, decltype(f)>{}, axes, x, static_cast<T*>(args.y));
    });
  });
}

void activate(const ActivateArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const Sources<T, 1> x{{static_cast<const T*>(args.x)}};
    with_activation(args.activation, [&](auto f) {
      map_run(DELTARULE_HERE("activate"), ActivationOp<V, decltype(f)>{static_cast<T>(args.slope)}, args.n, x,
              static_cast<T*>(args.y));
    });
  });
}

void activate_grad(const ActivateGradArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const T* const y = static_cast<const T*>(args.y);
    const Sources<T, 3> x{{static_cast<const T*>(args.dy), args.x != nullptr ? static_cast<const T*>(args.x) : y, y}};
    with_activation(args.activation, [&](auto f) {
      map_run(DELTARULE_HERE("activate_grad"), ActivationGradOp<V, decltype(f)>{static_cast<T>(args.slope)}, args.n, x,
              static_cast<T*>(args.dx));
    });
  });
}

void dropout(const DropoutArgs& args) noexcept {
  if (args.n == 0) return;
  if (args.dtype == DType::float32) dropout_typed<float>(args);
  else dropout_typed<double>(args);
}

}  // namespace deltarule::cuda
