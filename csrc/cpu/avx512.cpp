// The generic kernels compiled for AVX-512 (F, BW, DQ, VL).
#include "cpu/isa/avx512.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/workspace.h"
#include "cpu/tables.h"
#include "formulas/deform.h"

namespace deltarule::cpu {
namespace {

// Register tile MR x (NV lanes), cache blocks MC x KC of A and KC x NC of B; see the header of gemm.inl.
struct GemmBlocks32 {
  static constexpr int MR = 6, NV = 4, KC = 384, MC = 192, NC = 3072;
};
struct GemmBlocks64 {
  static constexpr int MR = 6, NV = 4, KC = 256, MC = 96, NC = 1536;
};

// clang-format off: each file uses what stands in those before it
#include "cpu/loops.inl"
#include "cpu/gemm_micro.inl"
#include "cpu/gemm_pack.inl"
#include "cpu/gemm_epilogue.inl"
#include "cpu/gemm.inl"
#include "cpu/online.inl"
#include "cpu/elementwise.inl"
#include "cpu/reduce.inl"
#include "cpu/softmax.inl"
#include "cpu/loss.inl"
#include "cpu/step.inl"
#include "cpu/deform.inl"
#include "cpu/peak.inl"
// clang-format on

}  // namespace

extern const Kernels avx512_table = {
    "avx512",      "AVX-512 F, BW, DQ, VL",
    gemm,          online,
    unary,         binary,
    copy,          activate,
    activate_grad, reduce,
    softmax,       loss,
    step,          gather_rows,
    find,          fill_random,
    dropout,       deform,
    peak,
};

}  // namespace deltarule::cpu
