// What becomes of a tile of products while it is hot: the four epilogues of kernels.h, row by row over lanes.
//
// K may come in blocks: a tile then passes here once for each, `first` and `last` telling which. Between blocks C holds
// the partial sum (none, bias_act, backprop); bias_act with beta 1 takes C as one more block that came before. sgd
// needs the old C, so it applies each block's share of the gradient at once, which is the same by linearity: weight
// decay, momentum and the old C belong to the first block.

// The arguments with their types and strides; `sums` holds db per block of rows (row_block below).
template <class T> struct GemmJob {
  const GemmArgs& args;
  int64_t M, N, K;
  const T* A;
  int64_t a_row, a_col;
  const T* B;
  int64_t b_row, b_col;
  T* C;
  int64_t ldc;
  T* sums;  // [row blocks, N] or null
};

// P[rows,cols] at C[i,j], summed over the k of one block (or of all: first and last).
template <class T> struct GemmTile {
  const T* products;
  int stride;
  int64_t i, j;
  int rows, cols;
  bool first, last;
};

// body(products, element of C, row, column, n): n lanes of them, down each strip of columns.
// Columns: their number where it is known (a full tile), so that no lane is masked and the loop unrolled; else 0.
template <class V, int Columns = 0, class T, class Body>
inline void over_tile(const GemmJob<T>& job, const GemmTile<T>& tile, Body&& body) {
  for (int r = 0; r < tile.rows; ++r) {
    const T* p = tile.products + r * tile.stride;
    T* c = job.C + (tile.i + r) * job.ldc + tile.j;
    if constexpr (Columns > 0) {
#pragma GCC unroll 16
      for (int v = 0; v < Columns; v += V::N) body(p + v, c + v, tile.i + r, tile.j + v, V::N);
    } else {
      for (int v = 0; v < tile.cols; v += V::N) body(p + v, c + v, tile.i + r, tile.j + v, tile.cols - v);
    }
  }
}

template <class V, int Columns, class T> inline void finish_none(const GemmJob<T>& job, const GemmTile<T>& tile) {
  const V alpha = lanes<V>(job.args.alpha), beta = lanes<V>(job.args.beta);
  if (tile.first && job.args.beta == 0.0) {
    over_tile<V, Columns>(job, tile,
                          [&](const T* p, T* c, int64_t, int64_t, int n) { store_some(alpha * V::load(p), c, n); });
  } else if (tile.first && job.args.beta != 1.0) {
    over_tile<V, Columns>(job, tile, [&](const T* p, T* c, int64_t, int64_t, int n) {
      store_some(fma(alpha, V::load(p), beta * load_some<V>(c, n)), c, n);
    });
  } else {
    over_tile<V, Columns>(job, tile, [&](const T* p, T* c, int64_t, int64_t, int n) {
      store_some(fma(alpha, V::load(p), load_some<V>(c, n)), c, n);
    });
  }
}

// alpha P so far: this block's share and what C holds of the blocks before.
template <class V, class T> inline V partial_sum(const GemmTile<T>& tile, V alpha, const T* p, const T* c, int n) {
  const V share = alpha * V::load(p);
  return tile.first ? share : share + load_some<V>(c, n);
}

template <class V, class T> inline void keep_partial(const GemmJob<T>& job, const GemmTile<T>& tile) {
  const V alpha = lanes<V>(job.args.alpha);
  over_tile<V>(job, tile,
               [&](const T* p, T* c, int64_t, int64_t, int n) { store_some(partial_sum(tile, alpha, p, c, n), c, n); });
}

template <class V, class T> inline void finish_bias_act(const GemmJob<T>& job, const GemmTile<T>& tile) {
  const V alpha = lanes<V>(job.args.alpha), slope = lanes<V>(job.args.slope);
  const T* bias = static_cast<const T*>(job.args.bias);
  T* z = static_cast<T*>(job.args.z);
  with_activation(job.args.activation, [&](auto activation) {
    over_tile<V>(job, tile, [&](const T* p, T* c, int64_t i, int64_t j, int n) {
      V x = partial_sum(tile, alpha, p, c, n);
      if (bias) x = x + load_some<V>(bias + j, n);
      if (z) store_some(x, z + i * job.args.ldz + j, n);
      store_some(activation.f(x, slope), c, n);
    });
  });
}

// db: the rows of a tile are added in order, then the tile to those above it in the block of rows.
template <class V, class T>
inline void finish_backprop(const GemmJob<T>& job, const GemmTile<T>& tile, int64_t row_block) {
  const V alpha = lanes<V>(job.args.alpha), slope = lanes<V>(job.args.slope);
  const T* z = static_cast<const T*>(job.args.z);
  const T* y = static_cast<const T*>(job.args.y);
  with_activation(job.args.activation, [&](auto activation) {
    over_tile<V>(job, tile, [&](const T* p, T* c, int64_t i, int64_t j, int n) {
      const V before = z ? load_some<V>(z + i * job.args.ldz + j, n) : V::zero();
      const V after = load_some<V>(y + i * job.args.ldy + j, n);
      store_some(partial_sum(tile, alpha, p, c, n) * activation.df(before, after, slope), c, n);
    });
  });
  if (!job.sums) return;
  T* sums = job.sums + tile.i / row_block * job.N + tile.j;
  const T* c = job.C + tile.i * job.ldc + tile.j;
  for (int v = 0; v < tile.cols; v += V::N) {
    const int n = tile.cols - v;
    V sum = tile.i % row_block == 0 ? V::zero() : load_some<V>(sums + v, n);
    for (int r = 0; r < tile.rows; ++r) sum = sum + load_some<V>(c + r * job.ldc + v, n);
    store_some(sum, sums + v, n);
  }
}

template <class V, int Columns, class T> inline void finish_sgd(const GemmJob<T>& job, const GemmTile<T>& tile) {
  const V alpha = lanes<V>(job.args.alpha), rate = lanes<V>(job.args.lr), decay = lanes<V>(job.args.weight_decay);
  const V momentum = lanes<V>(job.args.momentum);
  T* velocity = static_cast<T*>(job.args.velocity);
  const auto gradient = [&](const T* p, V w) {
    const V share = alpha * V::load(p);
    return tile.first ? fma(decay, w, share) : share;
  };
  if (!velocity) {
    over_tile<V, Columns>(job, tile, [&](const T* p, T* c, int64_t, int64_t, int n) {
      const V w = load_some<V>(c, n);
      store_some(fnma(rate, gradient(p, w), w), c, n);
    });
    return;
  }
  // Plain momentum changes w in the last block only, so the decay of the first saw the old one.
  over_tile<V, Columns>(job, tile, [&](const T* p, T* c, int64_t i, int64_t j, int n) {
    T* at = velocity + i * job.ldc + j;
    const V w = load_some<V>(c, n), g = gradient(p, w), old = load_some<V>(at, n);
    const V v = tile.first ? fma(momentum, old, g) : old + g;
    store_some(v, at, n);
    if (job.args.nesterov) store_some(fnma(rate, fma(momentum, tile.first ? v : g, g), w), c, n);
    else if (tile.last) store_some(fnma(rate, v, w), c, n);
  });
}

// Where the rows of a full tile go, in lanes, when its sums are still in registers. A tile of products is the general
// case, for `finish`; the other two are what `finish` would do, without the detour through memory, which costs a tile
// of few k as much time as its products.
template <class V, int Stride> struct ToTile {
  typename V::scalar* products;
  template <int NV> void row(int i, const V (&sum)[NV]) const {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) sum[v].store(products + i * Stride + v * V::N);
  }
};

// C = alpha P, or C += alpha P.
template <class V, bool Accumulate> struct ToC {
  typename V::scalar* c;
  int64_t ldc;
  V alpha;
  template <int NV> void row(int i, const V (&sum)[NV]) const {
    typename V::scalar* to = c + i * ldc;
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      if constexpr (Accumulate) fma(alpha, sum[v], V::load(to + v * V::N)).store(to + v * V::N);
      else (alpha * sum[v]).store(to + v * V::N);
    }
  }
};

// C -= lr alpha P: sgd without decay or momentum.
template <class V> struct ToWeights {
  typename V::scalar* c;
  int64_t ldc;
  V alpha, rate;
  template <int NV> void row(int i, const V (&sum)[NV]) const {
    typename V::scalar* to = c + i * ldc;
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) fnma(rate, alpha * sum[v], V::load(to + v * V::N)).store(to + v * V::N);
  }
};

// use(sink) for the full tile at C[i,j] if its epilogue is one of these; else false.
template <class V, class T, class Use>
bool with_sink(const GemmJob<T>& job, int64_t i, int64_t j, bool first, const Use& use) {
  const GemmArgs& args = job.args;
  T* c = job.C + i * job.ldc + j;
  const V alpha = lanes<V>(args.alpha);
  if (args.epilogue == Epilogue::none) {
    if (first && args.beta == 0.0) use(ToC<V, false>{c, job.ldc, alpha});
    else if (!first || args.beta == 1.0) use(ToC<V, true>{c, job.ldc, alpha});
    else return false;
    return true;
  }
  if (args.epilogue == Epilogue::sgd && args.velocity == nullptr && (args.weight_decay == 0.0 || !first)) {
    use(ToWeights<V>{c, job.ldc, alpha, lanes<V>(args.lr)});
    return true;
  }
  return false;
}

// Width: of a full tile, for the epilogues in which moving C is all the work.
template <class V, int Width, class T> void finish(const GemmJob<T>& job, const GemmTile<T>& tile, int64_t row_block) {
  switch (job.args.epilogue) {
    case Epilogue::none:
      if (tile.cols == Width) finish_none<V, Width>(job, tile);
      else finish_none<V, 0>(job, tile);
      return;
    case Epilogue::sgd:
      if (tile.cols == Width) finish_sgd<V, Width>(job, tile);
      else finish_sgd<V, 0>(job, tile);
      return;
    case Epilogue::bias_act: {
      GemmTile<T> summed = tile;
      summed.first = tile.first && job.args.beta == 0.0;
      if (tile.last) finish_bias_act<V>(job, summed);
      else keep_partial<V>(job, summed);
      return;
    }
    case Epilogue::backprop:
      if (tile.last) finish_backprop<V>(job, tile, row_block);
      else keep_partial<V>(job, tile);
      return;
  }
}
