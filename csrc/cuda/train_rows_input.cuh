// The next row's numbers, on their way while this one trains.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/train_rows_plan.h"

namespace deltarule::cuda {
namespace {

namespace rows {

// In front of shared memory: what all threads need now and then, and one thread's count of errors.
struct Head {
  int64_t start, slot, stopped;  // as the call found them
  int64_t errors;
  int64_t label[2];  // of this row and the next, taken in turn
  double rate[2];
  int64_t row;     // the next one's index
  int64_t finite;  // this row's loss is
};
static_assert(sizeof(Head) <= kHeadBytes);

// Element i of the input is that of thread i % kThreads, as everywhere; so are the targets.
template <class T> struct Incoming {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static constexpr int kAhead = 4;  // elements of a thread that are loaded early

  const TrainRowsArgs& args;
  const int inputs, outputs;
  int64_t row, after;  // on its way, and the one that follows
  int64_t label;
  double rate;
  T target;
  Bits bits[kAhead];

  __device__ __forceinline__ Incoming(const TrainRowsArgs& call, int row_inputs, int row_outputs)
      : args(call), inputs(row_inputs), outputs(row_outputs) {}

  // 0 beyond the last: loaded then for nothing.
  __device__ __forceinline__ int64_t row_of(const Head& head, int step) const {
    if (step >= args.steps) return 0;
    return args.x.index != nullptr ? args.x.index[head.start + step] : head.start + step;
  }

  // As it is in memory, so that nothing waits for the load; float64 for float32 only is converted at once.
  __device__ __forceinline__ Bits load(int64_t i) const {
    const int64_t at = row * args.x.ldx + i;
    if (args.x.from == DType::uint8) return static_cast<const uint8_t*>(args.x.x)[at];
    if (args.x.from == DType::float32) return static_cast<const uint32_t*>(args.x.x)[at];
    if constexpr (sizeof(T) == 8) return static_cast<const uint64_t*>(args.x.x)[at];
    else return __float_as_uint(static_cast<float>(static_cast<const double*>(args.x.x)[at]));
  }

  __device__ __forceinline__ T value(Bits got, int64_t i) const {
    T x;
    if (args.x.from == DType::uint8) x = static_cast<T>(static_cast<uint32_t>(got));
    else if (sizeof(T) == 4 || args.x.from == DType::float32) x = __uint_as_float(static_cast<uint32_t>(got));
    else x = static_cast<T>(__longlong_as_double(static_cast<long long>(got)));
    if (args.x.shift == nullptr) return x;
    return (x - static_cast<const T*>(args.x.shift)[i]) * static_cast<const T*>(args.x.scale)[i];
  }

  __device__ __forceinline__ const T* targets() const { return static_cast<const T*>(args.targets) + row * outputs; }

  // Step `step` of the call, whose row's index is `index`.
  __device__ __forceinline__ void begin(const Head& head, int step, int64_t index) {
    const int thread = static_cast<int>(threadIdx.x);
    row = index;
    after = row_of(head, step + 1);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = k * kThreads + thread;
      bits[k] = i < inputs ? load(i) : Bits(0);
    }
    label = args.labels != nullptr ? args.labels[row] : 0;
    rate = args.rates[head.slot + (step < args.steps ? step : 0)];
    target = args.labels == nullptr && thread < outputs ? targets()[thread] : T(0);
  }

  // Its input, which no other thread reads, and label or targets, which all read later.
  __device__ __forceinline__ void finish(Head& head, int step, T* to_input, T* to_target) const {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = k * kThreads + thread;
      if (i < inputs) to_input[i] = value(bits[k], i);
    }
    for (int i = kAhead * kThreads + thread; i < inputs; i += kThreads) to_input[i] = value(load(i), i);
    if (thread == 0) {
      head.label[step & 1] = label;
      head.rate[step & 1] = rate;
      head.row = after;
    }
    if (args.labels != nullptr) return;
    if (thread < outputs) to_target[thread] = target;
    for (int j = kThreads + thread; j < outputs; j += kThreads) to_target[j] = targets()[j];
  }
};

}  // namespace rows
}  // namespace
}  // namespace deltarule::cuda
