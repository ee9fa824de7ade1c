// The CPU's fillings of the contract, one per instruction set; devices.cpp picks among them.
#pragma once

#include "kernels.h"

namespace deltarule::cpu {

extern const Kernels scalar_table;
#if defined(__x86_64__)
extern const Kernels avx2_table;
extern const Kernels avx512_table;

// Matrix products for the AVX-512 table where the CPU has more; devices.cpp puts them in.
namespace avx512_bf16 {
void gemm(const GemmArgs&) noexcept;
}
namespace amx {
void gemm(const GemmArgs&) noexcept;
}
namespace amx_emulated {  // with DELTARULE_EMULATE_AMX only
void gemm(const GemmArgs&) noexcept;
}
#endif

// Slots that need no lane type, shared by every table (copy.cpp, find.cpp, random.cpp).
void copy(const CopyArgs&) noexcept;
void find(const FindArgs&) noexcept;
void fill_random(const RandomArgs&) noexcept;

}  // namespace deltarule::cpu
