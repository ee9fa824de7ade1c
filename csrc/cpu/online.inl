// online: the way back through one dense layer for a minibatch of one row, and its update, in one pass over W.
//
// Computes   dx[I] = W[I,O] dz[O], then W -= lr (x dz^T + decay W), or by momentum as kernels.h has it for sgd; then
//            dx *= f'(z,y) of the layer below, db = dx.
// Layout     W is read and written row after row, as one stream:
//
//              W[i]   [ . . . . ] -> sum of w dz -> dx[i]
//                     [ . . . . ] <- w - lr x[i] dz
//
//            Short rows that do not end with a register would need a masked store each. They pass in chunks: dx first,
//            then the gradient of the chunk into a buffer, where each row's last register is stored whole and
//            overwritten by the next row, then one update over the chunk as it lies.
//
//            Where dx is not wanted (the lowest layer) and x[i] is 0 (the background of a digit), row i of the gradient
//            is 0 and W[i] is left alone, unless decay or velocity move it or dz is not finite.
// Arithmetic 4 FLOP for 8 bytes moved (float32): bound by memory. A net's step reads W twice and writes it once, which
//            is the least there can be: all of dz depends on all of the forward pass.
// Measured   AMD EPYC (Zen 4, AVX-512), one thread, float32, us for the update alone and with dx, forward beside them:
//            784 x 96 6.8, 7.3, 3.6; 784 x 800 43, 43, 30; 1000 x 512 46, 46, 25; 2500 x 2000 (20 MB) 450, 460, 400: dx
//            comes for nothing. 500 x 10: 3.3, 3.5 in chunks; with masked stores 5.4, 6.0.
//            Dead ends: four rows side by side with one register of dz for all, 784 x 800: 96. Pointers read through
//            `args` in the loop: 85.
// Refs       LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998: why on-line learning.

// How an element of W moves. Copied to where it is used: a store through a register may alias whatever is in memory,
// and pointers that are read again for each register cost half the speed.
template <class V> struct OnlineRule {
  using T = typename V::scalar;
  T *w, *velocity;
  V rate, momentum, decay;
  bool nesterov;

  // w[at..at+n) by its gradient; Plain: without decay and velocity. Returns what w was.
  template <bool Plain> V update(V gradient, int64_t at, int n) const {
    const V old = load_some<V>(w + at, n);
    V step = gradient;
    if constexpr (!Plain) {
      step = fma(decay, old, step);
      if (velocity != nullptr) {
        const V v = fma(momentum, load_some<V>(velocity + at, n), step);
        store_some(v, velocity + at, n);
        step = nesterov ? fma(momentum, v, step) : v;
      }
    }
    store_some(fnma(rate, step, old), w + at, n);
    return old;
  }
};

template <class V> struct Online {
  using T = typename V::scalar;
  static constexpr int64_t kShort = 256, kBuffer = 1024;  // columns of a short row, elements of a chunk
  static constexpr int kUnroll = 4;

  const OnlineArgs& args;

  OnlineRule<V> rule() const {
    return {static_cast<T*>(args.w), static_cast<T*>(args.velocity), lanes<V>(args.lr),
            lanes<V>(args.momentum), lanes<V>(args.weight_decay),    args.nesterov};
  }

  template <bool Plain> void long_rows(int64_t begin, int64_t end, bool skip) const {
    const OnlineRule<V> rule = this->rule();
    const T* const dz = static_cast<const T*>(args.dz);
    const T* const x = static_cast<const T*>(args.x);
    T* const dx = static_cast<T*>(args.dx);
    const int64_t O = args.outputs;
    for (int64_t row = begin; row < end; ++row) {
      if (skip && x[row] == T(0)) continue;
      const V factor = V::set(x[row]);
      V sum[kUnroll];
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u) sum[u] = V::zero();
      int64_t j = 0;
      for (; j + kUnroll * V::N <= O; j += kUnroll * V::N)
#pragma GCC unroll 4
        for (int u = 0; u < kUnroll; ++u) {
          const V d = V::load(dz + j + u * V::N);
          sum[u] = fma(rule.template update<Plain>(factor * d, row * O + j + u * V::N, V::N), d, sum[u]);
        }
      for (; j < O; j += V::N) {
        const int n = static_cast<int>(least(V::N, O - j));
        const V d = load_some<V>(dz + j, n);
        sum[0] = fma(rule.template update<Plain>(factor * d, row * O + j, n), d, sum[0]);
      }
      if (dx != nullptr) dx[row] = sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }

  template <bool Plain> void short_rows(int64_t begin, int64_t end, bool skip) const {
    const OnlineRule<V> rule = this->rule();
    const T* const dz = static_cast<const T*>(args.dz);
    const T* const x = static_cast<const T*>(args.x);
    T* const dx = static_cast<T*>(args.dx);
    const int64_t O = args.outputs, chunk = most(1, kBuffer / O);
    alignas(64) T d[kShort + V::N], gradient[kBuffer + kShort + V::N];
    for (int64_t j = 0; j < O; j += V::N) load_some<V>(dz + j, static_cast<int>(least(V::N, O - j))).store(d + j);
    while (begin < end) {
      if (skip && x[begin] == T(0)) {
        ++begin;
        continue;
      }
      const int64_t stop = least(end, begin + chunk);
      for (int64_t row = begin; row < stop; ++row) {
        const V factor = V::set(x[row]);
        for (int64_t j = 0; j < O; j += V::N) (factor * V::load(d + j)).store(gradient + (row - begin) * O + j);
      }
      for (int64_t row = begin; dx != nullptr && row < stop; ++row) {
        V sum = V::zero();
        for (int64_t j = 0; j < O; j += V::N)
          sum = fma(load_some<V>(rule.w + row * O + j, static_cast<int>(least(V::N, O - j))), V::load(d + j), sum);
        dx[row] = sum_lanes(sum);
      }
      const int64_t n = (stop - begin) * O;
      int64_t j = 0;
      for (; j + V::N <= n; j += V::N) rule.template update<Plain>(V::load(gradient + j), begin * O + j, V::N);
      if (j < n) rule.template update<Plain>(V::load(gradient + j), begin * O + j, static_cast<int>(n - j));
      begin = stop;
    }
  }

  // Rows [begin, end); `skip`: those with x = 0 stay as they are.
  template <bool Plain> void rows(int64_t begin, int64_t end, bool skip) const {
    if (args.outputs <= kShort && args.outputs % V::N != 0) short_rows<Plain>(begin, end, skip);
    else long_rows<Plain>(begin, end, skip);
    if (args.dx != nullptr && args.y != nullptr) through_activation(begin, end);
  }

  // dx[begin..end) *= f'(z, y); db = dx
  void through_activation(int64_t begin, int64_t end) const {
    T* dx = static_cast<T*>(args.dx);
    T* db = static_cast<T*>(args.db);
    const T* z = static_cast<const T*>(args.z);
    const T* y = static_cast<const T*>(args.y);
    const V slope = lanes<V>(args.slope);
    with_activation(args.activation, [&](auto activation) {
      for (int64_t i = begin; i < end; i += V::N) {
        const int n = static_cast<int>(least(V::N, end - i));
        const V before = z != nullptr ? load_some<V>(z + i, n) : V::zero();
        const V d = load_some<V>(dx + i, n) * activation.df(before, load_some<V>(y + i, n), slope);
        store_some(d, dx + i, n);
        if (db != nullptr) store_some(d, db + i, n);
      }
    });
  }

  bool dz_is_finite() const {
    const T* dz = static_cast<const T*>(args.dz);
    V zeros = V::zero();
    for (int64_t j = 0; j < args.outputs; j += V::N)
      zeros = fma(load_some<V>(dz + j, static_cast<int>(least(V::N, args.outputs - j))), V::zero(), zeros);
    return sum_lanes(zeros) == T(0);
  }

  void run() const {
    constexpr double kTask = 1 << 14;  // weights a thread is woken for
    constexpr int64_t kUnit = 64 / sizeof(T);
    const bool plain = args.velocity == nullptr && args.weight_decay == 0.0;
    const bool skip = plain && args.dx == nullptr && dz_is_finite();
    const double weights = static_cast<double>(args.inputs) * static_cast<double>(args.outputs);
    // One run of rows a thread: the next step finds it in the same core's cache.
    const int64_t units = blocks_of(args.inputs, kUnit);
    const int64_t tasks = weights < 2 * kTask ? 1 : least(num_threads(), units);
    for_tasks(tasks, true, [&](int64_t task) {
      const int64_t begin = part_start(units, tasks, task) * kUnit;
      const int64_t end = least(part_start(units, tasks, task + 1) * kUnit, args.inputs);
      if (plain) rows<true>(begin, end, skip);
      else rows<false>(begin, end, skip);
    });
  }
};

void online(const OnlineArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) { Online<decltype(v)>{args}.run(); });
}
