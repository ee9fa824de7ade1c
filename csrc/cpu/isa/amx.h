// The eight tile registers of AMX, each 16 rows of 64 bytes while an object lives. amx_emulated.h has the same names.
//
//   zero<R>()   load<R>(p, stride)   store<R>(p, stride)     stride in bytes between rows
//   multiply<D, A, B>()                                      D[16,16] += A[16, 16 pairs] B[16 pairs, 16], of bfloat16
//
// Assembly instead of <amxtileintrin.h>: there a tile's number must be a literal, the configuration is an operand of 8
// bytes, of which it has 64, and loads may move across the stores of what they read. These do not.
#pragma once

#include <cstdint>

namespace {

struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
alignas(64) constexpr TileConfig kTileConfig{};

struct Tiles {
  Tiles() { __asm__ volatile("ldtilecfg %0" ::"m"(kTileConfig) : "memory"); }
  ~Tiles() { __asm__ volatile("tilerelease" ::: "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int R> void zero() { __asm__ volatile("tilezero %%tmm%c0" ::"i"(R) : "memory"); }
  template <int R> void load(const void* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(R) : "memory");
  }
  template <int R> void store(void* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(R) : "memory");
  }
  template <int D, int A, int B> void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(D), "i"(A), "i"(B) : "memory");
  }
};

}  // namespace
