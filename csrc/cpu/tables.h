// The CPU's fillings of the contract, one per instruction set; devices.cpp picks among them.
#pragma once

#include "kernels.h"

namespace deltarule::cpu {

extern const Kernels scalar_table;
#if defined(__x86_64__)
extern const Kernels avx2_table;
extern const Kernels avx512_table;
#endif

// Slots that need no lane type, shared by every table (copy.cpp, random.cpp).
void copy(const CopyArgs&) noexcept;
void fill_random(const RandomArgs&) noexcept;

}  // namespace deltarule::cpu
