// Samples: the x, y and weights of one call, checked once, in the form the kernels take; and minibatches cut from them.
#pragma once

#include <optional>

#include "engine/array.h"

namespace deltarule {

// What a network wants of its data. `op` begins every message.
struct SampleSpec {
  const char* op;
  int64_t inputs, outputs;
  DType dtype;
  Device& device;     // where they are wanted; what is elsewhere is copied there
  bool validated;     // the values of these very arrays have been looked at before
  bool real = false;  // targets may be any numbers: so may have been meant what came as labels
};

class Samples {
 public:
  Samples(const SampleSpec& spec, const Array& x, const std::optional<Array>& y, const std::optional<Array>& weight);

  int64_t rows() const { return x_.shape()[0]; }
  const Array& x() const { return x_; }              // [N,I] uint8, float32 or float64; rows contiguous
  const Array& labels() const { return labels_; }    // [N] int64, or empty (data() is null)
  const Array& targets() const { return targets_; }  // [N,O] float32 or float64, or empty
  const Array& weight() const { return weight_; }    // [N] float32 or float64, or empty

 private:
  void take_x(const SampleSpec& spec, const Array& x);
  void take_y(const SampleSpec& spec, const Array& y);
  void take_labels(const SampleSpec& spec, const Array& y);
  void take_weight(const SampleSpec& spec, const Array& weight);

  Array x_, labels_, targets_, weight_;
};

// [n] int64 on the device, contiguous, every entry in [0, rows).
Array checked_order(const char* op, const Array& order, int64_t rows, Device& device);

// Rows of a minibatch in the network's dtype, contiguous; null for what there is not.
struct Minibatch {
  int64_t rows;
  const void* x;          // [B,I]
  const int64_t* labels;  // [B]
  const void* targets;    // [B,O]
  const void* weights;    // [B]
};

// Rows [start, start + rows) of a larger one.
Minibatch rows_of(const Minibatch& whole, int64_t start, int64_t rows, DType dtype, int64_t inputs, int64_t outputs);

// Where minibatches are put together. Grows to the largest one; rows that are already as wanted are not copied.
class MinibatchBuffer {
 public:
  // Rows order[start], order[start + 1], ...; without an order start, start + 1, ... x -> (x - shift) * scale. With a
  // state its start counts as well, so that the rows are other ones every time the work is run.
  Minibatch cut(const Samples& samples, const Array& order, int64_t start, int64_t rows, DType dtype,
                const Array& shift, const Array& scale, const StepState* state = nullptr);

  int64_t version() const { return version_; }  // another one once the buffers are at another place

 private:
  int64_t version_ = 0;
  Array x_, labels_, targets_, weights_;
};

}  // namespace deltarule
