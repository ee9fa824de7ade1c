// loss: value, gradient and errors of a minibatch in one pass over its outputs.
//
// Computes   value = scale sum_i w_i l(y_i, t_i), dy = its gradient, errors = rows classified wrongly; l as in
//            formulas/losses.h. y[rows, cols], targets t[rows, cols] or labels[rows].
// Layout     rows in at most 64 blocks, fixed by `rows` alone, each with its partial sum in float64. A row of labels is
//            turned into one-hot targets in an L1 buffer of kChunk elements.
// Arithmetic one exponential an element (cross-entropies), else bound by memory. Threads from 16384 elements on.
// Measured   ns an element, float32, rows of 10 with labels, AVX-512 on an AMD EPYC (Zen 4), one thread,
//            `python bench/elementwise.py --slots`: squared error 4.2, binary cross-entropy 6.7, softmax cross-entropy
//            3.0 (5.3 through memory, as rows of more than a register and targets go; softmax alone is 0.65, its rows
//            go N at a time). Of a step of 784-800-10 with 100 rows the loss is 0.2 %.
// Refs       formulas/losses.h.

constexpr int64_t kLossBlocks = 64;

// The index np.argmax gives: the first NaN, else the first of the largest.
template <class V> int64_t argmax(const typename V::scalar* y, int64_t n) {
  return best_of_row<V, FoldMax>(y, 0, n).index;
}

// y[n] t[n] -> sum of l; dy[n] = factor * gradient unless null; whether any (y > 0) != (t > 1/2).
template <class V, class L>
double loss_piece(const typename V::scalar* y, const typename V::scalar* t, int64_t n, V factor, typename V::scalar* dy,
                  bool& differs) {
  const V one = lanes<V>(1.0), half = lanes<V>(0.5);
  double total = 0.0;
  V unequal = V::zero();
  for (int64_t begin = 0; begin < n; begin += kRun<V>) {
    const int64_t end = least(n, begin + kRun<V>);
    V part = V::zero();
    for (int64_t i = begin; i < end; i += V::N) {
      const int count = static_cast<int>(least(V::N, end - i));
      const V in = V::load_n(y + i, count), target = V::load_n(t + i, count);
      const V value = L::value(in, target);
      if (count == V::N) {
        part = part + value;
      } else {  // l(0, 0) need not be 0 beyond the end
        typename V::scalar lane[V::N];
        value.store_n(lane, count);
        part = part + V::load_n(lane, count);
      }
      if (dy != nullptr) (factor * L::gradient(in, target)).store_n(dy + i, count);
      if constexpr (L::counts_bits) {
        const V bit = select(less(V::zero(), in), one, V::zero());
        unequal = max(unequal, abs(bit - select(less(half, target), one, V::zero())));
      }
    }
    total += static_cast<double>(sum_lanes(part));
  }
  differs = max_lanes(unequal) > 0;
  return total;
}

// One row against a label: the targets are one-hot; with one column the label itself.
template <class V, class L>
double loss_of_label(const typename V::scalar* y, int64_t label, int64_t cols, V factor, typename V::scalar* dy) {
  using T = typename V::scalar;
  T target[kChunk];
  for (int64_t k = 0; k < least(cols, kChunk); ++k) target[k] = T(0);
  double total = 0.0;
  bool unused;
  for (int64_t j = 0; j < cols; j += kChunk) {
    const bool here = cols == 1 || (label >= j && label < j + kChunk);
    const int64_t at = cols == 1 ? 0 : label - j;
    if (here) target[at] = cols == 1 ? static_cast<T>(label) : T(1);
    total += loss_piece<V, L>(y + j, target, least(kChunk, cols - j), factor, dy != nullptr ? dy + j : nullptr, unused);
    if (here) target[at] = T(0);
  }
  return total;
}

// Row i under a loss that is a sum over elements. weight is w_i.
template <class V, class L> double elementwise_loss_row(const LossArgs& args, int64_t i, double weight, bool& wrong) {
  using T = typename V::scalar;
  const T* y = static_cast<const T*>(args.y) + i * args.cols;
  T* dy = args.dy != nullptr ? static_cast<T*>(args.dy) + i * args.cols : nullptr;
  const V factor = lanes<V>(args.scale * weight);
  if (args.labels == nullptr) {
    return loss_piece<V, L>(y, static_cast<const T*>(args.targets) + i * args.cols, args.cols, factor, dy, wrong);
  }
  const int64_t label = args.labels[i];
  wrong = args.cols == 1 ? (y[0] > T(L::threshold)) != (label != 0) : argmax<V>(y, args.cols) != label;
  return loss_of_label<V, L>(y, label, args.cols, factor, dy);
}

// Row i under the softmax cross-entropy.
template <class V> double softmax_loss_row(const LossArgs& args, int64_t i, double weight, bool& wrong) {
  using T = typename V::scalar;
  const int64_t n = args.cols;
  const T* y = static_cast<const T*>(args.y) + i * n;
  const T* t = args.labels == nullptr ? static_cast<const T*>(args.targets) + i * n : nullptr;
  T* dy = args.dy != nullptr ? static_cast<T*>(args.dy) + i * n : nullptr;
  const double factor = args.scale * weight;
  const T top = largest<V>(y, n);
  double mass = 1.0, value;  // mass: sum of the targets; value: sum of t_j (top - y_j)
  if (t == nullptr) {
    const int64_t label = args.labels[i];
    wrong = argmax<V>(y, n) != label;
    value = static_cast<double>(top) - static_cast<double>(y[label]);
  } else {
    wrong = argmax<V>(y, n) != argmax<V>(t, n);
    mass = value = 0.0;
    for (int64_t j = 0; j < n; ++j) {
      mass += static_cast<double>(t[j]);
      value += static_cast<double>(t[j]) * (static_cast<double>(top) - static_cast<double>(y[j]));
    }
  }
  const double sum = sum_exp<V>(y, n, top, dy);
  value += mass * log_of(sum);
  if (dy == nullptr) return value;
  const V share = lanes<V>(factor * mass / sum), lanes_factor = lanes<V>(factor);
  for (int64_t j = 0; j < n; j += V::N) {
    const int count = static_cast<int>(least(V::N, n - j));
    V out = V::load_n(dy + j, count) * share;
    if (t != nullptr) out = fnma(lanes_factor, V::load_n(t + j, count), out);
    out.store_n(dy + j, count);
  }
  if (t == nullptr) dy[args.labels[i]] -= static_cast<T>(factor);
  return value;
}

// The same for a row of at most one register against a label: nothing is stored and read again. The same bits.
template <class V> double softmax_loss_short_row(const LossArgs& args, int64_t i, double weight, bool& wrong) {
  using T = typename V::scalar;
  const int n = static_cast<int>(args.cols);
  const int64_t label = args.labels[i];
  const T* y = static_cast<const T*>(args.y) + i * n;
  const V in = V::load_n(y, n, lanes<V>(-__builtin_inf()));
  const T top = max_lanes(in);
  const V e = exp(in - V::set(top));
  const double sum = static_cast<double>(sum_lanes(e));
  if (sum != sum) return softmax_loss_row<V>(args, i, weight, wrong);
  wrong = y[label] != top;
  for (int64_t j = 0; j < label && !wrong; ++j) wrong = y[j] == top;
  const double value = static_cast<double>(top) - static_cast<double>(y[label]) + log_of(sum);
  if (args.dy == nullptr) return value;
  T* dy = static_cast<T*>(args.dy) + i * n;
  const double factor = args.scale * weight;
  (e * lanes<V>(factor / sum)).store_n(dy, n);
  dy[label] -= static_cast<T>(factor);
  return value;
}

template <class V, class Row> void loss_rows(const LossArgs& args, const Row& row) {
  using T = typename V::scalar;
  const int64_t block = most(1, blocks_of(args.rows, kLossBlocks));
  const int64_t blocks = blocks_of(args.rows, block);
  double sums[kLossBlocks];
  int64_t errors[kLossBlocks];
  for_tasks(blocks, args.rows * args.cols >= kCostlyParallel, [&](int64_t b) {
    sums[b] = 0.0;
    errors[b] = 0;
    for (int64_t i = b * block; i < least(args.rows, (b + 1) * block); ++i) {
      const double weight = args.weights != nullptr ? static_cast<double>(static_cast<const T*>(args.weights)[i]) : 1.0;
      bool wrong = false;
      sums[b] += weight * row(args, i, weight, wrong);
      errors[b] += wrong;
    }
  });
  double total = 0.0;
  *args.errors = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    total += sums[b];
    *args.errors += errors[b];
  }
  *args.value = args.scale * total;
}

// sum_i w_i, row after row.
double sum_of_weights(const LossArgs& args) {
  if (args.weights == nullptr) return static_cast<double>(args.rows);
  double sum = 0.0;
  if (args.dtype == DType::float32)
    for (int64_t i = 0; i < args.rows; ++i) sum += static_cast<double>(static_cast<const float*>(args.weights)[i]);
  else
    for (int64_t i = 0; i < args.rows; ++i) sum += static_cast<const double*>(args.weights)[i];
  return sum;
}

void loss(const LossArgs& given) noexcept {
  LossArgs args = given;
  const double weight = sum_of_weights(args);
  if (args.mean) args.scale = weight > 0.0 ? args.scale / weight : 0.0;
  *args.weight = weight;
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    switch (args.loss) {
      case Loss::squared_error:
        return loss_rows<V>(args, elementwise_loss_row<V, SquaredError>);
      case Loss::binary_cross_entropy:
        return loss_rows<V>(args, elementwise_loss_row<V, BinaryCrossEntropy>);
      case Loss::softmax_cross_entropy:
        if (args.labels != nullptr && args.cols <= V::N) return loss_rows<V>(args, softmax_loss_short_row<V>);
        return loss_rows<V>(args, softmax_loss_row<V>);
    }
  });
}
