// unary, binary, activate, activate_grad, gather_rows, dropout.
//
// Computes   y = op(x), y = op(a, b) over strided grids; f and dy * f' over contiguous arrays; rows picked by index.
// Layout     the innermost axis is the output's closest; loops.inl brings strided operands into L1 buffers.
// Arithmetic cheap operations are bound by memory (8 to 12 bytes a FLOP), exp by its 12 operations for 8 bytes.
//            Threads share blocks of 16384 elements from 65536 (cheap) or 16384 (costly) elements on. Cheap
//            operations store outputs of 32 MB and more past the caches.
// Measured   ns an element, float32, AVX-512 on an AMD EPYC (Zen 4), 2 cores, one thread; in brackets times the best of
//            NumPy 2.4, PyTorch 2.13 and JAX, `python bench/elementwise.py`:
//            100000 elements: exp 0.15 (3.2), tanh 0.22 (1.7), sigmoid 0.19 (2.2), relu 0.082 (1.2), add 0.14 (1.0);
//            10 million: exp 0.27 (1.8), tanh 0.27 (1.4), sigmoid 0.37 (1.4), relu 0.35 (1.05), add 0.5 (0.85 to 1.1).
//            relu of 10 million into NumPy's memory, cold: 0.23, through the caches 0.32 (PyTorch 0.31).
//            `--slots`, 16000 elements: log 0.40 (0.98), log1p 0.55 (0.82), erf 0.86, gelu 0.76, softplus 0.96,
//            dropout 1.3.
//            Dead ends: stores past the caches under a function of many instructions (exp of 10 million 0.87 instead of
//            0.29, sigmoid 1.5 instead of 0.38); software prefetch 256 to 2048 bytes ahead (add from L3: 0.93 to 1.03
//            times as fast as none); eight at a time or two halves of an array in turn (add from L3: nothing over four
//            at a time; half as wide vectors: 1.05); unrolling exp and tanh (2 %).
// Refs       formulas/math.h.

constexpr int64_t kStreamed = int64_t{1} << 25;  // bytes of an output no cache will hold: stored past them
template <class T> bool is_streamed(int64_t n) { return n * static_cast<int64_t>(sizeof(T)) >= kStreamed; }

// y[n] = f(i) for the vector at i, last(i, rest) for `rest` elements, less than one. Four at a time, loads before
// stores: from L2 and L3 30 % faster than one by one.
template <class V, class F, class Rest>
void map(typename V::scalar* y, int64_t n, bool streamed, const F& f, const Rest& last) {
  int64_t i = 0;
  if (streamed && n >= kChunk) {
    const int head = V::before_stream(y);
    if (head > 0) last(0, head).store_n(y, head);
    for (i = head; i + V::N <= n; i += V::N) f(i).stream(y + i);
    V::end_stream();
  }
  for (; i + 4 * V::N <= n; i += 4 * V::N) {
    V out[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) out[k] = f(i + k * V::N);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) out[k].store(y + i + k * V::N);
  }
  for (; i + V::N <= n; i += V::N) f(i).store(y + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0) last(i, rest).store_n(y + i, rest);
}

template <class V, class Op>
void unary_loop(const typename V::scalar* x, typename V::scalar* y, int64_t n, bool streamed) {
  map<V>(
      y, n, streamed, [&](int64_t i) { return Op::f(V::load(x + i)); },
      [&](int64_t i, int rest) { return Op::f(V::load_n(x + i, rest)); });
}

template <class V, class Op>
void binary_loop(const typename V::scalar* a, const typename V::scalar* b, typename V::scalar* y, int64_t n,
                 bool streamed) {
  map<V>(
      y, n, streamed, [&](int64_t i) { return Op::f(V::load(a + i), V::load(b + i)); },
      [&](int64_t i, int rest) { return Op::f(V::load_n(a + i, rest), V::load_n(b + i, rest)); });
}

template <class T> void unary_grid(const UnaryArgs& args, bool cheap, void (*loop)(const T*, T*, int64_t, bool)) {
  const Grid<2> grid = make_grid<2>(args.rank, args.shape, {args.stride_y, args.stride_x});
  const int64_t stride_y = grid.stride[0][grid.rank - 1], stride_x = grid.stride[1][grid.rank - 1];
  const bool streamed = cheap && is_streamed<T>(grid.total);
  const auto piece = [&](int64_t begin, int64_t end) {
    alignas(64) T in[kChunk], out[kChunk];
    walk(grid, begin, end, [&](const int64_t* offset, int64_t n) {
      T* y = static_cast<T*>(args.y) + offset[0];
      const T* x = static_cast<const T*>(args.x) + offset[1];
      if (stride_x == 1 && stride_y == 1) return loop(x, y, n, streamed && x != y);
      for (int64_t i = 0; i < n; i += kChunk) {
        const int64_t count = least(kChunk, n - i);
        const T* from = contiguous(x, stride_x, i, count, in);
        if (stride_y == 1) {
          loop(from, y + i, count, streamed);
        } else {
          loop(from, out, count, false);
          scatter(out, count, y + i * stride_y, stride_y);
        }
      }
    });
  };
  for_blocks(grid.total, kBlock, grid.total >= (cheap ? kCheapParallel : kCostlyParallel), piece);
}

template <class T> void binary_grid(const BinaryArgs& args, void (*loop)(const T*, const T*, T*, int64_t, bool)) {
  const Grid<3> grid = make_grid<3>(args.rank, args.shape, {args.stride_y, args.stride_a, args.stride_b});
  const int inner = grid.rank - 1;
  const int64_t stride_y = grid.stride[0][inner], stride_a = grid.stride[1][inner], stride_b = grid.stride[2][inner];
  const bool streamed = is_streamed<T>(grid.total);
  const auto piece = [&](int64_t begin, int64_t end) {
    alignas(64) T in_a[kChunk], in_b[kChunk], out[kChunk];
    walk(grid, begin, end, [&](const int64_t* offset, int64_t n) {
      T* y = static_cast<T*>(args.y) + offset[0];
      const T* a = static_cast<const T*>(args.a) + offset[1];
      const T* b = static_cast<const T*>(args.b) + offset[2];
      if (stride_a == 1 && stride_b == 1 && stride_y == 1) return loop(a, b, y, n, streamed && a != y && b != y);
      for (int64_t i = 0; i < n; i += kChunk) {
        const int64_t count = least(kChunk, n - i);
        const T* from_a = contiguous(a, stride_a, i, count, in_a);
        const T* from_b = contiguous(b, stride_b, i, count, in_b);
        if (stride_y == 1) {
          loop(from_a, from_b, y + i, count, streamed);
        } else {
          loop(from_a, from_b, out, count, false);
          scatter(out, count, y + i * stride_y, stride_y);
        }
      }
    });
  };
  for_blocks(grid.total, kBlock, grid.total >= kCheapParallel, piece);
}

void unary(const UnaryArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    with_unary(args.op, [&](auto op) {
      unary_grid<typename decltype(v)::scalar>(args, op.cheap, unary_loop<decltype(v), decltype(op)>);
    });
  });
}

void binary(const BinaryArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    with_binary(args.op, [&](auto op) {
      binary_grid<typename decltype(v)::scalar>(args, binary_loop<decltype(v), decltype(op)>);
    });
  });
}

template <class F> constexpr bool is_cheap = false;  // bound by memory
template <> constexpr bool is_cheap<Linear> = true;
template <> constexpr bool is_cheap<Threshold> = true;
template <> constexpr bool is_cheap<Relu> = true;
template <> constexpr bool is_cheap<LeakyRelu> = true;

template <class V, class F>
void activate_loop(const typename V::scalar* x, typename V::scalar* y, int64_t n, V slope, bool streamed) {
  map<V>(
      y, n, streamed, [&](int64_t i) { return F::f(V::load(x + i), slope); },
      [&](int64_t i, int rest) { return F::f(V::load_n(x + i, rest), slope); });
}

// x may be null: then y stands in for it, and f' does not look.
template <class V, class F>
void activate_grad_loop(const typename V::scalar* dy, const typename V::scalar* x, const typename V::scalar* y,
                        typename V::scalar* dx, int64_t n, V slope) {
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) (V::load(dy + i) * F::df(V::load(x + i), V::load(y + i), slope)).store(dx + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0)
    (V::load_n(dy + i, rest) * F::df(V::load_n(x + i, rest), V::load_n(y + i, rest), slope)).store_n(dx + i, rest);
}

void activate(const ActivateArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    with_activation(args.activation, [&](auto f) {
      constexpr bool cheap = is_cheap<decltype(f)>;
      const int64_t threshold = cheap ? kCheapParallel : kCostlyParallel;
      const bool streamed = cheap && is_streamed<T>(args.n) && args.x != args.y;
      for_blocks(args.n, kBlock, args.n >= threshold, [&](int64_t begin, int64_t end) {
        activate_loop<V, decltype(f)>(static_cast<const T*>(args.x) + begin, static_cast<T*>(args.y) + begin,
                                      end - begin, lanes<V>(args.slope), streamed);
      });
    });
  });
}

void activate_grad(const ActivateGradArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    using T = typename V::scalar;
    const T* y = static_cast<const T*>(args.y);
    const T* x = args.x != nullptr ? static_cast<const T*>(args.x) : y;
    with_activation(args.activation, [&](auto f) {
      for_blocks(args.n, kBlock, args.n >= kCheapParallel, [&](int64_t begin, int64_t end) {
        activate_grad_loop<V, decltype(f)>(static_cast<const T*>(args.dy) + begin, x + begin, y + begin,
                                           static_cast<T*>(args.dx) + begin, end - begin, lanes<V>(args.slope));
      });
    });
  });
}

// The compiler vectorises these: no products are added, so nothing depends on contraction, and every table agrees.
template <class From, class To> void gather_row(const From* x, const To* shift, const To* scale, To* y, int64_t n) {
  if (shift == nullptr) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<To>(x[i]) - shift[i]) * scale[i];
  }
}

template <class From, class To> void gather_typed(const GatherArgs& args) {
  const int64_t block = most(1, kBlock / most(1, args.cols));
  for_blocks(args.rows, block, args.rows * args.cols >= kCheapParallel, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = args.index != nullptr ? args.index[r] : r;
      gather_row(static_cast<const From*>(args.x) + from * args.ldx, static_cast<const To*>(args.shift),
                 static_cast<const To*>(args.scale), static_cast<To*>(args.y) + r * args.cols, args.cols);
    }
  });
}

template <class To> void gather_to(const GatherArgs& args) {
  switch (args.from) {
    case DType::uint8:
      return gather_typed<uint8_t, To>(args);
    case DType::float32:
      return gather_typed<float, To>(args);
    default:
      return gather_typed<double, To>(args);
  }
}

void gather_rows(const GatherArgs& args) noexcept {
  if (args.to == DType::int64) {
    for (int64_t r = 0; r < args.rows; ++r) {
      const auto* x = static_cast<const int64_t*>(args.x) + (args.index != nullptr ? args.index[r] : r) * args.ldx;
      for (int64_t j = 0; j < args.cols; ++j) static_cast<int64_t*>(args.y)[r * args.cols + j] = x[j];
    }
  } else if (args.to == DType::float32) {
    gather_to<float>(args);
  } else {
    gather_to<double>(args);
  }
}

// u >= rate, said in the 24 bits of u.
template <class T> void dropout_typed(const DropoutArgs& args) {
  const double scaled = args.rate * 0x1p24;
  uint32_t bound = static_cast<uint32_t>(scaled);
  if (bound < scaled) ++bound;
  const T kept = static_cast<T>(1.0 - args.rate);
  for_blocks(args.n, kBlock, args.n >= kCostlyParallel, [&](int64_t begin, int64_t end) {
    uint32_t words[kPhiloxWords];
    for (int64_t i = begin; i < end; i += kPhiloxWords) {
      philox_words(args.seed, args.stream, static_cast<uint64_t>(i / 4), words);
      const T* x = static_cast<const T*>(args.x) + i;
      T* y = static_cast<T*>(args.y) + i;
      const int64_t n = least(kPhiloxWords, end - i);
      for (int64_t k = 0; k < n; ++k) y[k] = (words[k] >> 8) >= bound ? x[k] / kept : T(0);
    }
  });
}

void dropout(const DropoutArgs& args) noexcept {
  if (args.dtype == DType::float32) {
    dropout_typed<float>(args);
  } else {
    dropout_typed<double>(args);
  }
}
