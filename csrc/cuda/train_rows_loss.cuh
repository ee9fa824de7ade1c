// Loss of one row: value, error and gradient, by every warp of every block for itself, so that all go on with the same
// bits and nothing has to be handed round. Formulas: formulas/losses.h; corner cases as in cpu/loss.inl.
#pragma once

#include "cuda/vec.cuh"
#include "formulas/losses.h"

namespace deltarule::cuda {
namespace {

namespace rows {

// What a row's outputs are held against.
template <class T> struct Target {
  const T* values;  // [n], or null for the label
  int64_t label;    // with one output: the target itself, else the index of the one that should be 1
  int n;

  __device__ __forceinline__ T at(int j) const {
    if (values != nullptr) return values[j];
    return n == 1 ? static_cast<T>(label) : static_cast<T>(j == label);
  }
};

template <class T> struct RowLoss {
  double value;
  bool wrong;
  T top, share;  // softmax: the largest output; the targets' sum divided by that of e^(y - top)
};

template <class T> __device__ __forceinline__ T sum_of_warp(T x) {
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) x += __shfl_xor_sync(~0u, x, bit);
  return x;
}

// The largest of x[n]; a NaN may get lost here, it comes back with the sum.
template <class T> __device__ __forceinline__ T largest_of_warp(const T* x, int n) {
  T best = -static_cast<T>(__builtin_inf());
  for (int j = static_cast<int>(threadIdx.x) % 32; j < n; j += 32) best = x[j] > best ? x[j] : best;
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(~0u, best, bit);
    best = other > best ? other : best;
  }
  return best;
}

// The index np.argmax gives: the first NaN, else the first of the largest.
template <class T, class At> __device__ __forceinline__ int argmax_of_warp(int n, const At& at) {
  const auto better = [](T a, T b) { return a > b || (a != a && b == b); };
  T best = -static_cast<T>(__builtin_inf());
  int index = n;  // none yet
  for (int j = static_cast<int>(threadIdx.x) % 32; j < n; j += 32) {
    const T x = at(j);
    if (index < n && !better(x, best)) continue;
    best = x;
    index = j;
  }
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) {
    const T x = __shfl_xor_sync(~0u, best, bit);
    const int j = __shfl_xor_sync(~0u, index, bit);
    if (j == n || (index < n && (better(best, x) || (!better(x, best) && index < j)))) continue;
    best = x;
    index = j;
  }
  return index;
}

template <class L, class T>
__device__ __forceinline__ RowLoss<T> elementwise_loss(const T* y, const Target<T>& target) {
  using V = Lane<T>;
  RowLoss<T> row{0.0, false, T(0), T(0)};
  bool differs = false;
  for (int j = static_cast<int>(threadIdx.x) % 32; j < target.n; j += 32) {
    const T t = target.at(j);
    row.value += static_cast<double>(L::value(V{y[j]}, V{t}).v);
    if constexpr (L::counts_bits) differs = differs || (y[j] > T(0)) != (t > T(0.5));
  }
  row.value = sum_of_warp(row.value);
  if (target.values != nullptr) row.wrong = __any_sync(~0u, differs);
  else if (target.n == 1) row.wrong = (y[0] > T(L::threshold)) != (target.label != 0);
  else row.wrong = argmax_of_warp<T>(target.n, [&](int j) { return y[j]; }) != target.label;
  return row;
}

template <class T> __device__ __forceinline__ RowLoss<T> softmax_loss(const T* y, const Target<T>& target) {
  using V = Lane<T>;
  RowLoss<T> row{0.0, false, largest_of_warp(y, target.n), T(0)};
  double sum = 0.0, mass = 0.0;
  for (int j = static_cast<int>(threadIdx.x) % 32; j < target.n; j += 32) {
    sum += static_cast<double>(exp(V{y[j] - row.top}).v);
    if (target.values == nullptr) continue;
    const double t = static_cast<double>(target.at(j));
    mass += t;
    row.value += t * (static_cast<double>(row.top) - static_cast<double>(y[j]));
  }
  sum = sum_of_warp(sum);
  const int found = argmax_of_warp<T>(target.n, [&](int j) { return y[j]; });
  if (target.values != nullptr) {
    mass = sum_of_warp(mass);
    row.value = sum_of_warp(row.value);
    row.wrong = found != argmax_of_warp<T>(target.n, [&](int j) { return target.at(j); });
  } else {
    mass = 1.0;
    row.value = static_cast<double>(row.top) - static_cast<double>(y[target.label]);
    row.wrong = found != target.label;
  }
  row.share = static_cast<T>(mass) / static_cast<T>(sum);
  row.value += mass * static_cast<double>(log(V{static_cast<T>(sum)}).v);
  return row;
}

template <class T> __device__ __forceinline__ RowLoss<T> loss_of_row(Loss loss, const T* y, const Target<T>& target) {
  if (loss == Loss::squared_error) return elementwise_loss<SquaredError>(y, target);
  if (loss == Loss::binary_cross_entropy) return elementwise_loss<BinaryCrossEntropy>(y, target);
  return softmax_loss(y, target);
}

// dl/dy[j]
template <class T>
__device__ __forceinline__ T loss_gradient(Loss loss, const RowLoss<T>& row, T y, const Target<T>& target, int j) {
  using V = Lane<T>;
  const V in{y}, t{target.at(j)};
  if (loss == Loss::squared_error) return SquaredError::gradient(in, t).v;
  if (loss == Loss::binary_cross_entropy) return BinaryCrossEntropy::gradient(in, t).v;
  return ::fma(exp(V{y - row.top}).v, row.share, -t.v);
}

}  // namespace rows
}  // namespace
}  // namespace deltarule::cuda
