// Steps of plain descent in a row with the update of the weights deferred to their end.
//
// Computes   The weights of step t are W - X[<t]^T D[<t], rows of D = lr dz of the steps before, so that
//
//              x_t W_t = x_t W - (x_t X[<t]^T) D[<t].
//
//            Where all inputs X of a block of R rows are known beforehand, as those of the lowest layer are, X W, X X^T
//            and, at the end, W - X^T D are three products of matrices. A step is left with the sum over the rows
//            before it: its bits differ from those of a step by itself, its error does not grow.
// Arithmetic A step by itself takes W through the core three times (twice read, once written), and batch 1 is bound by
//            that. A block does so once for R rows, and pays R (I + O) more FLOP a row than 4 I O.
// Measured   AMD EPYC (Zen 4), one thread, float32, us a step of many in one call, by rows of a block (0: none):
//
//              net           batch      0     16     32     64     96
//              64-64-10          1    1.1    0.9    1.0    1.0    1.1
//              784-30-10         1    6.8    3.2    3.5    3.6    3.6
//              784-30-10         4   14.5    8.3    9.8   11.4   13.1
//              784-100-10        1   13.1    5.0    5.5    5.8    6.3
//              784-100-10        4   23.8   18.3   20.9   21.5   23.1
//              784-100-10       10   45.1           50.0   52.1   56.6
//              784-800-10        1   72.9   30.6   30.8   32.0   33.4
//              784-800-10       10    315            288    275    286
//              784-800-10       20    538            533    549    541
//              841-2500-500-10   1    479    359    308    287    280
//              841-2500-500-10  10   2711           2266   2081   1984
//              841-2500-500-10  32   6417                  6072   5911
//
//            Not done: the layers above, whose inputs come one by one. Of their three passes one would go; in L2 and L3
//            two passes that only read cost as much time as one that reads and one that writes.
// Refs       Delayed updates, known from determinants: McDaniel et al., J. Chem. Phys. 147, 174107, 2017.
#include <algorithm>

#include "engine/layer.h"

namespace deltarule {

// By shape alone: blocks show in the bits. Figures in the header.
int64_t Dense::block_steps(int64_t batch_size) const {
  constexpr int64_t kLeast = 1 << 14, kBeyondL2 = 1 << 19, kLarge = 1 << 20;  // weights
  const int64_t weights = inputs() * outputs();
  if (weights < kLeast) return 1;
  if (batch_size <= 4) return (weights < kLarge ? 16 : 64) / batch_size;
  if (weights < kBeyondL2 || (weights < kLarge && batch_size > 16)) return 1;
  return std::max<int64_t>(1, 64 / batch_size);
}

void Dense::reserve_block(int64_t rows, DType dtype, Device& device) {
  if (block_.y.data() && block_.y.shape()[0] >= rows) return;
  block_.y = Array::empty({rows, outputs()}, dtype, device);
  block_.d = Array::empty({rows, outputs()}, dtype, device);
  block_.gram = Array::empty({rows, rows}, dtype, device);
  block_.rate = Array::empty({1}, dtype, device);
}

// x[R,I]: y = x w, gram = x x^T
void Dense::begin_block(const Pass& pass, const void* x) {
  block_.rows = pass.rows, block_.done = 0, block_.x = x;
  pass.kernels.gemm(product(pass, x, block_.y.data()));
  GemmArgs args;
  args.dtype = pass.dtype;
  args.precision = pass.precision;
  args.trans_b = true;
  args.M = args.N = pass.rows, args.K = inputs();
  args.A = args.B = x, args.lda = args.ldb = inputs();
  args.C = block_.gram.data(), args.ldc = pass.rows;
  pass.kernels.gemm(args);
}

// gram[B,<done] d[<done,O], to be taken from y[B,O] for the next B rows
GemmArgs Dense::block_product(const Pass& pass) const {
  const int64_t size = size_of(pass.dtype);
  GemmArgs args;
  args.dtype = pass.dtype;
  args.precision = pass.precision;
  args.M = pass.rows, args.N = outputs(), args.K = block_.done;
  args.alpha = -1.0, args.beta = 1.0;
  args.A = block_.gram.as<char>() + block_.done * block_.rows * size, args.lda = block_.rows;
  args.B = block_.d.data(), args.ldb = outputs();
  args.C = block_.y.as<char>() + block_.done * outputs() * size, args.ldc = outputs();
  return args;
}

// dz[B,O] -> the next rows of d, times lr
void Dense::defer(const Pass& pass, double lr) {
  if (pass.dtype == DType::float32) *block_.rate.as<float>() = static_cast<float>(lr);
  else *block_.rate.as<double>() = lr;
  void* d = block_.d.as<char>() + block_.done * outputs() * size_of(pass.dtype);
  const int64_t n = pass.rows * outputs();
  pass.kernels.binary({Binary::multiply, pass.dtype, 1, {n}, dz_, {1}, block_.rate.data(), {0}, d, {1}});
  block_.done += pass.rows;
}

// w -= x^T d
void Dense::end_block(const Pass& pass) {
  if (block_.done > 0) {
    GemmArgs args;
    args.dtype = pass.dtype;
    args.precision = pass.precision;
    args.trans_a = true;
    args.M = inputs(), args.N = outputs(), args.K = block_.done;
    args.A = block_.x, args.lda = inputs();
    args.B = block_.d.data(), args.ldb = outputs();
    args.C = weight_.value.data(), args.ldc = outputs();
    args.epilogue = Epilogue::sgd;
    args.lr = 1.0;
    pass.kernels.gemm(args);
  }
  block_.rows = 0;
}

}  // namespace deltarule
