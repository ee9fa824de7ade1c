// peak: multiply-adds that never leave the registers, the ceiling that benches print percentages of.
//
// Computes   nothing of use: `rounds` times x = x * m + a in each of 12 independent float32 registers.
// Arithmetic 12 chains cover latency x throughput (4 cycles x 2 a cycle) and leave AVX2's 16 registers two operands
//            and two spare. Nothing is loaded or stored, so the speed is the multiply-add units'.
// Measured   GFLOP/s a core, AMD EPYC (Zen 4), the first line of any bench: AVX-512 113 to 117.
int64_t peak(int64_t rounds) noexcept {
  constexpr int kChains = 12;
  static volatile float source = 0.5f;
  [[maybe_unused]] static volatile float sink;  // written, so that the loop stays
  const F32 half = F32::set(source);
  F32 x[kChains];
#pragma GCC unroll 16
  for (int chain = 0; chain < kChains; ++chain) x[chain] = F32::set(source + static_cast<float>(chain));
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int chain = 0; chain < kChains; ++chain) x[chain] = fma(x[chain], half, half);
  }
  F32 sum = x[0];
#pragma GCC unroll 16
  for (int chain = 1; chain < kChains; ++chain) sum = sum + x[chain];
  sink = sum_lanes(sum);
  return rounds * kChains * F32::N * 2;
}
