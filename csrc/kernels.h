// THE CONTRACT between the engine and a device: one struct of function pointers.
//
// A device (a CPU instruction set, a GPU generation) is a filled `Kernels` table. Everything above it (engine/, bind/,
// Python) sees these slots only; nothing below it knows an Array. Rules that hold for every slot:
//
//   - Arguments were validated by the caller: kernels are noexcept, never allocate what grows with the problem except
//     packing buffers kept per thread, and never fail.
//   - Pointers are to device memory. Matrices are row-major with leading dimension ld (elements between rows).
//     Strides are in elements, may be 0 (broadcast) or negative.
//   - Extents may be 0. Then nothing is read, and only what the formula still defines is written.
//   - Aliasing: an output may be the very same memory as an input of an element-wise slot (same pointer, same strides);
//     partial overlap is not allowed. gemm's C overlaps no other operand: it holds partial sums.
//   - beta = 0 means C is not read (NaN in it does not spread).
//   - Same arguments, same table: the same bits, for every number of threads.
//   - Work is complete (CPU) or enqueued on the device's stream (CUDA) on return.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "formulas/activations.h"
#include "formulas/functions.h"
#include "formulas/losses.h"
#include "formulas/optimizers.h"

namespace deltarule {

// How float32 products may be formed on matrix units; names as in PyTorch. A table without such a unit, shapes that are
// slower there and values it cannot hold take float32, which is more than was asked for. float64 ignores it.
enum class Precision : uint8_t { highest, high, medium };

enum class Epilogue : uint8_t { none, bias_act, backprop, sgd };

// P[M,N] = alpha op(A)[M,K] op(B)[K,N], op(X) = X or its transpose. What becomes of P:
//   none      C = P + beta C
//   bias_act  Z = P + beta C + bias;  C = f(Z)                (beta 0 or 1; Z kept if `z` is set)
//   backprop  C = P * f'(z, y);  db[j] = sum_i C[i,j]         (beta unused; db skipped if null)
//   sgd       C is a weight matrix and P its gradient, which is never stored:
//             G = P + weight_decay C;  C -= lr G              (velocity null)
//             V = momentum V + G;      C -= lr V              (nesterov: C -= lr (G + momentum V))
struct GemmArgs {
  DType dtype = DType::float32;  // float32 or float64: A, B, C and every operand of the epilogue
  Precision precision = Precision::highest;
  bool trans_a = false, trans_b = false;
  int64_t M = 0, N = 0, K = 0;
  double alpha = 1.0, beta = 0.0;
  const void* A = nullptr;  // [M,K], or [K,M] if trans_a
  int64_t lda = 0;
  const void* B = nullptr;  // [K,N], or [N,K] if trans_b
  int64_t ldb = 0;
  void* C = nullptr;  // [M,N]
  int64_t ldc = 0;

  Epilogue epilogue = Epilogue::none;
  Activation activation = Activation::linear;  // bias_act, backprop
  double slope = 0.0;                          // parameter of leaky_relu and elu
  const void* bias = nullptr;                  // bias_act: [N] or null
  void* z = nullptr;                           // bias_act: out [M,N] or null; backprop: in, or null if f' needs y alone
  const void* y = nullptr;                     // backprop: in [M,N], y = f(z)
  int64_t ldz = 0, ldy = 0;
  void* db = nullptr;  // backprop: out [N] or null
  double lr = 0.0, momentum = 0.0, weight_decay = 0.0;
  void* velocity = nullptr;  // sgd: V [M,N] with leading dimension ldc, or null
  bool nesterov = false;
};

// The way back through one dense layer for a minibatch of one row, and the update of its weights, in one pass over W:
//   dx[I] = W[I,O] dz[O], by W as it was; dx *= f'(z,y) and db = dx unless y is null     (all skipped if dx is null)
//   W[I,O] as by gemm's sgd with the gradient x[I] dz[O]
struct OnlineArgs {
  DType dtype;  // float32 or float64, of every operand
  int64_t inputs, outputs;
  const void* x;   // [I]
  const void* dz;  // [O]
  void* w;         // [I,O] contiguous
  double lr, momentum, weight_decay;
  void* velocity;  // [I,O] or null
  bool nesterov;
  void* dx;               // out [I] or null
  Activation activation;  // of the layer below
  double slope;
  const void* z;  // [I], or null if f' needs y alone
  const void* y;  // [I] or null
  void* db;       // out [I] or null
};

// y = op(x), element by element over a strided grid (rank <= 8, innermost axis last).
struct UnaryArgs {
  Unary op;
  DType dtype;  // float32 or float64
  int rank;
  int64_t shape[8];
  const void* x;
  int64_t stride_x[8];
  void* y;
  int64_t stride_y[8];
};

// y = op(a, b), element by element over a strided grid; a broadcast operand has stride 0.
struct BinaryArgs {
  Binary op;
  DType dtype;  // float32 or float64
  int rank;
  int64_t shape[8];
  const void* a;
  int64_t stride_a[8];
  const void* b;
  int64_t stride_b[8];
  void* y;
  int64_t stride_y[8];
};

// y = x converted: float to integer truncates, to bool is x != 0 (NaN is true), else C's conversions.
struct CopyArgs {
  DType from, to;
  int rank;
  int64_t shape[8];
  const void* x;
  int64_t stride_x[8];
  void* y;
  int64_t stride_y[8];
};

// y[n] = f(x[n]), contiguous.
struct ActivateArgs {
  Activation activation;
  DType dtype;
  double slope;
  int64_t n;
  const void* x;
  void* y;
};

// dx[n] = dy[n] * f'(x[n], y[n]), contiguous. x may be null unless needs_input(activation). dx may be dy.
struct ActivateGradArgs {
  Activation activation;
  DType dtype;
  double slope;
  int64_t n;
  const void* dy;
  const void* x;
  const void* y;
  void* dx;
};

// y[outer, inner] = op over n of x[outer, n, inner], contiguous. sum and sum_squares accumulate float32 in blocks whose
// partial sums are float64. argmax/argmin write int64, the first of equals; a NaN wins, as in NumPy.
// n = 0: sum 0, prod 1; the others are never called so.
struct ReduceArgs {
  Reduction op;
  DType dtype;
  int64_t outer, n, inner;
  const void* x;
  void* y;
};

// y[i,:] = softmax(x[i,:]), or its logarithm; contiguous rows; the row's maximum is subtracted first. y may be x.
struct SoftmaxArgs {
  bool log;
  DType dtype;
  int64_t rows, cols;
  const void* x;
  void* y;
};

// Loss of a minibatch, its gradient, and the number of wrongly classified rows, in one pass.
//   value  = scale * sum_i w[i] l(y[i,:], t[i])     l as in formulas/losses.h
//   dy     = its gradient with respect to y
//   errors : labels: rows whose argmax (first of equals) differs from the label; with one column, whose (y > threshold)
//            differs. Targets with binary_cross_entropy: rows with any (y > 0) != (t > 0.5); with squared_error: 0;
//            with softmax_cross_entropy: rows whose argmax differs from the targets'.
//            threshold is 0.5 for squared_error, 0 for the others.
// The sum runs over blocks of rows fixed by `rows` alone, in float64.
struct LossArgs {
  Loss loss;
  DType dtype;
  int64_t rows, cols;
  const void* y;          // [rows,cols] outputs (logits for the cross-entropies)
  const int64_t* labels;  // [rows], or null; with squared_error and binary_cross_entropy they mean one-hot targets
                          // (one column: the label itself, 0 or 1, is the target)
  const void* targets;    // [rows,cols] of dtype, or null
  const void* weights;    // [rows] of dtype, or null for 1
  double scale;
  void* dy;         // out [rows,cols], or null
  double* value;    // out
  int64_t* errors;  // out
};

// One update of n parameters from their gradient; formulas in formulas/optimizers.h. The gradient is read as
// grad_scale * g (clipping). m and v are the optimiser's slots, null where it has none.
struct StepArgs {
  Optimizer optimizer;
  DType dtype;
  int64_t n;
  void* w;
  const void* g;
  void* m;
  void* v;
  double lr, momentum, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step;  // 1 for the first update (Adam's bias correction)
};

// y[r,:] = (x[index[r],:] - shift[:]) * scale[:], converted to `to`; index null means rows 0..rows-1.
// Subtract, then multiply (never fused), so that every table gives the same bits.
struct GatherArgs {
  DType from;  // uint8, float32 or float64
  DType to;    // float32 or float64
  int64_t rows, cols;
  const void* x;
  int64_t ldx;
  const int64_t* index;
  const void* shift;  // [cols] of `to`, or null (then scale is null too)
  const void* scale;  // [cols] of `to`
  void* y;            // [rows,cols] contiguous
};

// n random numbers; the same bits on every table and device.
//   uniform      lo + (hi - lo) u, u in [0,1): word i%4 of philox(seed, stream, i/4) (float64: two words each, i%2,
//   i/2) normal       lo = mean, hi = standard deviation; Box-Muller in float64 from one counter per pair, rounded last
//   permutation  y int64: 0..n-1 sorted by (64 random bits of counter i, i)
struct RandomArgs {
  Random kind;
  DType dtype;
  int64_t n;
  uint64_t seed, stream;
  double lo, hi;
  void* y;
};

// y[i] = x[i] / (1 - rate) where u[i] >= rate, else 0; u as uniform float32 of (seed, stream). Forward and backward
// call it with the same (seed, stream), so no mask is kept. y may be x.
struct DropoutArgs {
  DType dtype;
  int64_t n;
  double rate;
  uint64_t seed, stream;
  const void* x;
  void* y;
};

struct Kernels {
  const char* name;   // what DELTARULE_ISA and dr.isas() call it
  const char* needs;  // CPU features, in words
  void (*gemm)(const GemmArgs&) noexcept;
  void (*online)(const OnlineArgs&) noexcept;
  void (*unary)(const UnaryArgs&) noexcept;
  void (*binary)(const BinaryArgs&) noexcept;
  void (*copy)(const CopyArgs&) noexcept;
  void (*activate)(const ActivateArgs&) noexcept;
  void (*activate_grad)(const ActivateGradArgs&) noexcept;
  void (*reduce)(const ReduceArgs&) noexcept;
  void (*softmax)(const SoftmaxArgs&) noexcept;
  void (*loss)(const LossArgs&) noexcept;
  void (*step)(const StepArgs&) noexcept;
  void (*gather_rows)(const GatherArgs&) noexcept;
  void (*fill_random)(const RandomArgs&) noexcept;
  void (*dropout)(const DropoutArgs&) noexcept;
  // For benches: rounds of multiply-adds in registers, on the calling thread; how many FLOP that was.
  int64_t (*peak)(int64_t rounds) noexcept;
  const char* products[3] = {"float32", "float32", "float32"};  // what gemm forms for each Precision, in words
};

}  // namespace deltarule
