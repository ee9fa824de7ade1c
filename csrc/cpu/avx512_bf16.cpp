// The AVX-512 table with products of bfloat16 pairs (vdpbf16ps) for precision "medium"; see gemm_bf16.inl.
#include "base/parallel.h"
#include "base/workspace.h"
#include "cpu/isa/avx512.h"
#include "cpu/tables.h"

namespace deltarule::cpu {
namespace {

// clang-format off: each file uses what stands in those before it
#include "cpu/loops.inl"
#include "cpu/gemm_epilogue.inl"
#include "cpu/gemm_bf16.inl"
// clang-format on

// Tile 6 x 64 in registers: a step of two k is 4 loads, 6 broadcasts, 24 vdpbf16ps.
struct Dots {
  static constexpr int MR = 6, NV = 4, NR = NV * F32::N, kRowBlock = 8 * MR;
  static constexpr int64_t MC = 192;
  static constexpr int64_t kc(int) { return 1024; }
  static constexpr bool kKeepsSums = false;
  static constexpr Least limits(int) { return {48, 24, 32, 16}; }

  // Twice the rate of fma: three products ("high") would take 1.5 times as long as one in float32.
  static constexpr int kMostPlanes = 1;
  static int planes(Precision precision) { return precision == Precision::medium ? 1 : 0; }

  // a[MR, 2 pairs] b[2 pairs, width] -> products[MR, NR]
  template <int Planes>
  void multiply(int width, int64_t pairs, const Pair* a, int64_t, const Pair* b, int64_t, float* products) {
    static_assert(Planes == 1);
    vectors((width + F32::N - 1) / F32::N, pairs, a, b, products);
  }

  template <int Vectors = NV>
  static void vectors(int count, int64_t pairs, const Pair* a, const Pair* b, float* products) {
    if constexpr (Vectors > 1) {
      if (count < Vectors) return vectors<Vectors - 1>(count, pairs, a, b, products);
    }
    tile<Vectors>(pairs, a, b, products);
  }

  template <int Vectors>
  [[gnu::noinline]] static void tile(int64_t pairs, const Pair* a, const Pair* b, float* products) {
    __m512 sum[MR][Vectors];
    // The unroll pragmas are load-bearing, as in gemm_micro.inl.
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sum[i][v] = _mm512_setzero_ps();
#pragma GCC unroll 1
    for (; pairs > 0; pairs -= kPairs, a += (MR - 1) * kPairs) {
      const Pair* const end = a + least(pairs, kPairs);
#pragma GCC unroll 1
      for (; a < end; ++a, b += NR) {
        __m512i row[Vectors];
#pragma GCC unroll 16
        for (int v = 0; v < Vectors; ++v) row[v] = _mm512_load_si512(b + v * F32::N);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const __m512i x = _mm512_set1_epi32(static_cast<int>(a[i * kPairs]));
#pragma GCC unroll 16
          for (int v = 0; v < Vectors; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], (__m512bh)x, (__m512bh)row[v]);
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) _mm512_store_ps(products + i * NR + v * F32::N, sum[i][v]);
  }
};

}  // namespace

void avx512_bf16::gemm(const GemmArgs& args) noexcept { gemm_on<Dots>(args, avx512_table.gemm); }

}  // namespace deltarule::cpu
