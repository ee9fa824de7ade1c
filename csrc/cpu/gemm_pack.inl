// Packing for gemm: a block of op(A) or op(B) rewritten as panels, so that the inner kernel reads one stream.
//
//   panels of width W, of a source s[K, n]:     | k=0: s[0,0..W-1] | k=1: s[1,0..W-1] | ... | next panel: s[0,W..2W-1]
//   | ...
//
// The last panel is filled up with zeros. A is packed along its rows (W = MR), B along its columns (W = NR).

// s[K, n] with unit stride along n and `ld` along k; K rows of at most W elements.
template <class V, int W>
void pack_rows(const typename V::scalar* s, int64_t ld, int64_t K, int n, typename V::scalar* panel) {
  if (n == W && W % V::N == 0) {
    for (int64_t k = 0; k < K; ++k, s += ld, panel += W) {
      prefetch_row<W * sizeof(*s)>(s + kPrefetchRows * ld);
#pragma GCC unroll 16
      for (int v = 0; v < W / V::N; ++v) V::load(s + v * V::N).store(panel + v * V::N);
    }
  } else if (n == W) {
    for (int64_t k = 0; k < K; ++k, s += ld, panel += W)
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) panel[i] = s[i];
  } else {
    for (int64_t k = 0; k < K; ++k, s += ld, panel += W)
      for (int i = 0; i < W; ++i) panel[i] = i < n ? s[i] : 0;
  }
}

// The same of a transposed source: unit stride along k, `ld` along n.
template <class V, int W>
void pack_columns(const typename V::scalar* s, int64_t ld, int64_t K, int n, typename V::scalar* panel) {
  constexpr int kRun = V::N < 8 ? 8 : V::N;  // of k at a time: every cache line of the source is fetched once
  constexpr bool blockwise = V::N > 1 && W % V::N == 0;
  for (int64_t k = 0; k < K; k += kRun) {
    const int run = static_cast<int>(least(kRun, K - k));
    typename V::scalar* to = panel + k * W;
    int i = 0;
    if constexpr (blockwise) {
      for (; i + V::N <= n; i += V::N)
#pragma GCC unroll 2
        for (int part = 0; part < kRun; part += V::N) {
          const int depth = run - part;
          if (depth <= 0) break;
          V block[V::N];
          if (depth >= V::N) {
#pragma GCC unroll 16
            for (int r = 0; r < V::N; ++r) block[r] = V::load(s + (i + r) * ld + k + part);
          } else {
#pragma GCC unroll 16
            for (int r = 0; r < V::N; ++r) block[r] = V::load_n(s + (i + r) * ld + k + part, depth);
          }
          transpose(block);
#pragma GCC unroll 16
          for (int r = 0; r < V::N; ++r)
            if (r < depth) block[r].store(to + (part + r) * W + i);
        }
    }
    for (; i < n; ++i) {
      const typename V::scalar* from = s + i * ld + k;
      if (run == kRun) {
#pragma GCC unroll 16
        for (int r = 0; r < kRun; ++r) to[r * W + i] = from[r];
      } else {
        for (int r = 0; r < run; ++r) to[r * W + i] = from[r];
      }
    }
    for (; i < W; ++i)
      for (int r = 0; r < run; ++r) to[r * W + i] = 0;
  }
}

// s[K, n] with strides (along_k, along_n), one of them 1 -> one panel.
template <class V, int W>
void pack_panel(const typename V::scalar* s, int64_t along_k, int64_t along_n, int64_t K, int64_t n,
                typename V::scalar* panel) {
  const int width = n < W ? static_cast<int>(n) : W;
  if (along_n == 1) pack_rows<V, W>(s, along_k, K, width, panel);
  else pack_columns<V, W>(s, along_n, K, width, panel);
}
