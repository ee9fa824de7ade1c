#include "cpu/features.h"

#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace deltarule::cpu {
#if defined(__x86_64__)
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves zeros if the leaf is not there
  return r;
}

constexpr bool bit(uint32_t word, int index) { return (word >> index) & 1u; }

// XCR0 says which register files the operating system saves; without it AVX instructions fault or lose state.
uint64_t xcr0() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr uint64_t kYmm = 0x06, kZmm = 0xe6, kTiles = 0x60000;

// Linux saves the 8 KB of tile data only for processes that have asked.
bool tiles_permitted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

bool has_avx2() {
  const bool fma = bit(cpuid(1, 0).ecx, 12), avx2 = bit(cpuid(7, 0).ebx, 5);
  return fma && avx2 && (xcr0() & kYmm) == kYmm;
}

bool has_avx512() {
  const uint32_t ebx = cpuid(7, 0).ebx;
  const bool all = bit(ebx, 16) && bit(ebx, 17) && bit(ebx, 30) && bit(ebx, 31);  // F, DQ, BW, VL
  return all && has_avx2() && (xcr0() & kZmm) == kZmm;
}

bool has_avx512_bf16() { return has_avx512() && bit(cpuid(7, 1).eax, 5); }

bool has_amx() {
  const uint32_t edx = cpuid(7, 0).edx;
  const bool all = bit(edx, 22) && bit(edx, 24);  // bfloat16, tiles
  return all && has_avx512_bf16() && (xcr0() & kTiles) == kTiles && tiles_permitted();
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_avx512_bf16() { return false; }
bool has_amx() { return false; }
#endif

int64_t cache_bytes([[maybe_unused]] int level) {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  constexpr int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
  return std::max<int64_t>(0, sysconf(names[level - 1]));
#else
  return 0;
#endif
}

}  // namespace deltarule::cpu
