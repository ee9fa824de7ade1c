// reduce.
//
// Computes   y[outer, inner] = op over n of x[outer, n, inner].
// Layout     inner = 1: a row is folded in runs of 64 vectors. Otherwise columns are taken in strips of 4 vectors
//            that walk down n in runs of 64 rows, 256 columns at a time. A run is folded in lanes of its dtype, runs in
//            float64. Few long rows or columns are cut into chunks for the threads; the cuts depend on the shape alone.
// Arithmetic bound by memory.
// Measured   ns an element, float32, AVX-512 on an AMD EPYC (Zen 4), 2 cores, one thread; in brackets times the best of
//            NumPy 2.4, PyTorch 2.13 and JAX, `python bench/elementwise.py`: sum of 10000 0.060 (3.5), of 100000 0.041
//            (1.3), of 10 million 0.15 (0.8; 0.94 where calls come in random order, another array read before each).
//            `--slots`, 16000 elements, times NumPy: max 2.6, argmax 1.5. Sums down the columns of 3162 x 3162, times
//            NumPy, which reads whole rows: 0.66; with strips of 64 columns instead of 256 0.53.
//            Dead ends, sum of 10 million: four streams in turn 1.02 to 1.04 times as fast, eight 0.95 to 1.01;
//            prefetch 512 to 8192 bytes ahead 0.87 to 0.99, and from L3 0.7 to 0.97.
// Refs       Higham, Accuracy and Stability of Numerical Algorithms, ch. 4 (blocked summation).

template <class V> constexpr int64_t kRun = 64 * V::N;  // elements of a row folded in lanes before float64 takes over
constexpr int64_t kRunRows = 64;                        // the same down a column
constexpr int64_t kStrip = 256;                         // columns of a task
constexpr int64_t kFewTasks = 16;                       // fewer rows or strips than this are cut into chunks
constexpr int64_t kRowChunks = 32, kColumnChunks = 8;

// How elements are folded in lanes, f(accumulator, x), how accumulators are, merge(a, b), and partial results in
// float64, join(a, b); from the identity on, which is 0 where it would be squared.
struct Sums {
  static constexpr double identity = 0.0;
  template <class V> static V merge(V a, V b) { return a + b; }
  template <class V> static double across(V a) { return static_cast<double>(sum_lanes(a)); }
  static double join(double a, double b) { return a + b; }
};
struct FoldSum : Sums {
  template <class V> static V f(V total, V x) { return total + x; }
};
struct FoldSquares : Sums {
  template <class V> static V f(V total, V x) { return fma(x, x, total); }
};

template <class V> bool any_nan(V a) { return any(is_nan(a)); }

// NaN is better than any number.
struct FoldMax {
  static constexpr double identity = -__builtin_inf();
  template <class V> static V f(V best, V x) { return maximum(x, best); }
  template <class V> static V merge(V a, V b) { return maximum(a, b); }
  template <class V> static double across(V a) { return any_nan(a) ? __builtin_nan("") : double{max_lanes(a)}; }
  static bool better(double a, double b) { return a > b || (a != a && b == b); }
  static double join(double a, double b) { return better(b, a) ? b : a; }
};
struct FoldMin {
  static constexpr double identity = __builtin_inf();
  template <class V> static V f(V best, V x) { return minimum(x, best); }
  template <class V> static V merge(V a, V b) { return minimum(a, b); }
  template <class V> static double across(V a) { return any_nan(a) ? __builtin_nan("") : double{min_lanes(a)}; }
  static bool better(double a, double b) { return a < b || (a != a && b == b); }
  static double join(double a, double b) { return better(b, a) ? b : a; }
};

// x[n] -> its fold, n <= kRun.
template <class V, class Fold> double fold_run(const typename V::scalar* x, int64_t n) {
  const V identity = lanes<V>(Fold::identity);
  V part[4] = {identity, identity, identity, identity};
  int64_t i = 0;
  for (; i + 4 * V::N <= n; i += 4 * V::N) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) part[k] = Fold::f(part[k], V::load(x + i + k * V::N));
  }
  for (; i + V::N <= n; i += V::N) part[0] = Fold::f(part[0], V::load(x + i));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) part[1] = Fold::f(part[1], V::load_n(x + i, rest, identity));
  return Fold::across(Fold::merge(Fold::merge(part[0], part[1]), Fold::merge(part[2], part[3])));
}

template <class V, class Fold> double fold_row(const typename V::scalar* x, int64_t n) {
  double total = Fold::identity;
  for (int64_t i = 0; i < n; i += kRun<V>) total = Fold::join(total, fold_run<V, Fold>(x + i, least(kRun<V>, n - i)));
  return total;
}

struct Best {
  double value;
  int64_t index;  // -1: none yet
};

template <class Fold> Best better_of(Best a, Best b) {
  return a.index < 0 || (b.index >= 0 && Fold::better(b.value, a.value)) ? b : a;
}

// Where `value` stands first in x[n], which has it; NaN stands for any NaN.
template <class V> int64_t position(const typename V::scalar* x, int64_t n, typename V::scalar value) {
  const V wanted = V::set(value);
  const auto is_there = [&](int64_t i) { return value == value ? x[i] == value : x[i] != x[i]; };
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    const V here = V::load(x + i);
    if (any(value == value ? equal(here, wanted) : is_nan(here))) break;
  }
  while (i + 1 < n && !is_there(i)) ++i;
  return i;
}

// The first of the best elements of x[begin, end).
template <class V, class Fold> Best best_of_row(const typename V::scalar* x, int64_t begin, int64_t end) {
  Best best{0.0, -1};
  for (int64_t i = begin; i < end; i += kRun<V>) {
    const int64_t count = least(kRun<V>, end - i);
    const double value = fold_run<V, Fold>(x + i, count);
    if (best.index >= 0 && !Fold::better(value, best.value)) continue;
    best = {value, i + position<V>(x + i, count, static_cast<typename V::scalar>(value))};
  }
  return best;
}

// done(row, result), the result being part(row, begin, end), whole or merged from chunks in their order.
template <class Result, class Part, class Merge, class Done>
void for_rows(int64_t outer, int64_t n, const Part& part, const Merge& merge, const Done& done) {
  const bool parallel = outer * n >= kCheapParallel;
  if (parallel && outer < kFewTasks) {
    const int64_t length = blocks_of(blocks_of(n, kRowChunks), 1024) * 1024;
    const int64_t chunks = blocks_of(n, length);
    for (int64_t row = 0; row < outer; ++row) {
      Result parts[kRowChunks] = {};
      for_tasks(chunks, true, [&](int64_t c) { parts[c] = part(row, c * length, least(n, (c + 1) * length)); });
      for (int64_t c = 1; c < chunks; ++c) parts[0] = merge(parts[0], parts[c]);
      done(row, parts[0]);
    }
  } else {
    for_blocks(outer, most(1, kBlock / most(1, n)), parallel, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) done(row, part(row, 0, n));
    });
  }
}

// x[rows, width] with leading dimension ld, rows <= kRunRows and width <= 4 vectors, joined to total[width].
template <class V, class Fold>
void fold_strip_run(const typename V::scalar* x, int64_t ld, int64_t rows, int64_t width, double* total) {
  using T = typename V::scalar;
  const V identity = lanes<V>(Fold::identity);
  V part[4] = {identity, identity, identity, identity};
  if (width == 4 * V::N) {
    for (int64_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) part[k] = Fold::f(part[k], V::load(x + r * ld + k * V::N));
    }
  } else {
    const int whole = static_cast<int>(width / V::N), rest = static_cast<int>(width % V::N);
    for (int k = 0; k < whole; ++k)
      for (int64_t r = 0; r < rows; ++r) part[k] = Fold::f(part[k], V::load(x + r * ld + k * V::N));
    if (rest > 0)
      for (int64_t r = 0; r < rows; ++r) part[whole] = Fold::f(part[whole], V::load_n(x + r * ld + whole * V::N, rest));
  }
  T lane[4 * V::N];
  for (int k = 0; k < 4; ++k) part[k].store(lane + k * V::N);
  for (int64_t j = 0; j < width; ++j) total[j] = Fold::join(total[j], static_cast<double>(lane[j]));
}

// x[rows, width] with leading dimension ld -> total[width]. Run by run over all of the width: rows are read in long
// pieces.
template <class V, class Fold>
void fold_strip(const typename V::scalar* x, int64_t ld, int64_t rows, int64_t width, double* total) {
  for (int64_t j = 0; j < width; ++j) total[j] = Fold::identity;
  for (int64_t begin = 0; begin < rows; begin += kRunRows)
    for (int64_t j = 0; j < width; j += 4 * V::N)
      fold_strip_run<V, Fold>(x + begin * ld + j, ld, least(kRunRows, rows - begin), least(4 * V::N, width - j),
                              total + j);
}

template <class V, class Fold> void fold_columns(const ReduceArgs& args) {
  using T = typename V::scalar;
  constexpr int64_t kWidth = kStrip;
  const int64_t strips = blocks_of(args.inner, kWidth), tasks = args.outer * strips;
  const bool parallel = tasks * args.n * least(kWidth, args.inner) >= kCheapParallel;
  const int64_t chunks = parallel && tasks < kFewTasks ? kColumnChunks : 1;
  const int64_t length = most(1, blocks_of(args.n, chunks));
  const auto strip = [&](int64_t task, int64_t chunk, double* total) {
    const int64_t o = task / strips, j = task % strips * kWidth, begin = least(args.n, chunk * length);
    fold_strip<V, Fold>(static_cast<const T*>(args.x) + (o * args.n + begin) * args.inner + j, args.inner,
                        least(length, args.n - begin), least(kWidth, args.inner - j), total);
  };
  const auto write = [&](int64_t task, const double* total) {
    const int64_t o = task / strips, j = task % strips * kWidth;
    T* y = static_cast<T*>(args.y) + o * args.inner + j;
    for (int64_t k = 0; k < least(kWidth, args.inner - j); ++k) y[k] = static_cast<T>(total[k]);
  };
  if (chunks == 1) {
    for_tasks(tasks, parallel, [&](int64_t task) {
      double total[kWidth];
      strip(task, 0, total);
      write(task, total);
    });
    return;
  }
  double total[kFewTasks * kColumnChunks][kWidth];
  for_tasks(tasks * chunks, true, [&](int64_t i) { strip(i / chunks, i % chunks, total[i]); });
  for (int64_t task = 0; task < tasks; ++task) {
    double* sum = total[task * chunks];
    for (int64_t c = 1; c < chunks; ++c)
      for (int64_t k = 0; k < least(kWidth, args.inner - task % strips * kWidth); ++k)
        sum[k] = Fold::join(sum[k], total[task * chunks + c][k]);
    write(task, sum);
  }
}

template <class V, class Fold> void fold(const ReduceArgs& args) {
  using T = typename V::scalar;
  if (args.inner != 1) return fold_columns<V, Fold>(args);
  const auto part = [&](int64_t row, int64_t begin, int64_t end) {
    return fold_row<V, Fold>(static_cast<const T*>(args.x) + row * args.n + begin, end - begin);
  };
  for_rows<double>(args.outer, args.n, part, Fold::join,
                   [&](int64_t row, double total) { static_cast<T*>(args.y)[row] = static_cast<T>(total); });
}

template <class V, class Fold> void fold_index(const ReduceArgs& args) {
  using T = typename V::scalar;
  const T* const x = static_cast<const T*>(args.x);
  int64_t* const y = static_cast<int64_t*>(args.y);
  if (args.inner == 1) {
    const auto part = [&](int64_t row, int64_t begin, int64_t end) {
      return best_of_row<V, Fold>(x + row * args.n, begin, end);
    };
    return for_rows<Best>(args.outer, args.n, part, better_of<Fold>,
                          [&](int64_t row, Best best) { y[row] = best.index; });
  }
  for_tasks(args.outer, args.outer * args.n * args.inner >= kCheapParallel, [&](int64_t o) {
    const T* slab = x + o * args.n * args.inner;
    for (int64_t j = 0; j < args.inner; j += kChunk) {
      T best[kChunk];
      const int64_t width = least(kChunk, args.inner - j);
      for (int64_t k = 0; k < width; ++k) {
        best[k] = slab[j + k];
        y[o * args.inner + j + k] = 0;
      }
      for (int64_t r = 1; r < args.n; ++r) {
        const T* row = slab + r * args.inner + j;
        for (int64_t k = 0; k < width; ++k) {
          if (!Fold::better(row[k], best[k])) continue;
          best[k] = row[k];
          y[o * args.inner + j + k] = r;
        }
      }
    }
  });
}

// Products are kept in float64: a float32 product may leave float32's range on the way and come back.
template <class T> double product_of_row(const T* x, int64_t n) {
  constexpr int kAtOnce = 16;
  double total[kAtOnce];
  for (double& part : total) part = 1.0;
  int64_t i = 0;
  for (; i + kAtOnce <= n; i += kAtOnce)
    for (int k = 0; k < kAtOnce; ++k) total[k] *= static_cast<double>(x[i + k]);
  for (int k = 0; i < n; ++i, ++k) total[k] *= static_cast<double>(x[i]);
  for (int k = 1; k < kAtOnce; ++k) total[0] *= total[k];
  return total[0];
}

template <class V> void product(const ReduceArgs& args) {
  using T = typename V::scalar;
  const T* const x = static_cast<const T*>(args.x);
  if (args.inner == 1) {
    const int64_t block = most(1, kBlock / most(1, args.n));
    return for_blocks(args.outer, block, args.outer * args.n >= kCheapParallel, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        static_cast<T*>(args.y)[row] = static_cast<T>(product_of_row(x + row * args.n, args.n));
    });
  }
  for_tasks(args.outer, args.outer * args.n * args.inner >= kCheapParallel, [&](int64_t o) {
    const T* slab = x + o * args.n * args.inner;
    for (int64_t j = 0; j < args.inner; j += kChunk) {
      double total[kChunk];
      const int64_t width = least(kChunk, args.inner - j);
      for (int64_t k = 0; k < width; ++k) total[k] = 1.0;
      for (int64_t r = 0; r < args.n; ++r)
        for (int64_t k = 0; k < width; ++k) total[k] *= static_cast<double>(slab[r * args.inner + j + k]);
      for (int64_t k = 0; k < width; ++k) static_cast<T*>(args.y)[o * args.inner + j + k] = static_cast<T>(total[k]);
    }
  });
}

void reduce(const ReduceArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    switch (args.op) {
      case Reduction::sum:
        return fold<V, FoldSum>(args);
      case Reduction::prod:
        return product<V>(args);
      case Reduction::max:
        return fold<V, FoldMax>(args);
      case Reduction::min:
        return fold<V, FoldMin>(args);
      case Reduction::sum_squares:
        return fold<V, FoldSquares>(args);
      case Reduction::argmax:
        return fold_index<V, FoldMax>(args);
      case Reduction::argmin:
        return fold_index<V, FoldMin>(args);
    }
  });
}
