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

// The same of a transposed source: unit stride along k, `ld` along n. Blocks of V::N columns go down all of k: so many
// streams the hardware can read ahead, not W of them (100 x 841 x 2500: 76 -> 89 GFLOP/s). Prefetching each 512 bytes
// ahead as well: 93 -> 95 there, 92 -> 92 at 100 x 2500 x 2000, within the noise.
template <class V, int W>
void pack_columns(const typename V::scalar* s, int64_t ld, int64_t K, int n, typename V::scalar* panel) {
  int i = 0;
  if constexpr (V::N > 1 && W % V::N == 0) {
    for (; i + V::N <= n; i += V::N)
      for (int64_t k = 0; k < K; k += V::N) {
        const int depth = static_cast<int>(least(V::N, K - k));
        V block[V::N];
#pragma GCC unroll 16
        for (int r = 0; r < V::N; ++r) block[r] = load_some<V>(s + (i + r) * ld + k, depth);
        transpose(block);
#pragma GCC unroll 16
        for (int r = 0; r < V::N; ++r)
          if (r < depth) block[r].store(panel + (k + r) * W + i);
      }
  }
  if (i == W) return;
  constexpr int kRun = V::N < 8 ? 8 : V::N;  // of k at a time: every cache line of the source is fetched once
  for (int64_t k = 0; k < K; k += kRun) {
    const int run = static_cast<int>(least(kRun, K - k));
    typename V::scalar* to = panel + k * W;
    int at = i;
    for (; at < n; ++at) {
      const typename V::scalar* from = s + at * ld + k;
      if (run == kRun) {
#pragma GCC unroll 16
        for (int r = 0; r < kRun; ++r) to[r * W + at] = from[r];
      } else {
        for (int r = 0; r < run; ++r) to[r * W + at] = from[r];
      }
    }
    for (; at < W; ++at)
      for (int r = 0; r < run; ++r) to[r * W + at] = 0;
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
