// amx.cpp over tiles in software, for tests (CMake option DELTARULE_EMULATE_AMX); never chosen unless asked for.
#include "cpu/isa/amx_emulated.h"
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

// Everything goes through the tiles.
struct Limits {
  static constexpr Least limits(int) { return {1, 1, 1, 1}; }
};

#include "cpu/gemm_tiles.inl"

}  // namespace

void amx_emulated::gemm(const GemmArgs& args) noexcept { gemm_on<TilesOfC>(args, avx512_table.gemm); }

}  // namespace deltarule::cpu
