// csrc/cuda/ptx_mma.cuh for the emulated GPU: the same functions in C++, by the tables of the PTX ISA.
//
// Who holds what of mma.m16n8k16 with .bf16; g = lane / 4, t = lane % 4, a register of A and B holds two numbers that
// follow each other in k, the first in its lower half:
//
//   A[16,16]  a0: row g      k 2t, 2t+1        B[16,8]  b0: k 2t, 2t+1      column g
//             a1: row g + 8  k 2t, 2t+1                 b1: k 2t+8, 2t+9    column g
//             a2: row g      k 2t+8, 2t+9
//             a3: row g + 8  k 2t+8, 2t+9      C[16,8]  c0, c1: row g,      columns 2t, 2t+1
//                                                       c2, c3: row g + 8,  columns 2t, 2t+1
//
// ldmatrix.x4: lane l gives the address of row l % 8 of matrix l / 8. Lane l gets, in register i, of matrix i the row
// l / 4, columns 2 (l % 4) and the next; with .trans the column l / 4, rows 2 (l % 4) and the next.
//
// The sums: one product after the other in float32, rounded to nearest. With DELTARULE_EMULATED_TRUNCATION=1 as the
// units were found to do it (Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021), at
// its worst: blocks of 8 products and the sum so far, all exact, are aligned to the largest exponent (that of a product
// is the sum of its factors', so up to a bit below its own), cut off 2 bits below float32's last, added exactly and cut
// off to float32.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace deltarule::cuda {

namespace emulated {

inline uint32_t bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return 0x7FFF;
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

inline float from_bf16(uint32_t half) { return std::bit_cast<float>(half << 16); }

inline uint16_t half_at(uint32_t address) {
  uint16_t value;
  std::memcpy(&value, shim::shared_pointer(address), sizeof value);
  return value;
}

inline void load_matrices(uint32_t (&part)[4], uint32_t address, bool transposed) {
  if (address % 16 != 0) shim::fail("ldmatrix from address %u, which is no multiple of 16", address);
  const uint32_t* rows = shim::warp_exchange(0xFFFFFFFFu, transposed ? "ldmatrix.trans" : "ldmatrix", address);
  const uint32_t lane = shim::lane_id();
  for (uint32_t i = 0; i < 4; ++i) {
    const auto at = [&](uint32_t row, uint32_t column) { return half_at(rows[8 * i + row] + 2 * column); };
    const uint32_t outer = lane / 4, inner = 2 * (lane % 4);
    const uint32_t low = transposed ? at(inner, outer) : at(outer, inner);
    const uint32_t high = transposed ? at(inner + 1, outer) : at(outer, inner + 1);
    part[i] = low | high << 16;
  }
}

// A number as integer * 2^exponent, the integer's leading bit (of a normal number) at `bits` - 1.
struct Parts {
  int64_t integer;
  int exponent;
};

inline Parts parts_of(float x, int bits) {
  int exponent;
  const double mantissa = std::frexp(static_cast<double>(x), &exponent);  // [1/2, 1)
  if (exponent < -125)
    return {static_cast<int64_t>(std::ldexp(static_cast<double>(x), 126 + bits - 1)), -126 - bits + 1};
  return {static_cast<int64_t>(std::ldexp(mantissa, bits)), exponent - bits};
}

inline int64_t cut(int64_t integer, int left) {
  if (left >= 0) return left < 40 ? integer * (int64_t{1} << left) : 0;  // 0 only where integer is
  return left > -63 ? integer / (int64_t{1} << -left) : 0;
}

// c + a[8] . b[8], aligned and cut off.
inline float truncated_sum(const float* a, const float* b, float c) {
  constexpr int kExtraBits = 2, kBelow = 23 + kExtraBits;
  bool finite = std::isfinite(c);
  for (int k = 0; k < 8; ++k) finite = finite && std::isfinite(a[k]) && std::isfinite(b[k]);
  if (!finite) {
    for (int k = 0; k < 8; ++k) c += a[k] * b[k];
    return c;
  }
  Parts terms[9];
  int largest = -1000;
  for (int k = 0; k < 8; ++k) {
    const Parts x = parts_of(a[k], 8), y = parts_of(b[k], 8);
    terms[k] = {x.integer * y.integer, x.exponent + y.exponent};
    if (terms[k].integer != 0) largest = std::max(largest, x.exponent + 7 + y.exponent + 7);
  }
  terms[8] = parts_of(c, 24);
  if (c != 0.0f) largest = std::max(largest, terms[8].exponent + 23);
  int64_t sum = 0;
  for (const Parts& term : terms) sum += cut(term.integer, term.exponent - (largest - kBelow));
  int lost = 64 - std::countl_zero(static_cast<uint64_t>(std::abs(sum))) - 24;  // bits beyond float32's
  lost = std::max(lost, -149 - (largest - kBelow));                             // subnormal
  if (lost > 0) sum = lost < 63 ? sum / (int64_t{1} << lost) * (int64_t{1} << lost) : 0;
  return static_cast<float>(std::ldexp(static_cast<double>(sum), largest - kBelow));
}

inline bool truncates() {
  static const bool yes = [] {
    const char* text = std::getenv("DELTARULE_EMULATED_TRUNCATION");
    return text != nullptr && std::strcmp(text, "1") == 0;
  }();
  return yes;
}

struct Operands {
  uint32_t a[4], b[2];
};

}  // namespace emulated

inline uint32_t pack_bf16(float low, float high) { return emulated::bf16(low) | emulated::bf16(high) << 16; }

inline void load_matrices(uint32_t (&part)[4], uint32_t address) { emulated::load_matrices(part, address, false); }

inline void load_matrices_transposed(uint32_t (&part)[4], uint32_t address) {
  emulated::load_matrices(part, address, true);
}

inline void multiply_matrices(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const float (&c)[4]) {
  const emulated::Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const emulated::Operands* all = shim::warp_exchange(0xFFFFFFFFu, "mma.m16n8k16.bf16", mine);
  const uint32_t g = shim::lane_id() / 4, t = shim::lane_id() % 4;
  float rows[2][16], columns[2][16];
  for (uint32_t pair = 0; pair < 8; ++pair) {  // k 2 pair and 2 pair + 1
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t row = all[4 * g + pair % 4].a[half + 2 * (pair / 4)];
      const uint32_t column = all[4 * (2 * t + half) + pair % 4].b[pair / 4];
      rows[half][2 * pair] = emulated::from_bf16(row & 0xFFFF);
      rows[half][2 * pair + 1] = emulated::from_bf16(row >> 16);
      columns[half][2 * pair] = emulated::from_bf16(column & 0xFFFF);
      columns[half][2 * pair + 1] = emulated::from_bf16(column >> 16);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const float *row = rows[i / 2], *column = columns[i % 2];
    float sum = c[i];
    if (emulated::truncates()) {
      sum = emulated::truncated_sum(row + 8, column + 8, emulated::truncated_sum(row, column, sum));
    } else {
      for (int k = 0; k < 16; ++k) sum = static_cast<float>(static_cast<double>(row[k]) * column[k] + sum);
    }
    d[i] = sum;
  }
}

}  // namespace deltarule::cuda
