// C = epilogue(alpha op(A) op(B)) of float32 operands on a unit that multiplies pairs of bfloat16 and sums in float32.
//
// Computes   What gemm.inl does, each float32 taken as the sum of 1 to 3 planes of bfloat16 (8 bits of significand
//            each): x = hi + mid + lo. One plane ("medium") is one product, two ("high") are three, hi.lo, lo.hi and
//            hi.hi, three ("highest") are six; the products left out are below the last plane. The epilogues are
//            gemm_epilogue.inl's.
// Layout     Both operands are rounded, split and rewritten once, before C is touched:
//
//            panel of A, per 32 of k:             panel of B, per pair of k:
//              row 0     | k0 k1 | k2 k3 | ..       | k0 k1 | k0 k1 | ..   NR columns
//              ...                                  | k2 k3 | k2 k3 | ..
//              row MR-1  | k0 k1 | k2 k3 | ..       ...
//
//            Source rows along k become registers of pairs by themselves, source rows across k by putting two of them
//            in turn; a 16 x 16 transpose of pairs turns one into the other. With at most kFewRows rows a panel of B is
//            packed just before it is used, while it is in L2; not where C is read (sgd, beta), for what follows.
//
//            Values the unit would treat otherwise than float32 does (inf, NaN, what rounds to inf, sums that may
//            overflow, and subnormals, which it flushes) are looked for while packing: run() then returns false, with C
//            as it was or holding what the float32 kernel overwrites.
// Arithmetic Packing reads 4 bytes and writes 2 an element; the look for such values is 4 instructions for 16 elements.
//            An element is used M or N times.
// Measured   AMD EPYC (Zen 4), one thread, GFLOP/s, "medium", vdpbf16ps; a loop in registers reaches 235 (fma: 117), in
//            brackets the share of that. PyTorch 2.13 (oneDNN), interleaved, with operands and result in bfloat16, and
//            with the operands' conversion from float32. `python bench/gemm.py --precision medium --peers torch` (which
//            leaves the conversion out).
//
//              M x N x K                medium      PyTorch  and conversion   float32
//              512^3                    165 (70 %)    160        169             96
//              1024^3                   203 (87 %)    205        196            106
//              1000 x 2000 x 2500       204 (87 %)    205        199            105
//              1000 x 2500 x 2000, dx   202 (86 %)    207        203            101
//              2500 x 2000 x 1000, dW   205 (87 %)    188        190            105
//              100 x 2000 x 2500        150 (64 %)    175        148             98
//              100 x 2500 x 2000, dx    155 (66 %)    186        152             84
//              2500 x 2000 x 100, dW    173 (74 %)    181        182            103
//
//            Geometric mean over 41 shapes, squares and layers at batch 100 and 1000: 0.98 of PyTorch, 1.03 with
//            conversion. 1.3 is out of reach: PyTorch is at 87 % of the unit's peak. Two threads, without peers: 378 at
//            1024^3, 338 at 1000 x 2000 x 2500, 267 and 271 at 100 x 2000 x 2500 and its dx.
//
//            The multiplying alone runs at 205 to 225. Packing takes 5 to 15 % of the time at 1000 rows and 12 to 32 %
//            at 100: 9 GB/s of float32 at 100 x 2000 x 2500, where reading alone in that order reaches 23; the look for
//            such values is a tenth to a quarter of it, masked loads were a tenth, the rest is not explained. Planes of
//            weights are not kept from forward to dx: the panels differ (k is the other axis) and the update changes
//            them in every step; what it would save was not measured.
//
//            Few rows, ratio to float32 (before the masks went): 8, 16, 24, 32, 48, 64, 100 rows x 1000 x 784: 0.8,
//            0.5, 0.7, 0.9, 1.1, 1.2, 1.7; x 784 x 1000, dx: 0.6, 0.6, 1.0, 1.3, 1.3, 1.6, 2.0; 10 columns: 0.3 to 0.9,
//            dx 1.4; 2500 x 2000 with 8 of k: 0.9, 16: 1.1. Hence the least rows, columns and k, below which float32
//            does it.
//
//            Dead ends, medians of three runs that differ by up to 16 %, so none of the first five shows a difference:
//            KC 512 and 640: 0.96 of 1024; tile 8 x 48: 0.96; B's panels packed two or four at a time for 100 rows:
//            1.01; rows ahead 8 and 32: 0.96; the next panel's source prefetched between the tiles of this one: 0.92 to
//            1.04. B packed whole before, its columns block by block of k: 93 GFLOP/s at 100 x 2500 x 2000, where
//            column by column (16 streams to their ends) just before use gives 136.
// Refs       Intel SDM, VDPBF16PS and TDPBF16PS: subnormals are zero, rounding to nearest even, whatever MXCSR says.
//            Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//            Computations", 2019.

using Pair = uint32_t;  // two bfloat16 neighbours along k, the even one in the lower half

constexpr int kPairs = 16, kDepth = 2 * kPairs;  // of k in a block of A: a register of pairs, a row of a tile
constexpr int kRowsAhead = 16;                   // of B, prefetched while packing: the next rows lie in other pages

// What a product must have at least for a unit to be faster than float32: rows (if B is transposed: rows_transposed),
// columns, k.
struct Least {
  int64_t rows, rows_transposed, columns, depth;
};

// The first element of part `part` of `parts` equal runs of n.
inline int64_t part_start(int64_t n, int64_t parts, int64_t part) { return n * part / parts; }

// The largest and the smallest nonzero magnitude seen, as bits of float32; NaN and inf count as largest.
struct Magnitudes {
  uint32_t largest = 0, smallest = 0xffffffff;
};

struct MagnitudesSeen {
  __m512i largest = _mm512_setzero_si512(), below_smallest = _mm512_set1_epi32(-1);

  void take(__m512 x) {
    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
    largest = _mm512_max_epu32(largest, bits);
    below_smallest = _mm512_min_epu32(below_smallest, _mm512_sub_epi32(bits, _mm512_set1_epi32(1)));  // 0: wraps
  }
  Magnitudes get() const {
    const uint32_t below = _mm512_reduce_min_epu32(below_smallest);
    return {_mm512_reduce_max_epu32(largest), below == 0xffffffff ? below : below + 1};
  }
};

// x[16], y[16] -> planes of bfloat16 whose sum they are: first the 16 of x and then the 16 of y, or in turn.
template <bool InTurn, int Planes>
inline void split(__m512 x, __m512 y, MagnitudesSeen& seen, __m512i (&plane)[Planes]) {
  seen.take(x);
  seen.take(y);
  alignas(64) static constexpr uint16_t kInTurn[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
#pragma GCC unroll 3
  for (int p = 0; p < Planes; ++p) {
    const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(y, x);
    plane[p] = InTurn ? _mm512_permutexvar_epi16(_mm512_load_si512(kInTurn), rounded) : rounded;
    if (p + 1 == Planes) break;
    const auto widen = [](__m256i half) {
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    };
    x = _mm512_sub_ps(x, widen(_mm512_castsi512_si256(rounded)));
    y = _mm512_sub_ps(y, widen(_mm512_extracti64x4_epi64(rounded, 1)));
  }
}

inline __mmask16 lanes_below(int64_t n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}

// n of 16 floats, the rest 0; Whole: n is at least 16. Masks made of n for every load cost as much as all the rest.
template <bool Whole> inline __m512 load_lanes(const float* p, int64_t n) {
  return Whole ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes_below(n), p);
}

inline void transpose_pairs(__m512i (&r)[kPairs]) {
  F32 lanes[kPairs];
#pragma GCC unroll 16
  for (int i = 0; i < kPairs; ++i) lanes[i].v = _mm512_castsi512_ps(r[i]);
  transpose(lanes);
#pragma GCC unroll 16
  for (int i = 0; i < kPairs; ++i) r[i] = _mm512_castps_si512(lanes[i].v);
}

template <class Unit, int Planes> struct GemmBf16 {
  static constexpr int MR = Unit::MR, NR = Unit::NR, kRowBlock = Unit::kRowBlock;
  static constexpr int64_t KC = Unit::kc(Planes), MC = Unit::MC;
  static_assert(kRowBlock % MR == 0 && kRowBlock % 16 == 0 && NR % 16 == 0 && KC % kDepth == 0);

  struct Range {
    int64_t begin, end;
  };

  // Up to so many rows a panel of B is multiplied just after it was packed, while it is in L2.
  static constexpr int64_t kFewRows = 128;

  // An operand rewritten: panels of pairs, one plane after the other.
  struct Packed {
    Pair* pairs;
    int64_t panel, plane;  // their lengths
  };

  // 16 rows of an operand x 32 of k, `s` at their first element, as 16 registers: of one row each (Along: k
  // contiguous), or of one pair of k.
  template <bool Along, bool Whole = false>
  static void load_block(const float* s, int64_t ld, int64_t rows, int64_t depth, MagnitudesSeen& seen,
                         __m512i (&block)[Planes][kPairs]) {
    if constexpr (!Whole) {
      if (rows >= 16 && depth >= kDepth) return load_block<Along, true>(s, ld, rows, depth, seen, block);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kPairs; ++i) {
      __m512i plane[Planes];
      if constexpr (Along) {
        const int64_t n = i < rows ? depth : 0;
        split<false>(load_lanes<Whole>(s + i * ld, n), load_lanes<Whole>(s + i * ld + 16, n - 16), seen, plane);
      } else {
        const __m512 x = load_lanes<Whole>(s + 2 * i * ld, 2 * i < depth ? rows : 0);
        const __m512 y = load_lanes<Whole>(s + (2 * i + 1) * ld, 2 * i + 1 < depth ? rows : 0);
        split<true>(x, y, seen, plane);
      }
#pragma GCC unroll 3
      for (int p = 0; p < Planes; ++p) block[p][i] = plane[p];
    }
  }

  // 16 rows of op(A) from `row` on, 32 of k from `k` on; `end` bounds the rows that are there.
  template <bool Along>
  static void pack_rows_of_a(const GemmJob<float>& job, int64_t row, int64_t end, int64_t k, const Packed& to,
                             MagnitudesSeen& seen) {
    __m512i block[Planes][kPairs];
    load_block<Along>(job.A + row * job.a_row + k * job.a_col, Along ? job.a_row : job.a_col, end - row, job.K - k,
                      seen, block);
    const int64_t padded = blocks_of(end, MR) * MR;
#pragma GCC unroll 3
    for (int p = 0; p < Planes; ++p) {
      if constexpr (!Along) transpose_pairs(block[p]);
#pragma GCC unroll 16
      for (int i = 0; i < kPairs; ++i) {
        const int64_t r = row + i;
        if (r < padded)
          _mm512_store_si512(to.pairs + p * to.plane + r / MR * to.panel + k / 2 * MR + r % MR * kPairs, block[p][i]);
      }
    }
  }

  // Rows [begin, end) of op(A), begin a multiple of kRowBlock, read in the order in which they lie.
  static void pack_a(const GemmJob<float>& job, int64_t begin, int64_t end, const Packed& to, MagnitudesSeen& seen) {
    if (job.a_col == 1) {
      for (int64_t row = begin; row < end; row += 16)
        for (int64_t k = 0; k < job.K; k += kDepth) pack_rows_of_a<true>(job, row, end, k, to, seen);
    } else {
      for (int64_t k = 0; k < job.K; k += kDepth)
        for (int64_t row = begin; row < end; row += 16) pack_rows_of_a<false>(job, row, end, k, to, seen);
    }
  }

  // 16 columns of op(B) from j on and 32 of k from `k` on, columns of the source, to `at`.
  static void pack_columns_of_b(const GemmJob<float>& job, int64_t j, int64_t k, Pair* at, int64_t plane,
                                MagnitudesSeen& seen) {
    __m512i block[Planes][kPairs];
    load_block<true>(job.B + k + j * job.b_col, job.b_col, job.N - j, job.K - k, seen, block);
#pragma GCC unroll 3
    for (int p = 0; p < Planes; ++p) {
      transpose_pairs(block[p]);
#pragma GCC unroll 16
      for (int i = 0; i < kPairs; ++i) _mm512_store_si512(at + p * plane + i * NR, block[p][i]);
    }
  }

  // NR columns of op(B) from j on and two of k from `k` on, rows of the source, to `at`.
  template <bool Whole = false>
  static void pack_rows_of_b(const GemmJob<float>& job, int64_t j, int64_t k, Pair* at, int64_t plane,
                             MagnitudesSeen& seen) {
    if constexpr (!Whole) {
      if (j + NR <= job.N && k + 1 < job.K) return pack_rows_of_b<true>(job, j, k, at, plane, seen);
    }
    const float *even = job.B + k * job.b_row + j, *odd = even + job.b_row;
    for (int r = kRowsAhead; r < kRowsAhead + 2; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NR; v += 16) __builtin_prefetch(even + r * job.b_row + v);
#pragma GCC unroll 4
    for (int v = 0; v < NR; v += 16) {
      const int64_t n = job.N - j - v;
      const __m512 x = load_lanes<Whole>(even + v, k < job.K ? n : 0);
      const __m512 y = load_lanes<Whole>(odd + v, k + 1 < job.K ? n : 0);
      __m512i block[Planes];
      split<true>(x, y, seen, block);
#pragma GCC unroll 3
      for (int p = 0; p < Planes; ++p) _mm512_store_si512(at + p * plane + v, block[p]);
    }
  }

  // Panels of op(B), the k of some blocks; `to` begins with the first of both.
  static void pack_b(const GemmJob<float>& job, Range panels, Range k_blocks, const Packed& to, MagnitudesSeen& seen) {
    const auto at = [&](int64_t panel, int64_t k) {
      return to.pairs + (panel - panels.begin) * to.panel + (k - k_blocks.begin) / 2 * NR;
    };
    if (job.b_row == 1) {
      for (int64_t panel = panels.begin; panel < panels.end; ++panel)
        for (int v = 0; v < NR; v += 16)
          for (int64_t k = k_blocks.begin; k < k_blocks.end; k += kDepth)
            pack_columns_of_b(job, panel * NR + v, k, at(panel, k) + v, to.plane, seen);
    } else {
      for (int64_t block = k_blocks.begin; block < k_blocks.end; block += kDepth)  // so many pages at a time
        for (int64_t panel = panels.begin; panel < panels.end; ++panel)
          for (int64_t k = block; k < block + kDepth; k += 2)
            pack_rows_of_b(job, panel * NR, k, at(panel, k), to.plane, seen);
    }
  }

  // Whether the unit rounds as float32 does: no operand, plane, product or sum leaves the normal numbers. All planes
  // are multiples of an element's last bit (2^-7 of its leading one, or 2^-23 from two planes on), so products and
  // their sums are multiples of the product of two such bits: where that is normal, nothing can be flushed to zero.
  static bool safe(Magnitudes a, Magnitudes b, int64_t K) {
    constexpr int kLastBits = Planes == 1 ? 14 : Planes == 2 ? 30 : 46, kLast = Planes == 1 ? 0 : 23;
    const auto exponent = [](uint32_t bits) { return static_cast<int>(bits >> 23) - 127; };
    if (exponent(a.largest) > 126 || exponent(b.largest) > 126) return false;  // inf, NaN, or may round to inf
    if (a.largest == 0 || b.largest == 0) return true;
    const int log2_k = 63 - __builtin_clzll(static_cast<unsigned long long>(K));
    return exponent(a.largest) + exponent(b.largest) + log2_k + 3 <= 127 && exponent(a.smallest) - kLast >= -126 &&
           exponent(b.smallest) - kLast >= -126 && exponent(a.smallest) + exponent(b.smallest) - kLastBits >= -126;
  }

  static void prefetch_tile(const GemmJob<float>& job, int64_t i, int rows, int64_t j) {
    for (int r = 0; r < rows; ++r) {
      const float* row = job.C + (i + r) * job.ldc + j;
#pragma GCC unroll 4
      for (int v = 0; v < NR; v += 16) __builtin_prefetch(row + v, 1);
    }
  }

  // Share `share` of `shares` of a panel's block of k, into L2.
  static void prefetch_share(const Pair* block, int64_t plane, int64_t length, int64_t share, int64_t shares) {
    constexpr int64_t kLine = 64 / sizeof(Pair);
    const int64_t begin = part_start(length / kLine, shares, share),
                  end = part_start(length / kLine, shares, share + 1);
    for (int p = 0; p < Planes; ++p)
      for (int64_t line = begin; line < end; ++line) __builtin_prefetch(block + p * plane + line * kLine, 0, 2);
  }

  static Range part(int64_t n, int64_t parts, int64_t index) {
    return {part_start(n, parts, index), part_start(n, parts, index + 1)};
  }

  // Rows and panels of C, one block of k, from packed operands: `a` begins with row 0 and k = 0, `b` with the first of
  // `panels` and of `k`.
  static void multiply(const GemmJob<float>& job, Unit& unit, Range rows, Range panels, Range k, const Packed& a,
                       const Packed& b) {
    alignas(64) float products[MR * NR];
    const int64_t pairs = blocks_of(least(k.end, job.K) - k.begin, 2);
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const int64_t j = panel * NR;
      const int width = static_cast<int>(least(NR, job.N - j));
      for (int64_t i = rows.begin; i < rows.end; i += MR) {
        const int height = static_cast<int>(least(MR, rows.end - i));
        prefetch_tile(job, i, height, j);
        unit.template multiply<Planes>(width, pairs, a.pairs + i / MR * a.panel + k.begin / 2 * MR, a.plane,
                                       b.pairs + (panel - panels.begin) * b.panel, b.plane, products);
        finish<F32, NR>(job, GemmTile<float>{products, NR, i, j, height, width, k.begin == 0, k.end >= job.K},
                        kRowBlock);
      }
    }
  }

  // The same for all of k on a unit that takes its sums up again: they stay in a buffer of tiles, in L2, from one block
  // of k to the next, and C is touched once. `b` begins with k = 0. The sums of later groups of blocks, where a unit
  // has groups, are begun anew and added to the first one's when they are complete: as in pairwise summation. With one
  // block of k nothing is kept: one tile, in L1, serves all.
  static void multiply_all(const GemmJob<float>& job, Unit& unit, Range rows, Range panels, const Packed& a,
                           const Packed& b) {
    constexpr int64_t kTile = MR * NR, kGroup = Unit::group(Planes);
    const int64_t tiles = blocks_of(rows.end - rows.begin, MR), step = job.K > KC ? kTile : 0;
    const int64_t all = step > 0 ? tiles * (panels.end - panels.begin) * kTile : kTile;
    const bool groups = job.K > kGroup;
    float* const total = static_cast<float*>(workspace(Workspace::tiles, (groups ? 2 : 1) * all * sizeof(float)));
    for (int64_t k = 0; k < job.K; k += KC) {
      const int64_t pairs = blocks_of(least(KC, job.K - k), 2);
      const bool later = k >= kGroup, more = k % kGroup != 0;
      const bool last = k + KC >= job.K, complete = later && (last || (k + KC) % kGroup == 0);
      float *sums = later ? total + all : total, *into = total;
      for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
        const int64_t j = panel * NR;
        const int width = static_cast<int>(least(NR, job.N - j));
        const Pair* const own_b = b.pairs + (panel - panels.begin) * b.panel + k / 2 * NR;
        for (int64_t i = rows.begin; i < rows.end; i += MR, sums += step, into += step) {
          const int height = static_cast<int>(least(MR, rows.end - i));
          const Pair* const own_a = a.pairs + i / MR * a.panel + k / 2 * MR;
          if (!last)
            prefetch_share(own_a + KC / 2 * MR, a.plane, KC / 2 * MR, panel - panels.begin, panels.end - panels.begin);
          if (panel + 1 < panels.end)
            prefetch_share(own_b + b.panel, b.plane, pairs * NR, (i - rows.begin) / MR, tiles);
          if (last) prefetch_tile(job, i, height, j);
          unit.template multiply<Planes>(pairs, own_a, a.plane, own_b, b.plane, more, sums);
          if (complete) Unit::add(sums, into);
          if (last) finish<F32, NR>(job, GemmTile<float>{into, NR, i, j, height, width, true, true}, kRowBlock);
        }
      }
    }
  }

  static Magnitudes merged(const Magnitudes* of, int64_t n) {
    Magnitudes all;
    for (int64_t i = 0; i < n; ++i) {
      all.largest = of[i].largest > all.largest ? of[i].largest : all.largest;
      all.smallest = of[i].smallest < all.smallest ? of[i].smallest : all.smallest;
    }
    return all;
  }

  // False: not done; C is as it was, or holds what a kernel that does not read it will overwrite.
  static bool run(const GemmArgs& args) {
    GemmJob<float> job{args,
                       args.M,
                       args.N,
                       args.K,
                       static_cast<const float*>(args.A),
                       args.trans_a ? 1 : args.lda,
                       args.trans_a ? args.lda : 1,
                       static_cast<const float*>(args.B),
                       args.trans_b ? 1 : args.ldb,
                       args.trans_b ? args.ldb : 1,
                       static_cast<float*>(args.C),
                       args.ldc,
                       nullptr};
    const int threads = num_threads();
    const int64_t depth = blocks_of(job.K, kDepth) * kDepth, k_blocks = blocks_of(depth, KC);
    const int64_t panels_a = blocks_of(job.M, MR), panels_b = blocks_of(job.N, NR);
    const int64_t units = blocks_of(job.M, kRowBlock);
    const auto k_range = [&](int64_t block) {
      const Range r = part(depth / kDepth, k_blocks, block);
      return Range{r.begin * kDepth, r.end * kDepth};
    };
    const auto row_range = [&](int64_t parts, int64_t index) {
      const Range r = part(units, parts, index);
      return Range{r.begin * kRowBlock, least(r.end * kRowBlock, job.M)};
    };
    const bool reads_c = args.epilogue == Epilogue::sgd || (args.epilogue != Epilogue::backprop && args.beta != 0.0);
    const bool few_rows = job.M <= kFewRows && !reads_c;

    float* db = args.epilogue == Epilogue::backprop ? static_cast<float*>(args.db) : nullptr;
    if (db) job.sums = units == 1 ? db : static_cast<float*>(workspace(Workspace::sums, units * job.N * sizeof(float)));

    const int64_t row_tasks = least(units, 4 * threads), col_tasks = least(panels_b, 4 * threads);
    Packed a{nullptr, MR * depth / 2, panels_a * MR * depth / 2};
    const int64_t a_bytes = Planes * a.plane * sizeof(Pair);
    const int64_t seen_bytes = (row_tasks + col_tasks) * sizeof(Magnitudes);
    a.pairs = static_cast<Pair*>(workspace(Workspace::panel_a, a_bytes + seen_bytes));
    Magnitudes* const seen_a = reinterpret_cast<Magnitudes*>(a.pairs + Planes * a.plane);
    Magnitudes* const seen_b = seen_a + row_tasks;
    const auto is_safe = [&] { return safe(merged(seen_a, row_tasks), merged(seen_b, col_tasks), job.K); };
    const auto pack_rows = [&](int64_t task) {
      MagnitudesSeen seen;
      const Range rows = row_range(row_tasks, task);
      pack_a(job, rows.begin, rows.end, a, seen);
      seen_a[task] = seen.get();
    };

    if (few_rows) {
      for_tasks(row_tasks, threads > 1, pack_rows);
      for_tasks(col_tasks, threads > 1, [&](int64_t task) {
        MagnitudesSeen seen;
        Unit unit;
        const Range own = part(panels_b, col_tasks, task);
        if constexpr (Unit::kKeepsSums) {
          const int64_t length = NR * depth / 2;
          const Packed one{static_cast<Pair*>(workspace(Workspace::panel_b, Planes * length * sizeof(Pair))), length,
                           length};
          for (int64_t panel = own.begin; panel < own.end; ++panel) {
            pack_b(job, {panel, panel + 1}, {0, depth}, one, seen);
            multiply_all(job, unit, {0, job.M}, {panel, panel + 1}, a, one);
          }
        } else {
          for (int64_t block = 0; block < k_blocks; ++block) {
            const Range k = k_range(block);
            const int64_t length = NR * (k.end - k.begin) / 2;
            const Packed one{static_cast<Pair*>(workspace(Workspace::panel_b, Planes * length * sizeof(Pair))), length,
                             length};
            for (int64_t panel = own.begin; panel < own.end; ++panel) {
              pack_b(job, {panel, panel + 1}, k, one, seen);
              multiply(job, unit, {0, job.M}, {panel, panel + 1}, k, a, one);
            }
          }
        }
        seen_b[task] = seen.get();
      });
      if (!is_safe()) return false;
    } else {
      Packed b{nullptr, NR * depth / 2, panels_b * NR * depth / 2};
      b.pairs = static_cast<Pair*>(workspace(Workspace::panel_b, Planes * b.plane * sizeof(Pair)));
      for_tasks(row_tasks + col_tasks, threads > 1, [&](int64_t task) {
        if (task < row_tasks) return pack_rows(task);
        MagnitudesSeen seen;
        const Range own = part(panels_b, col_tasks, task - row_tasks);
        pack_b(job, own, {0, depth}, {b.pairs + own.begin * b.panel, b.panel, b.plane}, seen);
        seen_b[task - row_tasks] = seen.get();
      });
      if (!is_safe()) return false;

      // As in gemm.inl: rows by whole tiles, or by db's blocks and then with the columns in halves if that is uneven.
      const int64_t grain = job.sums ? kRowBlock : MR, tiles = blocks_of(job.M, grain);
      int64_t row_blocks = blocks_of(job.M, MC);
      if (row_blocks > 1) row_blocks = least(row_blocks + row_blocks % 2, tiles);  // even: shares out over two cores
      int64_t groups = threads > 1 && job.sums && tiles % row_blocks != 0 ? least(2, panels_b) : 1;
      if constexpr (Unit::kKeepsSums) groups = most(groups, blocks_of(job.N, Unit::NC));
      while (groups < panels_b && row_blocks * groups < 8 * threads && row_blocks * groups % threads != 0) ++groups;
      for_tasks(row_blocks * groups, threads > 1, [&](int64_t task) {
        Unit unit;
        const Range own = part(tiles, row_blocks, task / groups), panels = part(panels_b, groups, task % groups);
        const Range rows{own.begin * grain, least(own.end * grain, job.M)};
        if constexpr (Unit::kKeepsSums) {
          multiply_all(job, unit, rows, panels, a, {b.pairs + panels.begin * b.panel, b.panel, b.plane});
        } else {
          for (int64_t block = 0; block < k_blocks; ++block) {
            const Range k = k_range(block);
            multiply(job, unit, rows, panels, k, a,
                     {b.pairs + panels.begin * b.panel + k.begin / 2 * NR, b.panel, b.plane});
          }
        }
      });
    }
    if (db && units != 1) {
      for (int64_t j = 0; j < job.N; ++j) {
        float sum = 0;
        for (int64_t unit = 0; unit < units; ++unit) sum += job.sums[unit * job.N + j];
        db[j] = sum;
      }
    }
    return true;
  }
};

// What each unit is too slow for: little work for each element that is packed, measured in the header. `otherwise` is
// the float32 kernel, which also takes what the unit cannot hold.
template <class Unit> void gemm_on(const GemmArgs& args, void (*otherwise)(const GemmArgs&) noexcept) {
  const int planes = args.dtype == DType::float32 ? Unit::planes(args.precision) : 0;
  const Least limits = Unit::limits(planes);
  bool done = false;
  if (planes > 0 && args.M >= (args.trans_b ? limits.rows_transposed : limits.rows) && args.N >= limits.columns &&
      args.K >= limits.depth) {
    if (planes == 1) done = GemmBf16<Unit, 1>::run(args);
    if constexpr (Unit::kMostPlanes >= 2)
      if (planes == 2) done = GemmBf16<Unit, 2>::run(args);
    if constexpr (Unit::kMostPlanes >= 3)
      if (planes == 3) done = GemmBf16<Unit, 3>::run(args);
  }
  if (!done) otherwise(args);
}
