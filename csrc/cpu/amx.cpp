// The AVX-512 table with products of bfloat16 planes on AMX tiles; see gemm_bf16.inl and gemm_tiles.inl.
#include "cpu/isa/amx.h"
#include "base/parallel.h"
#include "base/workspace.h"
#include "cpu/isa/avx512.h"
#include "cpu/tables.h"

namespace deltarule::cpu {
namespace {

// Below these float32 does it: as measured for vdpbf16ps, not for AMX. See gemm_tiles.inl for kSixProducts.
struct Limits {
  static constexpr int64_t kLeastRows = 48, kLeastRowsTransposed = 24, kLeastColumns = 32, kLeastDepth = 16;
  static constexpr bool kSixProducts = false;
};

// clang-format off: each file uses what stands in those before it
#include "cpu/loops.inl"
#include "cpu/gemm_epilogue.inl"
#include "cpu/gemm_bf16.inl"
#include "cpu/gemm_tiles.inl"
// clang-format on

}  // namespace

void amx::gemm(const GemmArgs& args) noexcept { gemm_on<TilesOfC>(args, avx512_table.gemm); }

}  // namespace deltarule::cpu
