// The unit of gemm_bf16.inl that AMX is: 2 x 2 tiles of sums, two of A and two of B.
//
// Computes   a[32, 2 pairs] b[2 pairs, 32] -> sums[32, 32], summed over pairs of planes: 1, 3 or 6 products.
// Layout     A panel: 32 rows of 16 pairs, two tiles below each other, rows 64 bytes apart. B panel: a row for each
//            pair of k, two tiles side by side, rows 128 bytes apart.
//
//                              B: tmm6   tmm7
//              A: tmm4            tmm0   tmm1
//                 tmm5            tmm2   tmm3
//
// Arithmetic A step of 32 k of one product: 4 tile loads (8 cycles each at best) and 4 products (16 each): 65,536 FLOP
//            in 64 cycles, from L1. Loads from L2 take twice that, so a block of k has all planes of both panels in L1:
//            256 of k of one plane are 16 KB of each, 64 of k of three planes 12 KB. Neighbouring products share a
//            plane: 14 tile loads for the 24 multiplications of six products, 8 for the 12 of three.
//            So short a block visits C often: its sums (MC x NC, 512 KB) stay in L2 as tiles and C is written once.
//            What the next panel of B and the next block of A need is prefetched from L3 a share a visit.
//            Six products round less than float32 does: the unit adds 16 pairs before it rounds to the sum (Intel SDM),
//            the five small products of a block are summed first, to their own size, blocks are added in float32,
//            groups of 2048 of k apart.
// Measured   Xeon with AMX, one thread, GFLOP/s, interleaved with PyTorch 2.13: MKL in float32, oneDNN with operands
// and
//            result in bfloat16. `python bench/gemm.py --isa avx512,amx --precision highest,high,medium --peers torch
//            --shapes ...`: bench/results/gemm_amx.json. The host is shared; its speed moves by a third within minutes,
//            and oneDNN's lead with it: in slow minutes there was none.
//
//              M x N x K              highest  float32     MKL    x MKL    high   x MKL   medium   oneDNN x oneDNN
//              256^3                      186      157     174     1.07     320    1.84      742      689     1.08
//              512^3                      214      166     171     1.24     341    1.97      643     1023     0.63
//              1024^3                     224      162     180     1.24     372    2.02      795     1307     0.61
//              2048^3                     235      162     178     1.31     379    2.10      733      955     0.76
//              1000 x 2000 x 2500         194      157     179     1.09     328    1.85      782      939     0.80
//              1000 x 2500 x 2000, dx     206      153     181     1.14     328    1.92      811      808     1.02
//              2500 x 2000 x 1000, dW     219      157     182     1.20     362    2.01      719      539     1.33
//              100 x 2500 x 841           143      143     137     1.04     250    1.81      451      595     0.76
//              2500 x 2000 x 100, dW      131      132     124     1.06     244    1.90      410      376     1.05
//
//            The multiplying alone, six products, runs at 250 to 285 (raw: 1500 to 1700; without C, operands in
//            L2: 2040; one product from L2: 2500, or 3100 where all operands are zero), packing three planes takes 10 %
//            of the time at 1000 rows, 30 % at 100. RMS error of "highest", in units of float32's here (normal /
//            uniform data): K 64 0.31 / 0.35, 784 0.29 / 0.45, 2500 0.33 / 0.59, 8192 0.35 / 0.60. Ratio to float32,
//            rows x 1000 x 784 and in the other layouts: medium 8 rows 0.9, 16 1.15 to 1.34; high 16 0.8, 24 1.0
//            (NT 1.25), 32 1.3, 48 1.25, 64 1.7; highest 100 0.9, 128 1.0, 200 1.1, 1000 1.2. By k, 1000 x 1000: medium
//            16 0.8, 32 1.1; high 32 1.0, 64 1.3; highest 100 0.85, 200 1.2. By columns: medium 10 0.85, 16 1.3; high
//            16 0.7, 32 1.35; highest 64 0.95.
//
//            Steps of whole nets, one thread, old kernels (float32, KC 1024) against these in turns, minima of 7:
//            highest, 1000 rows: 784-1000-500-10 39.6 to 25.8 ms, 841-2500-..-10 445 to 300 ms; medium, 100 rows, the
//            same: 0.97. Dead ends: a tile for each place of C where there is one block of k (dW at 100 rows): 1.07 of
//            a step's time; KC 1024 with C visited once for each block and every pair of planes a pass of its own, 0.63
//            to 0.85 of this; KC 128 for three planes: 0.75; NC 128 and 256, MC 128 and 512: 0.9 to 1.0; panels laid
//            out block of k by block of k: 0.9 to 1.0; sums prefetched to L1 before they are added to: 0.85; groups of
//            512 of k: 0.85, and no better than 2048. Sums carried on in the tiles through all of k: 1.05, but its
//            error on uniform data is 1.3 of float32's at K 784 and 4 at 8192.
// Refs       Intel SDM, TDPBF16PS; Intel 64 Optimization Reference Manual, chapter on AMX.
struct TilesOfC : Limits {
  static constexpr int MR = 32, NR = 32, kRowBlock = 64;  // MR = NR: steps of k are as long in A as in B
  static constexpr int64_t MC = 256, NC = 512;
  static constexpr int64_t kc(int planes) { return planes == 1 ? 256 : 64; }
  static constexpr int64_t group(int planes) { return planes == 3 ? 2048 : INT64_MAX; }
  static constexpr bool kKeepsSums = true;
  static constexpr int kMostPlanes = 3;
  static int planes(Precision precision) {
    return precision == Precision::highest ? 3 : precision == Precision::high ? 2 : 1;
  }

  Tiles tiles;

  // a[MR, 2 pairs] b[2 pairs, NR] -> sums[MR, NR], added to what is there if `more`
  template <int Planes>
  void multiply(int64_t pairs, const Pair* a, int64_t a_plane, const Pair* b, int64_t b_plane, bool more, float* sums) {
    if constexpr (Planes == 3) return multiply_promoted(pairs, a, a_plane, b, b_plane, more, sums);
    if (more) load(sums);
    else zero();
    for (; pairs > 0; pairs -= kPairs, a += MR * kPairs, b += kPairs * NR) {
      if constexpr (Planes == 1) {
        one_product(a, b);
      } else {  // hi.lo, hi.hi, lo.hi
        upper_a(a);
        lower_a(a);
        next_b(b + b_plane);
        next_b(b);
        next_a(a + a_plane);
      }
    }
    store(sums);
  }

  // x[MR, NR] is added to y[MR, NR].
  static void add(const float* x, float* y) {
#pragma GCC unroll 4
    for (int i = 0; i < MR * NR; i += 16)
      _mm512_store_ps(y + i, _mm512_add_ps(_mm512_load_ps(y + i), _mm512_load_ps(x + i)));
  }

 private:
  static constexpr int64_t kRowA = kPairs * sizeof(Pair), kRowB = NR * sizeof(Pair), kRowC = NR * sizeof(float);

  // The five small products of all k first, so that they are rounded to their own size; then the large one; then the
  // sum to those of the blocks of k before.
  void multiply_promoted(int64_t pairs, const Pair* a, int64_t a_plane, const Pair* b, int64_t b_plane, bool more,
                         float* sums) {
    zero();
    for (int64_t at = 0; at < pairs * MR; at += kPairs * MR) {  // hi.lo, hi.mid, mid.mid, mid.hi, lo.hi
      upper_a(a + at);
      lower_a(a + at);
      next_b(b + at + 2 * b_plane);
      next_b(b + at + b_plane);
      next_a(a + at + a_plane);
      next_b(b + at);
      next_a(a + at + 2 * a_plane);
    }
    for (int64_t at = 0; at < pairs * MR; at += kPairs * MR) one_product(a + at, b + at);
    if (!more) return store(sums);
    alignas(64) float products[MR * NR];
    store(products);
    add(products, sums);
  }

  void zero() {
    tiles.zero<0>();
    tiles.zero<1>();
    tiles.zero<2>();
    tiles.zero<3>();
  }
  void load(const float* c) {
    tiles.load<0>(c, kRowC);
    tiles.load<1>(c + 16, kRowC);
    tiles.load<2>(c + 16 * NR, kRowC);
    tiles.load<3>(c + 16 * NR + 16, kRowC);
  }
  void store(float* c) {
    tiles.store<0>(c, kRowC);
    tiles.store<1>(c + 16, kRowC);
    tiles.store<2>(c + 16 * NR, kRowC);
    tiles.store<3>(c + 16 * NR + 16, kRowC);
  }

  void one_product(const Pair* a, const Pair* b) {
    upper_a(a);
    left_b(b);
    tiles.multiply<0, 4, 6>();
    right_b(b);
    tiles.multiply<1, 4, 7>();
    lower_a(a);
    tiles.multiply<2, 5, 6>();
    tiles.multiply<3, 5, 7>();
  }

  void upper_a(const Pair* a) { tiles.load<4>(a, kRowA); }
  void lower_a(const Pair* a) { tiles.load<5>(a + 16 * kPairs, kRowA); }
  void left_b(const Pair* b) { tiles.load<6>(b, kRowB); }
  void right_b(const Pair* b) { tiles.load<7>(b + 16, kRowB); }

  // Another plane of A, times the plane of B that is there; and the other way round.
  void next_a(const Pair* a) {
    upper_a(a);
    tiles.multiply<0, 4, 6>();
    tiles.multiply<1, 4, 7>();
    lower_a(a);
    tiles.multiply<2, 5, 6>();
    tiles.multiply<3, 5, 7>();
  }
  void next_b(const Pair* b) {
    left_b(b);
    tiles.multiply<0, 4, 6>();
    tiles.multiply<2, 5, 6>();
    right_b(b);
    tiles.multiply<1, 4, 7>();
    tiles.multiply<3, 5, 7>();
  }
};
