// One row of a loss: l(y, t), its gradient and whether it is classified wrongly; a team of threads a row (team.cuh).
// What is what stands at LossArgs in kernels.h, what becomes of NaN and inf in cpu/loss.inl.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/team.cuh"
#include "cuda/vec.cuh"
#include "formulas/losses.h"

namespace deltarule::cuda {
namespace {

struct RowLoss {
  double value;
  bool wrong;
};

// Whether a is chosen before b where the largest is looked for and NaN is larger than any number. Without branches.
template <class T> __device__ __forceinline__ bool better(T a, T b) { return (a > b) | ((a != a) & (b == b)); }

// Whether element j of a row, x, keeps element `at`, of value `chosen`, from being its argmax, the first of equals.
template <class T> __device__ __forceinline__ bool beats(T x, int64_t j, T chosen, int64_t at) {
  return ((j < at) & !better(chosen, x)) | better(x, chosen);
}

// A row as one thread of its team sees it: the elements first, first + step, ... . With `Held` there are at most so
// many and they stay in registers; with 0 they are read again in each pass.
template <class V, int Held, class Team> struct LossRow {
  using T = typename V::scalar;
  // Sums of long rows are kept in float64, those of a few elements a thread need not be.
  using Sum = std::conditional_t<Held != 0, T, double>;
  static constexpr int kHeld = Held != 0 ? Held : 1;

  Team team;
  int64_t cols, label;
  const T* y;
  const T* targets;  // null: the label
  T* dy;             // null: no gradient
  int first, step;
  T held_y[kHeld], held_target[kHeld];

  // pass(k, j, there): element j, the k-th of this thread. What is held is passed over in one go, also what is not
  // there: several exponentials run at the same time in a thread, where branches would put one after the other.
  template <class Pass> __device__ __forceinline__ void each(const Pass& pass) const {
    if constexpr (Held != 0) {
#pragma unroll
      for (int k = 0; k < Held; ++k) pass(k, first + k * step, first + k * step < cols);
    } else {
#pragma unroll 2
      for (int64_t j = first; j < cols; j += step) pass(0, j, true);
    }
  }

  __device__ __forceinline__ void hold() {
    if constexpr (Held != 0) {
#pragma unroll
      for (int k = 0; k < Held; ++k) {
        const int j = first + k * step;
        held_y[k] = j < cols ? y[j] : T(0);
        held_target[k] = targets != nullptr && j < cols ? targets[j] : T(0);
      }
    }
  }

  __device__ __forceinline__ T output(int k, int64_t j) const {
    if constexpr (Held != 0) return held_y[k];
    else return y[j];
  }

  __device__ __forceinline__ T target(int k, int64_t j) const {
    if (targets == nullptr) return cols == 1 ? static_cast<T>(label) : static_cast<T>(j == label);
    if constexpr (Held != 0) return held_target[k];
    else return targets[j];
  }

  // A loss that is a sum over elements.
  template <class L> __device__ __forceinline__ RowLoss elementwise(double factor) const {
    const bool by_argmax = targets == nullptr && cols > 1;
    const T chosen = by_argmax ? y[label] : T(0);
    Sum sum = 0;
    bool wrong = false;
    each([&](int k, int64_t j, bool there) {
      const V in{output(k, j)}, t{target(k, j)};
      const T value = L::value(in, t).v, gradient = static_cast<T>(factor) * L::gradient(in, t).v;
      sum += there ? value : T(0);
      if (there && dy != nullptr) dy[j] = gradient;
      if (by_argmax) wrong |= there & beats(in.v, j, chosen, label);
      else if (targets == nullptr) wrong |= there && (in.v > T(L::threshold)) != (label != 0);
      else if (L::counts_bits) wrong |= there && (in.v > T(0)) != (t.v > T(0.5));
    });
    return {team.fold(static_cast<double>(sum), AddUp{}), team.any(wrong)};
  }

  // The first of the largest elements, which are `top` where there is no NaN.
  __device__ __forceinline__ int64_t argmax(T top) const {
    const int64_t none = cols, beyond = 2 * cols;  // of numbers: after every NaN
    int64_t place = beyond;
    each([&](int k, int64_t j, bool there) {
      const T x = output(k, j);
      const int64_t here = !there ? beyond : x != x ? j : x == top ? none + j : beyond;
      place = here < place ? here : place;
    });
    place = team.fold(place, [](int64_t a, int64_t b) { return a < b ? a : b; });
    return place < none ? place : place - none;
  }

  __device__ __forceinline__ T largest() const {
    const auto larger = [](T a, T b) { return a > b ? a : b; };
    T top = -static_cast<T>(__builtin_inf());
    each([&](int k, int64_t j, bool there) { top = larger(there ? output(k, j) : top, top); });
    return team.fold(top, larger);
  }

  // dy = factor (p mass - t), p = e^(y - top) / sum. What is held of e^(y - top) is in `power`.
  __device__ __forceinline__ void softmax_gradient(double factor, double mass, Sum sum, T top,
                                                   const T (&power)[kHeld]) const {
    const T share = static_cast<T>(factor * mass) / static_cast<T>(sum), whole = static_cast<T>(factor);
    each([&](int k, int64_t j, bool there) {
      const T p = share * (Held != 0 ? power[k] : exp(V{output(k, j) - top}).v);
      const T t = targets != nullptr ? target(k, j) : static_cast<T>(j == label);
      if (there) dy[j] = fnma(V{whole}, V{t}, V{p}).v;
    });
  }

  __device__ __forceinline__ RowLoss softmax(double factor) const {
    const T top = largest();
    const bool labelled = targets == nullptr;
    const int64_t at = labelled ? label : argmax(top);
    const T chosen = labelled ? y[at] : targets[at];
    T power[kHeld];
    Sum sum = 0;
    double mass = 0.0, value = 0.0;  // sum of t_j, of t_j (top - y_j)
    bool wrong = false;
    each([&](int k, int64_t j, bool there) {
      const T in = output(k, j), t = target(k, j), e = exp(V{in - top}).v;
      power[k] = there ? e : T(0);
      sum += power[k];
      wrong |= there & beats(labelled ? in : t, j, chosen, at);
      if (labelled || !there) return;
      mass += static_cast<double>(t);
      value += static_cast<double>(t) * (static_cast<double>(top) - static_cast<double>(in));
    });
    sum = team.fold(sum, AddUp{});
    wrong = team.any(wrong);
    mass = labelled ? 1.0 : team.fold(mass, AddUp{});
    value = labelled ? static_cast<double>(top) - static_cast<double>(chosen) : team.fold(value, AddUp{});
    if (dy != nullptr) softmax_gradient(factor, mass, sum, top, power);
    return {value + mass * static_cast<double>(log(V{static_cast<T>(sum)}).v), wrong};
  }
};

}  // namespace
}  // namespace deltarule::cuda
