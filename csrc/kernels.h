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
//   - Lists (StepArgs::tensors) are in the host's memory, and read before the slot returns.
//   - Aliasing: an output may be the very same memory as an input of an element-wise slot (same pointer, same strides);
//     partial overlap is not allowed. gemm's C overlaps no other operand: it holds partial sums.
//   - beta = 0 means C is not read (NaN in it does not spread).
//   - Same arguments, same table: the same bits, for every number of threads.
//   - Work is complete (CPU) or enqueued on the device's stream (CUDA) on return. What a slot gives back as a number
//     (LossArgs::value, FindArgs::at) is in device memory too.
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

// What changes from step to step of a training, in the memory of a device that queues its work: such a step is recorded
// once and then run again and again, with other rows, rates and random numbers. Where an argument's `state` is not null
// the slot takes the named fields from there and not from its own; tables that work at once never see one.
struct StepState {
  int64_t start;      // gather_rows: the rows index[start + r], or start + r
  int64_t slot;       // loss: number of the step in its call
  int64_t step;       // dropout: number of updates made so far
  int64_t updates;    // step: Adam's t of this update
  int64_t stopped;    // not 0: a loss was not finite, and nothing is updated any more
  double lr;          // gemm's sgd, online, step
  double grad_scale;  // step
};

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
  const StepState* state = nullptr;  // sgd: lr, stopped
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
  const void* z;                     // [I], or null if f' needs y alone
  const void* y;                     // [I] or null
  void* db;                          // out [I] or null
  const StepState* state = nullptr;  // lr, stopped
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
//   value  = scale * sum_i w[i] l(y[i,:], t[i])     l as in formulas/losses.h; with `mean` divided by sum_i w[i]
//                                                   (0 if that is 0)
//   weight = sum_i w[i], in float64, row after row
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
  bool mean;
  void* dy;         // out [rows,cols], or null
  double* value;    // out
  double* weight;   // out
  int64_t* errors;  // out
  // With it value and weight go to value[slot] and weight[slot], errors are added to what is there, and a value that is
  // not finite sets `stopped`; once that is set nothing is written any more.
  StepState* state = nullptr;
};

// n parameters next to each other, their gradient, and the optimiser's slots, null where it has none.
struct StepTensor {
  int64_t n;
  void* w;
  const void* g;
  void* m;
  void* v;
  bool decays;  // weight_decay is for them; else it counts as 0
};

// One update of every tensor of a list; formulas in formulas/optimizers.h. Gradients are read as grad_scale * g
// (clipping). Tensors share no memory. Devices whose launches cost time make one of the whole list.
struct StepArgs {
  Optimizer optimizer;
  DType dtype;
  int64_t count;
  const StepTensor* tensors;  // [count]
  double lr, momentum, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step;                      // 1 for the first update (Adam's bias correction)
  const StepState* state = nullptr;  // lr, updates, grad_scale, stopped
};

// y[r,:] = (x[index[r],:] - shift[:]) * scale[:], converted to `to`; index null means rows 0..rows-1.
// Subtract, then multiply (never fused), so that every table gives the same bits.
struct GatherArgs {
  DType from;  // uint8, float32 or float64; or int64
  DType to;    // float32 or float64; int64 from int64, without shift
  int64_t rows, cols;
  const void* x;
  int64_t ldx;
  const int64_t* index;
  const void* shift;                 // [cols] of `to`, or null (then scale is null too)
  const void* scale;                 // [cols] of `to`
  void* y;                           // [rows,cols] contiguous
  const StepState* state = nullptr;  // start
};

// The first element of x[rows,cols], rows ldx apart, that is no finite number at least `least` (floating dtypes) or not
// in [least, below) (int64): *at = its row * cols + its column, or -1.
struct FindArgs {
  DType dtype;  // float32, float64 or int64
  int64_t rows, cols;
  const void* x;
  int64_t ldx;
  double least;  // -inf: any
  int64_t below;
  int64_t* at;  // out
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
  // step: the stream is that of `stream` plus it
  const StepState* state = nullptr;
};

// y[r] = a random deformation of the grey image x[index[r]], one bilinear interpolation through one map; what lies
// outside the image is `background`. Pixel (i, j) of y is x at
//   (u, v) = M (j - (width - 1)/2, i - (height - 1)/2) + ((width - 1)/2, (height - 1)/2) + alpha (D_x, D_y)[i, j]
// M undoes a rotation, or a horizontal shear (either by a coin where both are given), by an angle uniform in
// +-`rotation` or +-`shear` times factor[index[r]], of the image magnified by 1 +- scale_x, 1 +- scale_y, uniform. D is
// noise uniform in (-1, 1) smoothed along columns, then along rows, by taps[0], taps[1] = taps[-1], ... taps[radius],
// zero outside. What a sample draws depends on (seed, stream) and its number, first + index[r], alone:
// formulas/deform.h. float32, every operation rounded by itself in a fixed order: the same bits on every table and
// device.
struct DeformArgs {
  static constexpr int kMaxRadius = 63;
  DType from;  // uint8 or float32
  int64_t rows, height, width;
  const void* x;  // [n,height*width], rows ldx apart
  int64_t ldx;
  const int64_t* index;  // [rows], or null: rows 0..rows-1
  int64_t first;
  const float* factor;  // [n], or null for 1
  uint64_t seed, stream;
  double rotation, shear;  // in turns
  double scale_x, scale_y;
  int radius;  // -1: no noise is drawn and D is 0
  float taps[kMaxRadius + 1];
  float alpha, background;
  float* y;       // out [rows,height*width]
  float* fields;  // out [rows,2,height,width], alpha D_x and alpha D_y, or null; radius is not -1
};

// One step's end: StepState for the next, rates[slot] its learning rate. Nothing changes once it is stopped.
struct AdvanceArgs {
  StepState* state;
  int64_t rows;         // of the step that is over
  const double* rates;  // [steps]
  int64_t steps;        // of the call
};

// state->grad_scale = min(1, clip_norm / s), s^2 the sum, in float64, of the squares of all tensors' g; 1 where s is 0.
// Of the tensors n and g alone are read.
struct ClipArgs {
  DType dtype;
  int64_t count;
  const StepTensor* tensors;  // [count]
  double clip_norm;
  StepState* state;
};

// One dense layer of TrainRowsArgs.
struct TrainRowsLayer {
  int64_t inputs, outputs;
  void* w;     // [inputs,outputs]
  void* bias;  // [outputs] or null
  Activation activation;
  double slope;
};

// Plain gradient descent on single rows, one after the other, through a whole network: the same steps as gather_rows,
// gemm, loss, online, step and advance would make, in the order of the rows, in one call. `state` is where the call
// begins and, afterwards, where the next one would: row s has the rate rates[slot + s], its loss goes to
// value[slot + s].
struct TrainRowsArgs {
  static constexpr int kMaxLayers = 16;
  DType dtype;
  Precision precision;
  int layers;
  TrainRowsLayer layer[kMaxLayers];
  Loss loss;
  int64_t steps;          // rows of the call
  GatherArgs x;           // rows is 1
  const int64_t* labels;  // of all samples, gathered by x.index; or null
  const void* targets;    // [samples,outputs] of dtype or null
  const double* rates;    // [slot + steps]
  double weight_decay;
  double* value;    // [slot + steps]
  int64_t* errors;  // added to
  StepState* state;
  int64_t known_rates = 0;  // how many there are, if more: then state->lr becomes that of the step that follows
  int blocks = 0;           // of the kernel; 0: as shape and device suggest. For tests and benches
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
  void (*find)(const FindArgs&) noexcept;
  void (*fill_random)(const RandomArgs&) noexcept;
  void (*dropout)(const DropoutArgs&) noexcept;
  void (*deform)(const DeformArgs&) noexcept;
  // For benches: rounds of multiply-adds in registers, on the calling thread; how many FLOP that was.
  int64_t (*peak)(int64_t rounds) noexcept;
  // Of devices that queue their work; null elsewhere.
  void (*advance)(const AdvanceArgs&) noexcept = nullptr;
  void (*clip)(const ClipArgs&) noexcept = nullptr;
  // Training row after row in one call, where there is a kernel for it; null elsewhere.
  void (*train_rows)(const TrainRowsArgs&) noexcept = nullptr;
  bool (*trains_rows)(const TrainRowsArgs&) noexcept = nullptr;  // whether that kernel takes this network
  const char* products[3] = {"float32", "float32", "float32"};   // what gemm forms for each Precision, in words
};

}  // namespace deltarule
