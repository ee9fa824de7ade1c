// The AVX-512 table with products of bfloat16 planes on AMX tiles; see gemm_bf16.inl and gemm_tiles.inl.
#include "cpu/isa/amx.h"
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

// One thread, NN, NT and TN, ratio to float32 at the limit and just below it: gemm_tiles.inl.
struct Limits {
  static constexpr Least limits(int planes) {
    return planes == 1 ? Least{16, 16, 16, 32} : planes == 2 ? Least{32, 24, 32, 64} : Least{256, 256, 256, 256};
  }
};

#include "cpu/gemm_tiles.inl"

}  // namespace

void amx::gemm(const GemmArgs& args) noexcept { gemm_on<TilesOfC>(args, avx512_table.gemm); }

}  // namespace deltarule::cpu
