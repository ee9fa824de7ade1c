// C = epilogue(alpha op(A) op(B)): matrix products and what a layer does with them.
//
// Computes   P[M,N] = alpha op(A)[M,K] op(B)[K,N], then one of the four epilogues of kernels.h, float32 and float64.
// Layout     Six paths, chosen by shape and transposes alone.
//
//            packed: the five loops of BLIS. B in blocks KC x NC, A in blocks MC x KC, both rewritten as panels:
//
//                         NR                K             NR
//                     +--+--+--+--+     MR [====]        +--+
//                  KC |  |  |  |  |  ..    [====]    KC  |  |     each pair of panels -> one tile MR x NR
//                     +--+--+--+--+        [====]        |  |     in registers, then the epilogue on it
//                       B panels         A panels        +--+
//
//            With one block of rows a panel of B is packed by the task that uses it, just before.
//            direct: the same tiles from the operands as they lie; for few rows, few k, or everything in L2.
//            dot: tiles of inner products; for few rows (or columns) where both operands are contiguous along k.
//            narrow: few columns, A stored by columns (an output layer's dW): the transposed product, turned round.
//            one row: a sum of rows of B, read as streams. One k (outer): rows of C written as streams.
//
//            A full tile goes from the registers straight to C where the epilogue is none or plain sgd (the sinks of
//            gemm_epilogue.inl), else through a buffer in L1 that `finish` reads.
//
//            An element of P is the same chain of fma on the packed and direct paths: blocks of k, each summed from
//            zero in ascending order. So neither tiles nor threads show in the bits.
// Arithmetic A step of k in the AVX-512 tile 6 x 64: 4 loads, 6 broadcasts, 24 FMA in 24 + 4 + 1 registers; in the
//            AVX2 tile 6 x 16: 2 loads, 6 broadcasts, 12 FMA in 12 + 2 + 1. Both are bound by FMA: the block of A
//            (295 KB) stays in L2, a panel of B passes once per block of A. Batches below 50 rows are bound by reading
//            B: 2 M FLOP for each element, so batch 1 runs at the speed of L3.
// Measured   AMD EPYC (Zen 4, AVX-512 in two halves), float32, GFLOP/s of peaks of 117 (one thread) and 232 (two); in
//            brackets times the best of NumPy 2.4.6 (OpenBLAS), PyTorch 2.13 (MKL) and JAX 0.10:
//            `python bench/gemm.py --threads 1,2`, every shape in bench/results/REPORT.md.
//
//              M x N x K                one thread     two threads
//              1024^3                   107 (1.00)     207 (1.02)
//              1000 x 2000 x 2500       108 (1.00)     204 (0.97)
//              1000 x 784 x 1000, dx    106 (0.99)     194 (1.01)
//              784 x 1000 x 1000, dW    105 (1.00)     206 (1.05)
//              100 x 2500 x 841         105 (1.12)     216 (1.24)
//              100 x 841 x 2500, dx      96 (1.03)     170 (1.14)
//              841 x 2500 x 100, dW     102 (1.05)     174 (1.05)
//              10 x 1000 x 784          109 (1.38)     174 (1.38)
//              10 x 784 x 1000, dx       79 (1.34)     175 (1.74)
//              784 x 1000 x 10, dW       85 (1.16)     158 (1.38)
//              1 x 1000 x 784            39 (0.98)      67 (1.06)
//              1 x 784 x 1000, dx        39 (0.99)      73 (0.97)
//
//            AVX2 on one thread, times AVX-512's speed: 1024^3 0.93, 100 rows 0.93, 10 rows 0.74, one row 0.88.
//
//            Dead ends, ratio to NumPy at 1024^3: tiles 8 x 48 and 14 x 32 instead of 6 x 64: 1.04 and 1.02, not 1.08;
//            KC 256 or 512: within 1 %. Prefetching C one to four tiles ahead for 784 x 1000 x 10: 0.91 -> 0.87.
//            Tiles of 12 x 32 with KC 256, KC 192, both with a panel of B that fits L1: 0.98, 0.92 of 6 x 64's speed;
//            KC 480: 1.01. Packing B for 8 and 32 rows: 82 -> 47, 95 -> 81 GFLOP/s. AVX2 direct at 32 x 1024 x 1024:
//            rows of B a multiple of 4096 bytes apart share a set of the caches, 0.7 of NumPy; packing does no better
//            there (0.8).
// Refs       Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Van Zee, van de Geijn,
//            "BLIS", 2015.

// The first element of part `part` of `parts` equal runs of n.
inline int64_t part_start(int64_t n, int64_t parts, int64_t part) { return n * part / parts; }

template <class V, class Blocks> struct Gemm {
  using T = typename V::scalar;
  using Job = GemmJob<T>;
  static constexpr int MR = Blocks::MR, NV = Blocks::NV, NR = NV * V::N;
  static constexpr int KC = Blocks::KC, MC = Blocks::MC, NC = Blocks::NC;
  static constexpr int kRowBlock = 8 * MR;    // db is summed in blocks of so many rows; tasks start at their edges
  static constexpr double kTaskFlops = 50e3;  // a task worth waking a thread for: 1 to 2 us

  // Up to where packing does not pay, measured. Narrow tiles read B in pieces of a cache line or two, each in another
  // page, and cannot afford that as often.
  static constexpr int64_t kDirectRows = NR * sizeof(T) >= 256 ? 128 : 48, kDirectK = 16, kDotRows = 16,
                           kDotColumns = 16, kDotManyRows = 64, kNarrow = 16;
  static constexpr double kCopiedFlops = 2.5e6;  // from which threads pay if an operand is copied first
  static constexpr double kDirectFlops = 2.0 * 96 * 96 * 96;
  static constexpr int64_t kRowParts = 8;  // of a single row's sum over k

  // Tile of the dot path: 24 sums in 32 registers, or 12 in 16 (4 x 6 spills there: 1.4 of NumPy, not 1.7).
  // One row takes eight columns, enough chains to cover the latency of fma.
  static constexpr bool kManyRegisters = sizeof(V) == 64;
  static constexpr int DM = kManyRegisters ? 4 : V::N > 1 ? 3 : 2, DN = kManyRegisters ? 6 : V::N > 1 ? 4 : 2;
  static_assert(kRowBlock % DM == 0, "a tile across two blocks of rows would sum db in another order");
  static constexpr int kRowColumns = 8, kDotStride = V::N > 8 ? V::N : 8;

  struct Range {
    int64_t begin, end;
  };

  // ---- packed ----

  // The tile of C is written some hundred cycles later. Addresses beyond the row are harmless.
  static void prefetch_tile(const Job& job, int64_t i, int rows, int64_t j) {
    for (int r = 0; r < rows; ++r) {
      const T* row = job.C + (i + r) * job.ldc + j;
#pragma GCC unroll 16
      for (int v = 0; v < NR; v += 64 / static_cast<int>(sizeof(T))) __builtin_prefetch(row + v, 1);
    }
  }

  // One block of A (in panels) and columns [cols] of the packed block of B.
  static void macro_kernel(const Job& job, Range rows, Range cols, Range k, const T* panels_a, const T* panels_b) {
    alignas(64) T products[MR * NR];
    const int64_t K = k.end - k.begin;
    for (int64_t j = cols.begin; j < cols.end; j += NR) {
      const T* b = panels_b + (j - cols.begin) * K;
      const int width = static_cast<int>(least(NR, cols.end - j));
      for (int64_t i = rows.begin; i < rows.end; i += MR) {
        const int height = static_cast<int>(least(MR, rows.end - i));
        const T* a = panels_a + (i - rows.begin) * K;
        prefetch_tile(job, i, height, j);
        if (height == MR && width == NR && with_sink<V>(job, i, j, k.begin == 0, [&](auto sink) {
              micro_tile<V, MR, NV, MR, false>(K, a, 1, MR, b, NR, 0, sink);
            }))
          continue;
        micro_vectors<MR, MR, false>(blocks_of(width, V::N), K, a, 1, MR, b, NR, 0, products);
        finish<V, NR>(job, GemmTile<T>{products, NR, i, j, height, width, k.begin == 0, k.end == job.K}, kRowBlock);
      }
    }
  }

  static void pack_b(const Job& job, Range k, int64_t j, T* panel) {
    pack_panel<V, NR>(job.B + k.begin * job.b_row + j * job.b_col, job.b_row, job.b_col, k.end - k.begin, job.N - j,
                      panel);
  }

  static T* pack_a(const Job& job, Range rows, Range k) {
    const int64_t depth = k.end - k.begin, height = blocks_of(rows.end - rows.begin, MR) * MR;
    T* panels = static_cast<T*>(workspace(Workspace::panel_a, height * depth * sizeof(T)));
    for (int64_t i = rows.begin; i < rows.end; i += MR)
      pack_panel<V, MR>(job.A + i * job.a_row + k.begin * job.a_col, job.a_col, job.a_row, depth, rows.end - i,
                        panels + (i - rows.begin) * depth);
    return panels;
  }

  static Range k_range(const Job& job, int64_t blocks, int64_t block) {
    return {part_start(job.K, blocks, block), part_start(job.K, blocks, block + 1)};
  }

  // One block of rows: each panel of B is used by one task only, which packs it into its own L2 as it goes.
  static void packed_few_rows(const Job& job, int threads) {
    const int64_t k_blocks = blocks_of(job.K, KC), panels = blocks_of(job.N, NR), tasks = least(threads, panels);
    for_tasks(tasks, true, [&](int64_t task) {
      const int64_t begin = part_start(panels, tasks, task), end = part_start(panels, tasks, task + 1);
      for (int64_t k_block = 0; k_block < k_blocks; ++k_block) {
        const Range k = k_range(job, k_blocks, k_block), rows{0, job.M};
        const T* panels_a = pack_a(job, rows, k);
        T* panel = static_cast<T*>(workspace(Workspace::panel_b, (k.end - k.begin) * NR * sizeof(T)));
        for (int64_t p = begin; p < end; ++p) {
          pack_b(job, k, p * NR, panel);
          macro_kernel(job, rows, {p * NR, least((p + 1) * NR, job.N)}, k, panels_a, panel);
        }
      }
    });
  }

  static void packed(const Job& job, int threads) {
    const int64_t k_blocks = blocks_of(job.K, KC), n_blocks = blocks_of(job.N, NC), panels = blocks_of(job.N, NR);
    // Tasks share out the rows by whole tiles, or where db is summed by its blocks of rows.
    const int64_t grain = job.sums ? kRowBlock : MR, units = blocks_of(job.M, grain);
    int64_t row_blocks = blocks_of(job.M, MC);
    row_blocks = least(row_blocks + row_blocks % 2, units);  // an even number shares out over two cores
    for (int64_t n_block = 0; n_block < n_blocks; ++n_block) {
      const Range panel{part_start(panels, n_blocks, n_block), part_start(panels, n_blocks, n_block + 1)};
      const int64_t count = panel.end - panel.begin;
      // Tasks of one block of rows and all columns, unless that leaves a thread idle at the end: 21 blocks of db in six
      // tasks of 3 and 4 take as long as 12 on one thread.
      int64_t groups = threads > 1 && job.sums && units % row_blocks != 0 ? least(2, count) : 1;
      while (groups < count && row_blocks * groups < 8 * threads && row_blocks * groups % threads != 0) ++groups;
      const int64_t packers = least(4 * threads, count);
      for (int64_t k_block = 0; k_block < k_blocks; ++k_block) {
        const Range k = k_range(job, k_blocks, k_block);
        const int64_t depth = k.end - k.begin;
        T* panels_b = static_cast<T*>(workspace(Workspace::panel_b, count * NR * depth * sizeof(T)));
        for_tasks(packers, threads > 1, [&](int64_t task) {
          for (int64_t p = part_start(count, packers, task); p < part_start(count, packers, task + 1); ++p)
            pack_b(job, k, (panel.begin + p) * NR, panels_b + p * NR * depth);
        });
        for_tasks(row_blocks * groups, threads > 1, [&](int64_t task) {
          const int64_t block = task / groups, group = task % groups;
          const Range rows{part_start(units, row_blocks, block) * grain,
                           least(part_start(units, row_blocks, block + 1) * grain, job.M)};
          const T* panels_a = pack_a(job, rows, k);
          const int64_t p0 = part_start(count, groups, group), p1 = part_start(count, groups, group + 1);
          const Range cols{(panel.begin + p0) * NR, least((panel.begin + p1) * NR, job.N)};
          macro_kernel(job, rows, cols, k, panels_a, panels_b + p0 * NR * depth);
        });
      }
    }
  }

  // ---- direct ----

  // micro_tile for 1..NV vectors; only the last may be masked.
  template <int Rows, int PackedA, bool Masked, int Vectors = NV>
  static void micro_vectors(int64_t vectors, int64_t K, const T* a, int64_t a_row, int64_t a_col, const T* b,
                            int64_t b_row, int last, T* products) {
    if constexpr (Vectors > 1) {
      if (vectors < Vectors)
        return micro_vectors<Rows, PackedA, Masked, Vectors - 1>(vectors, K, a, a_row, a_col, b, b_row, last, products);
    }
    micro_tile<V, Rows, Vectors, PackedA, Masked>(K, a, a_row, a_col, b, b_row, last, ToTile<V, NR>{products});
  }

  // The tallest of the tiles MR, 4, 2, 1 that fits into the rows left; returns its height.
  template <int Rows = MR>
  static int direct_at(const Job& job, int64_t i, int64_t i_end, int64_t j, int64_t j_end, Range k) {
    if constexpr (Rows > 1) {
      if (i_end - i < Rows) return direct_at<(Rows > 4 ? 4 : Rows / 2)>(job, i, i_end, j, j_end, k);
    }
    const int width = static_cast<int>(least(NR, j_end - j));
    const int64_t K = k.end - k.begin;
    const T* a = job.A + i * job.a_row + k.begin * job.a_col;
    const T* b = job.B + k.begin * job.b_row + j;
    if (width == NR && with_sink<V>(job, i, j, k.begin == 0, [&](auto sink) {
          micro_tile<V, Rows, NV, 0, false>(K, a, job.a_row, job.a_col, b, job.b_row, 0, sink);
        }))
      return Rows;
    alignas(64) T products[Rows * NR];
    if (width == NR) {
      micro_tile<V, Rows, NV, 0, false>(K, a, job.a_row, job.a_col, b, job.b_row, 0, ToTile<V, NR>{products});
    } else {
      const int vectors = (width + V::N - 1) / V::N;
      micro_vectors<Rows, 0, true>(vectors, K, a, job.a_row, job.a_col, b, job.b_row, width - (vectors - 1) * V::N,
                                   products);
    }
    finish<V, NR>(job, GemmTile<T>{products, NR, i, j, Rows, width, k.begin == 0, k.end == job.K}, kRowBlock);
    return Rows;
  }

  static void direct(const Job& job, int threads) {
    const int64_t units = blocks_of(job.M, kRowBlock), panels = blocks_of(job.N, NR);
    int64_t row_tasks = 1, col_tasks = 1;
    if (threads > 1) {
      if (units >= 2 * threads) row_tasks = least(units, 4 * threads);
      else col_tasks = least(panels, 2 * threads);
    }
    const int64_t k_blocks = most(1, blocks_of(job.K, KC));
    for_tasks(row_tasks * col_tasks, true, [&](int64_t task) {
      const int64_t r = task / col_tasks, c = task % col_tasks;
      const Range rows{part_start(units, row_tasks, r) * kRowBlock,
                       least(part_start(units, row_tasks, r + 1) * kRowBlock, job.M)};
      const Range cols{part_start(panels, col_tasks, c) * NR, least(part_start(panels, col_tasks, c + 1) * NR, job.N)};
      for (int64_t block = 0; block < k_blocks; ++block) {
        const Range k = k_range(job, k_blocks, block);
        if (job.M <= kDirectRows) {  // B is read once: its panel stays near while the few rows pass
          for (int64_t j = cols.begin; j < cols.end; j += NR)
            for (int64_t i = rows.begin; i < rows.end;) i += direct_at(job, i, rows.end, j, cols.end, k);
        } else {  // C is what counts: written row after row
          for (int64_t i = rows.begin; i < rows.end;) {
            int taken = 0;
            for (int64_t j = cols.begin; j < cols.end; j += NR) taken = direct_at(job, i, rows.end, j, cols.end, k);
            i += taken;
          }
        }
      }
    });
  }

  // One row: C is a sum of rows of B, which are read whole, eight at a time; C's partial sums stay in L1. The rows come
  // in parts, added up in order. A thread has the same ones as in `online`: they stay in its cache from step to step.
  // Columns shared out instead, on two threads 784-800-10 took 102 us a step, on one 72, and takes 45 so: lines went to
  // and fro.
  static void one_row(const Job& job, int threads) {
    constexpr int D = 8, kUnit = 64 / sizeof(T);
    const int64_t units = blocks_of(job.K, kUnit), parts = units < 2 * kRowParts ? 1 : kRowParts;
    const int64_t width = blocks_of(job.N, V::N) * V::N, tasks = least(threads, parts);
    T* sums = static_cast<T*>(workspace(Workspace::panel_a, parts * width * sizeof(T)));
    for_tasks(tasks, true, [&](int64_t task) {
      for (int64_t part = part_start(parts, tasks, task); part < part_start(parts, tasks, task + 1); ++part) {
        const int64_t begin = part_start(units, parts, part) * kUnit;
        const int64_t end = least(part_start(units, parts, part + 1) * kUnit, job.K);
        T* sum = sums + part * width;
        int64_t k = begin;
        for (; k + D <= end; k += D)
          add_rows<V, D>(job.N, job.A + k * job.a_col, job.a_col, job.B + k * job.b_row, job.b_row, k == begin, sum);
        for (; k < end; ++k)
          add_rows<V, 1>(job.N, job.A + k * job.a_col, job.a_col, job.B + k * job.b_row, job.b_row, k == begin, sum);
      }
    });
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t j = 0; j < width; j += V::N) (V::load(sums + j) + V::load(sums + part * width + j)).store(sums + j);
    finish<V, NR>(job, GemmTile<T>{sums, 0, 0, 0, 1, static_cast<int>(job.N), true, true}, kRowBlock);
  }

  // One k: rows of B[0,:] scaled, each written (or updated) as one stream.
  static void outer(const Job& job, int threads) {
    const int64_t units = blocks_of(job.M, kRowBlock), tasks = threads > 1 ? least(units, 4 * threads) : 1;
    for_tasks(tasks, true, [&](int64_t task) {
      const int64_t end = least(part_start(units, tasks, task + 1) * kRowBlock, job.M);
      for (int64_t i = part_start(units, tasks, task) * kRowBlock; i < end; ++i) {
        const V x = V::set(job.A[i * job.a_row]);
        int64_t j = 0;
        with_sink<V>(job, i, 0, true, [&](auto sink) {
          for (; j + NR <= job.N; j += NR, sink.c += NR) {
            V product[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) product[v] = x * V::load(job.B + j + v * V::N);
            sink.row(0, product);
          }
        });
        alignas(64) T products[NR];
        for (; j < job.N; j += NR) {
          const int width = static_cast<int>(least(NR, job.N - j));
          for (int v = 0; v < width; v += V::N) (x * load_some<V>(job.B + j + v, width - v)).store(products + v);
          finish<V, NR>(job, GemmTile<T>{products, NR, i, j, 1, width, true, true}, kRowBlock);
        }
      }
    });
  }

  // ---- narrow ----

  // A few columns, A stored by columns: the transposed product, whose rows are full vectors, turned round block by
  // block.
  template <int Rows = MR>
  static void narrow_rows(int64_t rows, const Job& job, int64_t i, int64_t width, int64_t j, Range k, T* across) {
    if constexpr (Rows > 1) {
      if (rows < Rows) return narrow_rows<Rows - 1>(rows, job, i, width, j, k, across);
    }
    const int64_t vectors = blocks_of(width, V::N), last = width - (vectors - 1) * V::N;
    micro_vectors<Rows, 0, true>(vectors, k.end - k.begin, job.B + k.begin * job.b_row + j * job.b_col, job.b_col,
                                 job.b_row, job.A + k.begin * job.a_col + i, job.a_col, static_cast<int>(last), across);
  }

  // across[N, NR] -> products[rows, N]. A row is stored whole: what is too much, the next one overwrites.
  static void turn(const T* across, int64_t N, int64_t rows, T* products) {
    for (int64_t i = 0; i < rows; i += V::N)
      for (int64_t j = 0; j < N; j += V::N) {
        V block[V::N];
#pragma GCC unroll 16
        for (int r = 0; r < V::N; ++r) block[r] = V::load(across + (j + r) * NR + i);
        transpose(block);
        if (N <= V::N) {
#pragma GCC unroll 16
          for (int r = 0; r < V::N; ++r) block[r].store(products + (i + r) * N);
        } else {
          for (int r = 0; r < V::N; ++r) store_some(block[r], products + (i + r) * N + j, static_cast<int>(N - j));
        }
      }
  }

  static void narrow(const Job& job, int threads) {
    const int64_t units = blocks_of(job.M, kRowBlock), tasks = threads > 1 ? least(units, 4 * threads) : 1;
    const int64_t k_blocks = blocks_of(job.K, KC), height = blocks_of(job.N, blocks_of(job.N, MR));
    const int N = static_cast<int>(job.N);
    // Without bias or db an element's column does not matter: rows that touch are one long row.
    const bool flat = job.ldc == N && (job.args.epilogue == Epilogue::none || job.args.epilogue == Epilogue::sgd);
    for_tasks(tasks, true, [&](int64_t task) {
      alignas(64) T across[kNarrow * NR] = {}, products[kRowBlock * kNarrow + V::N];
      for (int64_t unit = part_start(units, tasks, task); unit < part_start(units, tasks, task + 1); ++unit) {
        const int64_t i = unit * kRowBlock;
        const int rows = static_cast<int>(least(kRowBlock, job.M - i));
        for (int64_t block = 0; block < k_blocks; ++block) {
          const Range k = k_range(job, k_blocks, block);
          for (int64_t r = 0; r < rows; r += NR) {
            const int64_t width = least(NR, rows - r);
            for (int64_t j = 0; j < N; j += height)
              narrow_rows(least(height, N - j), job, i + r, width, j, k, across + j * NR);
            turn(across, N, width, products + r * N);
          }
          const bool first = k.begin == 0, last = k.end == job.K;
          if (flat) finish<V, 0>(job, GemmTile<T>{products, 0, i, 0, 1, rows * N, first, last}, kRowBlock);
          else finish<V, 0>(job, GemmTile<T>{products, N, i, 0, rows, N, first, last}, kRowBlock);
        }
      }
    });
  }

  // ---- dot ----

  template <int Rows, int Columns>
  static void dot_at(const Job& job, const T* a, int64_t a_row, const T* b, int64_t b_row, int64_t i, int64_t j) {
    alignas(64) T products[Rows * kDotStride] = {};
    dot_tile<V, Rows, Columns, kDotStride>(job.K, a + i * a_row, a_row, b + j * b_row, b_row, products);
    finish<V, NR>(job, GemmTile<T>{products, kDotStride, i, j, Rows, Columns, true, true}, kRowBlock);
  }

  template <int Columns>
  static void dot_rows(const Job& job, Range rows, const T* a, int64_t a_row, const T* b, int64_t b_row, int64_t j) {
    int64_t i = rows.begin;
    for (; i + DM <= rows.end; i += DM) dot_at<DM, Columns>(job, a, a_row, b, b_row, i, j);
    for (; i < rows.end; ++i) dot_at<1, Columns>(job, a, a_row, b, b_row, i, j);
  }

  template <int Columns = DN, class... Rest>
  static void dot_columns(int64_t width, const Job& job, const Rest&... rest) {
    if constexpr (Columns > 1) {
      if (width < Columns) return dot_columns<Columns - 1>(width, job, rest...);
    }
    dot_rows<Columns>(job, rest...);
  }

  // s[n,K] with strides -> rows contiguous along k, in `which`; the operand itself if it is so already.
  static const T* contiguous_rows(Workspace which, const T* s, int64_t along_n, int64_t along_k, int64_t n, int64_t K,
                                  int64_t& ld) {
    if (along_k == 1) {
      ld = along_n;
      return s;
    }
    T* copy = static_cast<T*>(workspace(which, n * K * sizeof(T)));
    for (int64_t k = 0; k < K; ++k)
      for (int64_t i = 0; i < n; ++i) copy[i * K + k] = s[i * along_n + k * along_k];
    ld = K;
    return copy;
  }

  static void dot(const Job& job, int threads) {
    int64_t a_row, b_row;
    constexpr int kUnit = 24;  // columns: whole tiles of every width
    const T* a = contiguous_rows(Workspace::panel_a, job.A, job.a_row, job.a_col, job.M, job.K, a_row);
    const T* b = contiguous_rows(Workspace::panel_b, job.B, job.b_col, job.b_row, job.N, job.K, b_row);
    const int64_t units = blocks_of(job.M, kRowBlock), strips = blocks_of(job.N, kUnit);
    int64_t row_tasks = 1, col_tasks = 1;
    // What has just been copied is in one core's cache: 100 x 10 x 500 took 30 us on two threads, 13 on one.
    const bool copied = a != job.A || b != job.B;
    if (threads > 1 && !(copied && flops_of(job) < kCopiedFlops)) {
      if (units >= strips) row_tasks = least(units, 4 * threads);
      else col_tasks = least(strips, 4 * threads);
    }
    for_tasks(row_tasks * col_tasks, true, [&](int64_t task) {
      const int64_t r = task / col_tasks, c = task % col_tasks;
      const Range rows{part_start(units, row_tasks, r) * kRowBlock,
                       least(part_start(units, row_tasks, r + 1) * kRowBlock, job.M)};
      const Range cols{part_start(strips, col_tasks, c) * kUnit,
                       least(part_start(strips, col_tasks, c + 1) * kUnit, job.N)};
      int64_t j = cols.begin;
      if (job.M == 1)
        for (; j + kRowColumns <= cols.end; j += kRowColumns) dot_at<1, kRowColumns>(job, a, a_row, b, b_row, 0, j);
      while (j < cols.end) {  // equal tiles: ten columns are five and five
        const int64_t tiles = blocks_of(cols.end - j, DN), width = blocks_of(cols.end - j, tiles);
        dot_columns(width, job, rows, a, a_row, b, b_row, j);
        j += width;
      }
    });
  }

  static double flops_of(const Job& job) {
    return 2.0 * static_cast<double>(job.M) * static_cast<double>(job.N) * static_cast<double>(job.K);
  }

  // ---- choice ----

  static bool dot_pays(const GemmArgs& args) {
    if (args.K < 2 * V::N) return false;
    return args.trans_b ? args.M <= kDotRows : args.N <= (args.M < kDotManyRows ? 4 : kDotColumns) && !args.trans_a;
  }

  static void run(const GemmArgs& args) {
    Job job{args,
            args.M,
            args.N,
            args.K,
            static_cast<const T*>(args.A),
            args.trans_a ? 1 : args.lda,
            args.trans_a ? args.lda : 1,
            static_cast<const T*>(args.B),
            args.trans_b ? 1 : args.ldb,
            args.trans_b ? args.ldb : 1,
            static_cast<T*>(args.C),
            args.ldc,
            nullptr};
    T* db = args.epilogue == Epilogue::backprop ? static_cast<T*>(args.db) : nullptr;
    const int64_t units = blocks_of(job.M, kRowBlock);
    if (db) job.sums = units == 1 ? db : static_cast<T*>(workspace(Workspace::sums, units * job.N * sizeof(T)));

    if (job.M > 0 && job.N > 0) {
      const double flops = flops_of(job);
      const int threads = flops < 2 * kTaskFlops ? 1 : num_threads();
      if (job.K == 0) direct(job, 1);
      else if (job.K == 1 && job.b_col == 1 && job.N >= NR) outer(job, threads);
      else if (dot_pays(args)) dot(job, threads);
      else if (args.trans_a && job.N <= kNarrow && job.M > 2 * V::N && V::N > 1) narrow(job, threads);
      else if (!args.trans_b && job.M == 1) one_row(job, threads);
      else if (!args.trans_b && (job.M <= kDirectRows || job.K <= kDirectK || flops <= kDirectFlops))
        direct(job, threads);
      else if (job.M <= MC) packed_few_rows(job, threads);
      else packed(job, threads);
    }
    if (db && units != 1) {
      for (int64_t j = 0; j < job.N; ++j) {
        T sum = 0;
        for (int64_t unit = 0; unit < units; ++unit) sum += job.sums[unit * job.N + j];
        db[j] = sum;
      }
    }
  }
};

void gemm(const GemmArgs& args) noexcept {
  if (args.dtype == DType::float32) Gemm<F32, GemmBlocks32>::run(args);
  else Gemm<F64, GemmBlocks64>::run(args);
}
