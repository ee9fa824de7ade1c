// What this CPU and its operating system let a program use.
#pragma once

#include <cstdint>

namespace deltarule::cpu {

bool has_avx2();    // AVX2 and FMA, and the OS saves the ymm registers
bool has_avx512();  // AVX-512 F, BW, DQ, VL, and the OS saves the zmm registers
bool has_avx512_bf16();
bool has_amx();  // tiles and bfloat16, AVX512-BF16, and the OS lets this process use tiles: asks for them

int64_t cache_bytes(int level);  // data cache of level 1, 2 or 3; 0 where the system does not tell

}  // namespace deltarule::cpu
