// The inner kernels of gemm: one tile of op(A)[MR,K] op(B)[K,NR] into a small array, by outer or by inner products.
// Every element is one chain of fma over ascending k (or V::N chains, summed in a fixed order) whatever the tile, so a
// tile cut off at an edge has the bits of a full one.

// Rows of B lie in different pages, where the hardware does not look ahead. 1 x 2500 x 784 ... 32 x 2500 x 784 with 0,
// 4, 8, 16 rows: 18, 27, 24, 21 and 49, 65, 46, 65 GFLOP/s; the larger one also pays at 100 rows (71 -> 80).
constexpr int kPrefetchRows = 16;

template <int Bytes> inline void prefetch_row(const void* row) {
#pragma GCC unroll 16
  for (int byte = 0; byte < Bytes; byte += 64) __builtin_prefetch(static_cast<const char*>(row) + byte);
}

// a[MR,K] b[K, NV lanes] -> sink.row(i, sum[NV]) for each row of the tile, straight from the registers. The column
// stride of a is a template argument where it is packed (PackedA > 0: panels of PackedA rows), so that the addresses
// are constants. Masked: the last of the NV vectors has `last` columns only and no byte beyond is read.
template <class V, int MR, int NV, int PackedA, bool Masked, class Sink>
[[gnu::noinline]] void micro_tile(int64_t K, const typename V::scalar* a, int64_t a_row, int64_t a_col,
                                  const typename V::scalar* b, int64_t b_row, [[maybe_unused]] int last, Sink sink) {
  V sum[MR][NV];
  // The unroll pragmas are load-bearing: without them GCC keeps `sum` in memory (a third of the speed).
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) sum[i][v] = V::zero();
#pragma GCC unroll 1
  for (int64_t k = 0; k < K; ++k) {
    V row[NV];
    if constexpr (PackedA == 0) prefetch_row<NV * V::N * sizeof(*b)>(b + kPrefetchRows * b_row);
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      if (Masked && v == NV - 1) row[v] = V::load_n(b + v * V::N, last);
      else row[v] = V::load(b + v * V::N);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x = V::set(PackedA > 0 ? a[i] : a[i * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) sum[i][v] = fma(x, row[v], sum[i][v]);
    }
    a += PackedA > 0 ? PackedA : a_col;
    b += b_row;
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) sink.row(i, sum[i]);
}

// a[MR,K] b[NR,K], both contiguous along k -> tile[MR,NR] of dot products, row length Stride.
template <class V, int MR, int NR, int Stride>
[[gnu::noinline]] void dot_tile(int64_t K, const typename V::scalar* a, int64_t a_row, const typename V::scalar* b,
                                int64_t b_row, typename V::scalar* tile) {
  V sum[MR][NR];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < NR; ++j) sum[i][j] = V::zero();
  int64_t k = 0;
#pragma GCC unroll 1
  for (; k + V::N <= K; k += V::N) {
    V x[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) x[i] = V::load(a + i * a_row + k);
#pragma GCC unroll 16
    for (int j = 0; j < NR; ++j) {
      const V y = V::load(b + j * b_row + k);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) sum[i][j] = fma(x[i], y, sum[i][j]);
    }
  }
  if (k < K) {
    const int rest = static_cast<int>(K - k);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x = V::load_n(a + i * a_row + k, rest);
#pragma GCC unroll 16
      for (int j = 0; j < NR; ++j) sum[i][j] = fma(x, V::load_n(b + j * b_row + k, rest), sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < NR; ++j) tile[i * Stride + j] = sum_lanes(sum[i][j]);
}

// sum[n] (+)= a[D] b[D,n]: some rows of B scaled and added, each read as one stream. sum has room for whole vectors.
template <class V, int D>
void add_rows(int64_t n, const typename V::scalar* a, int64_t a_col, const typename V::scalar* b, int64_t b_row,
              bool first, typename V::scalar* sum) {
  V x[D];
#pragma GCC unroll 16
  for (int k = 0; k < D; ++k) x[k] = V::set(a[k * a_col]);
  const auto add = [&](int64_t j, auto load) {
    V total = first ? V::zero() : V::load(sum + j);
#pragma GCC unroll 16
    for (int k = 0; k < D; ++k) total = fma(x[k], load(b + k * b_row + j), total);
    total.store(sum + j);
  };
  int64_t j = 0;
  for (; j + V::N <= n; j += V::N) add(j, [](const typename V::scalar* p) { return V::load(p); });
  if (j < n) add(j, [&](const typename V::scalar* p) { return V::load_n(p, static_cast<int>(n - j)); });
}
