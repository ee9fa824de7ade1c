// softmax, and the pieces of it that loss shares.
//
// Computes   y = e^(x - max x) / sum e^(x - max x) over contiguous rows, or its logarithm.
// Layout     rows of up to two vectors are taken N at a time and transposed in registers, a row a lane: maximum and sum
//            run down registers, and no lane of the exponential is idle. Rows left over, and those of up to four
//            vectors, stay in registers one by one; the sum's order, and so a row's bits, are the same either way.
// Arithmetic bound by the exponential; 16 rows of 10: 128 shuffles beside 10 exponentials.
// Measured   ns an element, float32, AVX-512 on an AMD EPYC (Zen 4), 2 cores, one thread; in brackets times the best of
//            NumPy 2.4, PyTorch 2.13 and JAX, `python bench/elementwise.py`, 100000 elements: rows of 10 0.61 (2.4),
//            rows of 1000 0.30 (2.0).
//            N rows at a time against one by one, softmax (its logarithm): rows of 2 2.2 times (3.2) as fast, of 10 1.6
//            (2.6), of 16 1.3 (2.3), of 32 1.2 (1.9); AVX2, rows of 10: 3.8 (3.1).
//            Dead end: rows of three and four vectors N at a time: 0.8 to 0.9 times as fast (1.3 to 1.7).
// Refs       isa/*.h (transpose).

// The largest of x[n], for subtracting: a NaN may get lost here, it comes back with the sum.
template <class V> typename V::scalar largest(const typename V::scalar* x, int64_t n) {
  const V lowest = lanes<V>(-__builtin_inf());
  V best = lowest;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) best = max(best, V::load(x + i));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) best = max(best, V::load_n(x + i, rest, lowest));
  return max_lanes(best);
}

// Sum of e^(x - shift) over x[n]; the exponentials go to y unless it is null. y may be x.
template <class V>
double sum_exp(const typename V::scalar* x, int64_t n, typename V::scalar shift, typename V::scalar* y) {
  const V lanes_shift = V::set(shift);
  double total = 0.0;
  for (int64_t begin = 0; begin < n; begin += kRun<V>) {
    const int64_t end = least(n, begin + kRun<V>);
    V part = V::zero();
    int64_t i = begin;
    for (; i + V::N <= end; i += V::N) {
      const V e = exp(V::load(x + i) - lanes_shift);
      if (y != nullptr) e.store(y + i);
      part = part + e;
    }
    const int rest = static_cast<int>(end - i);
    if (rest > 0) {  // e^-inf = 0 in the lanes beyond the end
      const V e = exp(V::load_n(x + i, rest, lanes<V>(-__builtin_inf())) - lanes_shift);
      if (y != nullptr) e.store_n(y + i, rest);
      part = part + e;
    }
    total += static_cast<double>(sum_lanes(part));
  }
  return total;
}

// log of a positive float64, through the same formula as everything else.
inline double log_of(double x) {
  double lane[F64::N];
  log(F64::set(x)).store(lane);
  return lane[0];
}

// x[n] -> y[n], softmax or its logarithm; y may be x.
template <class V> void softmax_row(const typename V::scalar* x, int64_t n, bool logarithm, typename V::scalar* y) {
  const typename V::scalar top = largest<V>(x, n);
  const double sum = sum_exp<V>(x, n, top, logarithm ? nullptr : y);
  const V lanes_top = V::set(top), log_sum = lanes<V>(logarithm ? log_of(sum) : 0.0), factor = lanes<V>(1.0 / sum);
  for (int64_t i = 0; i < n; i += V::N) {
    const int count = static_cast<int>(least(V::N, n - i));
    const V in = V::load_n(logarithm ? x + i : y + i, count);
    (logarithm ? (in - lanes_top) - log_sum : in * factor).store_n(y + i, count);
  }
}

// The same where a row fits Parts registers: nothing is stored and read again.
template <class V, int Parts>
void softmax_short_row(const typename V::scalar* x, int64_t n, bool logarithm, typename V::scalar* y) {
  using T = typename V::scalar;
  const int last = static_cast<int>(n) - (Parts - 1) * V::N;
  const V lowest = lanes<V>(-__builtin_inf());
  V in[Parts], e[Parts];
#pragma GCC unroll 4
  for (int k = 0; k < Parts; ++k) in[k] = k + 1 < Parts ? V::load(x + k * V::N) : V::load_n(x + k * V::N, last, lowest);
  V best = in[0];
#pragma GCC unroll 4
  for (int k = 1; k < Parts; ++k) best = max(best, in[k]);
  const V top = V::set(max_lanes(best));
  V part = V::zero();
#pragma GCC unroll 4
  for (int k = 0; k < Parts; ++k) {
    in[k] = in[k] - top;
    e[k] = exp(in[k]);
    part = part + e[k];
  }
  const T sum = sum_lanes(part);
  const V factor = V::set(T(1) / sum), log_sum = lanes<V>(logarithm ? log_of(static_cast<double>(sum)) : 0.0);
#pragma GCC unroll 4
  for (int k = 0; k < Parts; ++k) {
    const V out = logarithm ? in[k] - log_sum : e[k] * factor;
    if (k + 1 < Parts) out.store(y + k * V::N);
    else out.store_n(y + k * V::N, last);
  }
}

// sum_lanes of N registers at once, and bit for bit: register c has lane c of each.
template <class V> V sum_across(V (&lane)[V::N]) {
#pragma GCC unroll 4
  for (int half = V::N / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int c = 0; c < half; ++c) lane[c] = lane[c] + lane[c + half];
  return lane[0];
}

// log_of in every lane.
template <class V> V log_lanes(V x) {
  typename V::scalar lane[V::N];
  double wide[V::N];
  x.store(lane);
  for (int k = 0; k < V::N; ++k) wide[k] = static_cast<double>(lane[k]);
  for (int k = 0; k < V::N; k += F64::N) log(F64::load(wide + k)).store(wide + k);
  for (int k = 0; k < V::N; ++k) lane[k] = static_cast<typename V::scalar>(wide[k]);
  return V::load(lane);
}

// x[N, n] -> y[N, n]: N rows that fit Parts registers each, one row a lane, so that nothing runs across lanes. A row
// gets the bits softmax_short_row gives it. Registers reach into the rows that follow: what is read there is not used,
// what is written there is written over by those rows, which come later.
template <class V, int Parts>
void softmax_short_rows(const typename V::scalar* x, int64_t n, bool logarithm, typename V::scalar* y) {
  const int64_t end = V::N * n - V::N;  // the last place a whole register may stand
  const int last = static_cast<int>(n) - (Parts - 1) * V::N;
  V column[Parts][V::N], part[V::N];
#pragma GCC unroll 2
  for (int p = 0; p < Parts; ++p) {
#pragma GCC unroll 16
    for (int k = 0; k < V::N; ++k) {
      const int64_t at = k * n + p * V::N;
      column[p][k] = p + 1 < Parts || at <= end ? V::load(x + at) : V::load_n(x + at, last);
    }
    transpose(column[p]);
  }
  const auto each = [&](const auto& visit) {
#pragma GCC unroll 2
    for (int p = 0; p < Parts; ++p)
      for (int c = 0; c < (p + 1 < Parts ? V::N : last); ++c) visit(column[p][c], part[c]);
  };
  V top = column[0][0];
  each([&](V in, V) { top = max(top, in); });
  for (V& sum : part) sum = V::zero();
  if (logarithm) {
    each([&](V& in, V& sum) { sum = sum + exp(in = in - top); });
    const V log_sum = log_lanes(sum_across(part));
    each([&](V& in, V) { in = in - log_sum; });
  } else {
    each([&](V& in, V& sum) { sum = sum + (in = exp(in - top)); });
    const V factor = lanes<V>(1.0) / sum_across(part);
    each([&](V& in, V) { in = in * factor; });
  }
#pragma GCC unroll 2
  for (int p = 0; p < Parts; ++p) transpose(column[p]);
#pragma GCC unroll 16
  for (int k = 0; k < V::N; ++k) {
#pragma GCC unroll 2
    for (int p = 0; p < Parts; ++p) {
      const int64_t at = k * n + p * V::N;
      if (p + 1 < Parts || at <= end) column[p][k].store(y + at);
      else column[p][k].store_n(y + at, last);
    }
  }
}

// Rows of at most so many elements are taken N at a time.
template <class V> constexpr int64_t kTogether = V::N > 1 ? 2 * V::N : 0;

template <class V>
using Softmax = void (*)(const typename V::scalar* x, int64_t n, bool logarithm, typename V::scalar* y);

// x[rows, n] -> y[rows, n]
template <class V>
void softmax_rows(const typename V::scalar* x, int64_t rows, int64_t n, bool logarithm, typename V::scalar* y) {
  constexpr Softmax<V> kShort[] = {softmax_short_row<V, 1>, softmax_short_row<V, 2>, softmax_short_row<V, 3>,
                                   softmax_short_row<V, 4>};
  int64_t row = 0;
  if (n <= kTogether<V>) {
    const Softmax<V> some = n <= V::N ? softmax_short_rows<V, 1> : softmax_short_rows<V, 2>;
    for (; row + V::N <= rows; row += V::N) some(x + row * n, n, logarithm, y + row * n);
  }
  const Softmax<V> one = n <= 4 * V::N ? kShort[(n - 1) / V::N] : softmax_row<V>;
  for (; row < rows; ++row) one(x + row * n, n, logarithm, y + row * n);
}

void softmax(const SoftmaxArgs& args) noexcept {
  if (args.cols == 0) return;
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const int64_t n = args.cols, few = most(1, kBlock / 4 / n);
    const int64_t block = n <= kTogether<V> ? blocks_of(few, V::N) * V::N : few;
    for_blocks(args.rows, block, args.rows * n >= kCostlyParallel, [&](int64_t begin, int64_t end) {
      softmax_rows<V>(static_cast<const T*>(args.x) + begin * n, end - begin, n, args.log,
                      static_cast<T*>(args.y) + begin * n);
    });
  });
}
