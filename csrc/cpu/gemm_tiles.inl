// The unit of gemm_bf16.inl that AMX is: 2 x 2 tiles of sums, two of A and two of B.
//
// Computes   a[32, 2 pairs] b[2 pairs, 32] -> products[32, 32], summed over pairs of planes, small products first.
// Layout     A panel: 32 rows of 16 pairs, two tiles below each other, rows 64 bytes apart. B panel: a row for each
// pair
//            of k, two tiles side by side, rows 128 bytes apart.
//
//                              B: tmm6   tmm7
//              A: tmm4            tmm0   tmm1
//                 tmm5            tmm2   tmm3
//
// Arithmetic A step of 32 k: 4 tile loads (8 cycles each at best) and 4 products (16 each): 65,536 FLOP in 64 cycles.
//            KC 1024 makes that 2,048 cycles for each visit of the 4 KB of C; MC 512 keeps a block of A (1 MB a plane)
//            in an L2 of 2 MB and uses each byte of B from L3 for 512 FLOP, where the machine's balance is 128.
//            Every pair of planes is a pass over the panels of its own, so that the small products are summed before
//            the large ones meet them. One pass with all planes would load less (12 tiles for 24 products, not 24), but
//            rounds the small products to the large sum's last bit.
// Measured   Nothing: no CPU with AMX was at hand. Blocks and limits are from figures published for it; the results are
//            tested through amx_emulated.h. `kSixProducts` stays false until someone has measured that six products
//            beat fma: published figures are 215 to 332 GFLOP/s for a first version, fma's peak is 217.
// Refs       Intel SDM, TDPBF16PS; Intel 64 Optimization Reference Manual, chapter on AMX.
struct TilesOfC : Limits {
  static constexpr int MR = 32, NR = 32, kRowBlock = 64;
  static constexpr int64_t KC = 1024, MC = 512;
  static constexpr int kMostPlanes = 3;
  static int planes(Precision precision) {
    if (precision == Precision::highest) return kSixProducts ? 3 : 0;
    return precision == Precision::high ? 2 : 1;
  }

  Tiles tiles;

  template <int Planes>
  void multiply(int, int64_t pairs, const Pair* a, int64_t a_plane, const Pair* b, int64_t b_plane, float* products) {
    constexpr int64_t kRowA = kPairs * sizeof(Pair), kRowB = NR * sizeof(Pair), kRowC = NR * sizeof(float);
    tiles.zero<0>();
    tiles.zero<1>();
    tiles.zero<2>();
    tiles.zero<3>();
    for (int planes = Planes - 1; planes >= 0; --planes)
      for (int plane = 0; plane <= planes; ++plane) {
        const Pair *x = a + plane * a_plane, *y = b + (planes - plane) * b_plane;
        for (int64_t pair = 0; pair < pairs; pair += kPairs, x += MR * kPairs, y += kPairs * NR) {
          tiles.load<4>(x, kRowA);
          tiles.load<6>(y, kRowB);
          tiles.multiply<0, 4, 6>();
          tiles.load<7>(y + 16, kRowB);
          tiles.multiply<1, 4, 7>();
          tiles.load<5>(x + 16 * kPairs, kRowA);
          tiles.multiply<2, 5, 6>();
          tiles.multiply<3, 5, 7>();
        }
      }
    tiles.store<0>(products, kRowC);
    tiles.store<1>(products + 16, kRowC);
    tiles.store<2>(products + 16 * NR, kRowC);
    tiles.store<3>(products + 16 * NR + 16, kRowC);
  }
};
