#include "engine/samples.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace deltarule {
namespace {

template <class T> int64_t first_not_finite(const T* x, int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const Bits exponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
  constexpr int64_t kBlock = 1024;  // integers have no order of summation to keep: a block is one vector loop
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t stop = std::min(n, start + kBlock);
    Bits found = 0;
    for (int64_t i = start; i < stop; ++i) found |= (std::bit_cast<Bits>(x[i]) & exponent) == exponent;
    if (!found) continue;
    for (int64_t i = start; i < stop; ++i)
      if (!std::isfinite(x[i])) return i;
  }
  return -1;
}

// x[N,C] with contiguous rows
template <class T> void check_finite(const char* op, const char* name, const Array& x) {
  const int64_t columns = x.rank() == 2 ? x.shape()[1] : 1;
  const bool one_run = x.is_contiguous();
  const int64_t runs = one_run ? 1 : x.shape()[0], length = one_run ? x.size() : columns;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t at = first_not_finite(x.as<T>() + run * x.strides()[0], length);
    if (at < 0) continue;
    const int64_t row = run + at / columns, column = at % columns;
    const T value = x.as<T>()[row * x.strides()[0] + column];
    throw ValueError(message(op, ": ", name, "[", row, ", ", column, "] is ", value, "; wanted finite numbers"));
  }
}

void check_finite(const char* op, const char* name, const Array& x) {
  if (x.dtype() == DType::float32) check_finite<float>(op, name, x);
  if (x.dtype() == DType::float64) check_finite<double>(op, name, x);
}

template <class T> void check_weights(const char* op, const Array& weight) {
  const T* w = weight.as<T>();
  for (int64_t i = 0; i < weight.size(); ++i)
    check<ValueError>(w[i] >= 0 && std::isfinite(w[i]), op, ": sample_weight[", i, "] is ", w[i],
                      "; wanted finite numbers, at least 0");
}

bool rows_contiguous(const Array& x) {
  return x.is_contiguous() || (x.strides()[1] == 1 && x.strides()[0] >= x.shape()[1]);
}

void grow(Array& buffer, const Shape& shape, DType dtype, Device& device) {
  if (buffer.data() == nullptr || buffer.size() < shape.size()) buffer = Array::empty(shape, dtype, device);
}

}  // namespace

Samples::Samples(const SampleSpec& spec, const Array& x, const std::optional<Array>& y,
                 const std::optional<Array>& weight) {
  take_x(spec, x);
  if (y) take_y(spec, *y);
  if (weight) take_weight(spec, *weight);
}

void Samples::take_x(const SampleSpec& spec, const Array& x) {
  check<TypeError>(x.dtype() == DType::uint8 || is_floating(x.dtype()), spec.op, ": x is ", name_of(x.dtype()),
                   "; wanted uint8, float32 or float64");
  check<ValueError>(x.rank() == 2, spec.op, ": x is ", x.shape(), "; wanted (rows, ", spec.inputs, ")");
  check<ValueError>(x.shape()[1] == spec.inputs, spec.op, ": x has ", x.shape()[1], " features, the network has ",
                    spec.inputs, " inputs");
  x_ = rows_contiguous(x) ? x : x.contiguous();
  if (!spec.validated) check_finite(spec.op, "x", x_);
}

void Samples::take_y(const SampleSpec& spec, const Array& y) {
  const bool floating = is_floating(y.dtype());
  check<ValueError>(y.rank() == 1 || (y.rank() == 2 && floating), spec.op, ": y is ", y.shape(), " ",
                    name_of(y.dtype()), "; wanted labels (rows,) or float targets (rows, ", spec.outputs, ")");
  check<ValueError>(y.shape()[0] == rows(), spec.op, ": y has ", y.shape()[0], " rows, x has ", rows());
  if (!floating) return take_labels(spec, y);

  const int64_t columns = y.rank() == 2 ? y.shape()[1] : 1;
  check<ValueError>(columns == spec.outputs, spec.op, ": y has ", columns, " float targets a row, the network has ",
                    spec.outputs, " outputs", y.rank() == 1 ? "; labels must be integers" : "");
  targets_ = *y.contiguous().reshaped({rows(), columns});
  if (!spec.validated) check_finite(spec.op, "y", targets_);
}

void Samples::take_labels(const SampleSpec& spec, const Array& y) {
  labels_ = y.dtype() == DType::int64 ? y.contiguous() : y.astype(DType::int64);
  if (spec.validated) return;
  const int64_t classes = std::max<int64_t>(spec.outputs, 2);
  const int64_t* label = labels_.as<int64_t>();
  for (int64_t i = 0; i < rows(); ++i)
    check<ValueError>(label[i] >= 0 && label[i] < classes, spec.op, ": y[", i, "] is ", label[i],
                      "; wanted labels from 0 to ", classes - 1);
}

void Samples::take_weight(const SampleSpec& spec, const Array& weight) {
  check<ValueError>(weight.rank() == 1 && weight.shape()[0] == rows(), spec.op, ": sample_weight is ", weight.shape(),
                    "; wanted (", rows(), ",), one for each row of x");
  weight_ = is_floating(weight.dtype()) ? weight.contiguous() : weight.astype(spec.dtype);
  if (spec.validated) return;
  if (weight_.dtype() == DType::float32) check_weights<float>(spec.op, weight_);
  else check_weights<double>(spec.op, weight_);
}

Array checked_order(const char* op, const Array& order, int64_t rows) {
  check<TypeError>(order.dtype() == DType::int64 || order.dtype() == DType::int32, op, ": order is ",
                   name_of(order.dtype()), "; wanted int64");
  check<ValueError>(order.rank() == 1, op, ": order is ", order.shape(), "; wanted (n,)");
  const Array indices = order.dtype() == DType::int64 ? order.contiguous() : order.astype(DType::int64);
  const int64_t* index = indices.as<int64_t>();
  for (int64_t i = 0; i < indices.size(); ++i)
    check<ValueError>(index[i] >= 0 && index[i] < rows, op, ": order[", i, "] is ", index[i], "; x has ", rows,
                      " rows");
  return indices;
}

Minibatch rows_of(const Minibatch& whole, int64_t start, int64_t rows, DType dtype, int64_t inputs, int64_t outputs) {
  const auto at = [&](const void* p, int64_t columns) -> const void* {
    return p ? static_cast<const char*>(p) + start * columns * size_of(dtype) : nullptr;
  };
  Minibatch part{rows, at(whole.x, inputs), nullptr, at(whole.targets, outputs), at(whole.weights, 1)};
  if (whole.labels) part.labels = whole.labels + start;
  return part;
}

Minibatch MinibatchBuffer::cut(const Samples& samples, const Array& order, int64_t start, int64_t rows, DType dtype,
                               const Array& shift, const Array& scale) {
  Device& device = samples.x().device();
  const int64_t* index = order.data() ? order.as<int64_t>() + start : nullptr;

  // source[N,C] -> rows[B,C] in `dtype`
  const auto gather = [&](const Array& source, Array& buffer, const Array& minus, const Array& times) -> const void* {
    if (source.data() == nullptr) return nullptr;
    const int64_t columns = source.rank() == 2 ? source.shape()[1] : 1;
    const int64_t ld = source.shape()[0] > 1 ? source.strides()[0] : columns;
    const char* first = source.as<char>() + (index ? 0 : start * ld * size_of(source.dtype()));
    const bool as_wanted = source.dtype() == dtype && (source.is_contiguous() || rows == 1);
    if (!index && as_wanted && minus.data() == nullptr) return first;
    grow(buffer, {rows, columns}, dtype, device);
    device.kernels().gather_rows(
        {source.dtype(), dtype, rows, columns, first, ld, index, minus.data(), times.data(), buffer.data()});
    return buffer.data();
  };

  Minibatch batch{rows, nullptr, nullptr, nullptr, nullptr};
  batch.x = gather(samples.x(), x_, shift, scale);
  batch.targets = gather(samples.targets(), targets_, Array(), Array());
  batch.weights = gather(samples.weight(), weights_, Array(), Array());
  if (samples.labels().data()) {
    batch.labels = samples.labels().as<int64_t>() + start;
    if (index) {
      grow(labels_, {rows}, DType::int64, device);
      for (int64_t i = 0; i < rows; ++i) labels_.as<int64_t>()[i] = samples.labels().as<int64_t>()[index[i]];
      batch.labels = labels_.as<int64_t>();
    }
  }
  return batch;
}

}  // namespace deltarule
