#include "engine/samples.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <string>

namespace deltarule {
namespace {

// Elements that are converted at a time to be looked at: those of a cache, or enough for a whole GPU.
constexpr int64_t kHostBlock = 1 << 15, kDeviceBlock = 1 << 24;

// The place of the first element of x[N] or [N,C], rows contiguous, that the slot `find` finds; -1: none.
int64_t find(const Array& x, double least, int64_t below) {
  Device& device = x.device();
  const int64_t columns = x.rank() == 2 ? x.shape()[1] : 1;
  const int64_t ld = x.is_contiguous() ? columns : x.strides()[0];
  int64_t at = -1;
  const Array there = device.host_accessible ? Array() : Array::empty({}, DType::int64, device);
  int64_t* const out = device.host_accessible ? &at : there.as<int64_t>();
  device.kernels().find({x.dtype(), x.shape()[0], columns, x.data(), ld, least, below, out});
  if (!device.host_accessible) device.download(device, &at, out, sizeof at);
  return at;
}

// The same by what the elements are once they are float32.
int64_t find_as_float32(const Array& x, double least) {
  Device& device = x.device();
  const int64_t rows = x.shape()[0], columns = x.rank() == 2 ? x.shape()[1] : 1;
  const int64_t ld = x.is_contiguous() ? columns : x.strides()[0];
  const int64_t block = std::clamp<int64_t>((device.host_accessible ? kHostBlock : kDeviceBlock) / columns, 1, rows);
  const Array converted = Array::empty({block, columns}, DType::float32, device);
  for (int64_t start = 0; start < rows; start += block) {
    const int64_t count = std::min(block, rows - start);
    device.kernels().gather_rows({x.dtype(), DType::float32, count, columns, x.as<double>() + start * ld, ld, nullptr,
                                  nullptr, nullptr, converted.data()});
    const int64_t at = find(converted.sliced(0, 0, count, 1), least, 0);
    if (at >= 0) return start * columns + at;
  }
  return -1;
}

// Throws with the element found: "OP: NAME[3, 5] is nan; wanted ...".
template <class... Wanted>
void refuse(const char* op, const char* name, const Array& x, int64_t at, const Wanted&... wanted) {
  const int64_t columns = x.rank() == 2 ? x.shape()[1] : 1;
  const int64_t row = at / columns, column = at % columns;
  const int64_t place = (x.is_contiguous() ? columns : x.strides()[0]) * row + column;
  const Array value = x.strided(place, {}, {}).on(cpu_device());
  std::ostringstream text;
  if (value.dtype() == DType::float32) text << *value.as<float>();
  if (value.dtype() == DType::float64) text << *value.as<double>();
  if (value.dtype() == DType::int64) text << *value.as<int64_t>();
  const std::string index = x.rank() == 2 ? message(row, ", ", column) : message(row);
  throw ValueError(message(op, ": ", name, "[", index, "] is ", text.str(), wanted...));
}

// Finite numbers, also once they are the network's, and at least `least`.
void check_finite(const SampleSpec& spec, const char* name, const Array& x,
                  double least = -std::numeric_limits<double>::infinity()) {
  if (!is_floating(x.dtype()) || x.size() == 0) return;
  const bool narrow = x.dtype() == DType::float64 && spec.dtype == DType::float32;
  const int64_t at = narrow ? find_as_float32(x, least) : find(x, least, 0);
  if (at >= 0)
    refuse(spec.op, name, x, at, "; wanted finite numbers", narrow ? " of float32" : "",
           least == 0.0 ? ", at least 0" : "");
}

bool rows_contiguous(const Array& x) {
  return x.is_contiguous() || (x.strides()[1] == 1 && x.strides()[0] >= x.shape()[1]);
}

bool too_small(const Array& buffer, const Shape& shape) {
  return buffer.data() == nullptr || buffer.size() < shape.size();
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
  x_ = (rows_contiguous(x) ? x : x.contiguous()).on(spec.device);
  if (!spec.validated) check_finite(spec, "x", x_);
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
  targets_ = *y.contiguous().on(spec.device).reshaped({rows(), columns});
  if (!spec.validated) check_finite(spec, "y", targets_);
}

void Samples::take_labels(const SampleSpec& spec, const Array& y) {
  labels_ = (y.dtype() == DType::int64 ? y.contiguous() : y.astype(DType::int64)).on(spec.device);
  if (spec.validated || rows() == 0) return;
  const int64_t classes = std::max<int64_t>(spec.outputs, 2);
  const int64_t at = find(labels_, 0.0, classes);
  if (at >= 0)
    refuse(spec.op, "y", labels_, at, "; wanted labels from 0 to ", classes - 1,
           spec.real ? "; regression wants floats: y.astype(float)" : "");
}

void Samples::take_weight(const SampleSpec& spec, const Array& weight) {
  check<ValueError>(weight.rank() == 1 && weight.shape()[0] == rows(), spec.op, ": sample_weight is ", weight.shape(),
                    "; wanted (", rows(), ",), one for each row of x");
  weight_ = (is_floating(weight.dtype()) ? weight.contiguous() : weight.astype(spec.dtype)).on(spec.device);
  if (!spec.validated) check_finite(spec, "sample_weight", weight_, 0.0);
}

Array checked_order(const char* op, const Array& order, int64_t rows, Device& device) {
  check<TypeError>(order.dtype() == DType::int64 || order.dtype() == DType::int32, op, ": order is ",
                   name_of(order.dtype()), "; wanted int64");
  check<ValueError>(order.rank() == 1, op, ": order is ", order.shape(), "; wanted (n,)");
  const Array indices = (order.dtype() == DType::int64 ? order.contiguous() : order.astype(DType::int64)).on(device);
  const int64_t at = indices.size() > 0 ? find(indices, 0.0, rows) : -1;
  if (at >= 0) refuse(op, "order", indices, at, "; x has ", rows, " rows");
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
                               const Array& shift, const Array& scale, const StepState* state) {
  Device& device = samples.x().device();
  const int64_t* index = order.data() ? order.as<int64_t>() + start : nullptr;

  // source[N,C] -> rows[B,C] in `dtype`
  const auto gather = [&](const Array& source, Array& buffer, DType to, const Array& minus,
                          const Array& times) -> const void* {
    if (source.data() == nullptr) return nullptr;
    const int64_t columns = source.rank() == 2 ? source.shape()[1] : 1;
    const int64_t ld = source.shape()[0] > 1 ? source.strides()[0] : columns;
    const char* first = source.as<char>() + (index ? 0 : start * ld * size_of(source.dtype()));
    const bool as_wanted = source.dtype() == to && (source.is_contiguous() || rows == 1);
    if (!index && state == nullptr && as_wanted && minus.data() == nullptr) return first;
    if (too_small(buffer, {rows, columns})) {
      buffer = Array::empty({rows, columns}, to, device);
      ++version_;
    }
    device.kernels().gather_rows(
        {source.dtype(), to, rows, columns, first, ld, index, minus.data(), times.data(), buffer.data(), state});
    return buffer.data();
  };

  Minibatch batch{rows, nullptr, nullptr, nullptr, nullptr};
  batch.x = gather(samples.x(), x_, dtype, shift, scale);
  batch.targets = gather(samples.targets(), targets_, dtype, Array(), Array());
  batch.weights = gather(samples.weight(), weights_, dtype, Array(), Array());
  batch.labels = static_cast<const int64_t*>(gather(samples.labels(), labels_, DType::int64, Array(), Array()));
  return batch;
}

}  // namespace deltarule
