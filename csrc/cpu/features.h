// What this CPU and its operating system let a program use.
#pragma once

namespace deltarule::cpu {

bool has_avx2();    // AVX2 and FMA, and the OS saves the ymm registers
bool has_avx512();  // AVX-512 F, BW, DQ, VL, and the OS saves the zmm registers

}  // namespace deltarule::cpu
