// What a sample draws for its deformation, the same bits on every device: float64 for the map, float32 for the noise,
// each operation rounded by itself.
//
// Computes   sample n takes the counters n c .. n c + c - 1 of (seed, stream), c = 1 + height ceil(width / 4).
//            The first one's words choose rotation or shear, the angle and the two scales; row i of the noise takes
//            ceil(width / 4) counters, pixel j word j % 4 of counter j / 4: its lower half is the displacement in x,
//            its upper half that in y, (h + 1/2) 2^-15 of a signed half h.
// Refs       Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", ICDAR 2003.
#pragma once

#include <cstdint>

#include "formulas/random.h"

namespace deltarule {
namespace {

DELTARULE_HD inline float times(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
DELTARULE_HD inline float plus(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

DELTARULE_HD constexpr int64_t noise_counters(int64_t width) { return (width + 3) / 4; }  // of a row
DELTARULE_HD constexpr uint64_t first_counter(int64_t sample, int64_t height, int64_t width) {
  return static_cast<uint64_t>(sample) * static_cast<uint64_t>(1 + height * noise_counters(width));
}

// All of these are exact.
DELTARULE_HD constexpr float noise_x(uint32_t word) {
  return (static_cast<float>(static_cast<int16_t>(word & 0xffff)) + 0.5f) * 0x1p-15f;
}
DELTARULE_HD constexpr float noise_y(uint32_t word) {
  return (static_cast<float>(static_cast<int32_t>(word) >> 16) + 0.5f) * 0x1p-15f;
}
DELTARULE_HD constexpr double symmetric(uint32_t word) {  // uniform in (-1, 1)
  return (static_cast<double>(static_cast<int32_t>(word)) + 0.5) * 0x1p-31;
}

// (u, v) = (xx x + xy y, yx x + yy y), from the deformed image to the one that was.
struct DeformMap {
  float xx, xy, yx, yy;
};

// Angles in turns. The image is magnified, then turned or sheared, x' = x + tan(angle) y.
DELTARULE_HD inline DeformMap draw_map(double rotation, double shear, double scale_x, double scale_y, float factor,
                                       const Philox4& draw) {
  const bool turned = shear == 0.0 || (rotation != 0.0 && static_cast<int32_t>(draw.word[0]) < 0);
  const double most = times(turned ? rotation : shear, static_cast<double>(factor));
  const double angle = times(most, symmetric(draw.word[1]));
  double cosine, sine;
  cos_sin_turn(angle < 0.0 ? plus(angle, 1.0) : angle, cosine, sine);
  const double sx = plus(1.0, times(scale_x, symmetric(draw.word[2])));
  const double sy = plus(1.0, times(scale_y, symmetric(draw.word[3])));
  if (turned)
    return {static_cast<float>(cosine / sx), static_cast<float>(sine / sx), static_cast<float>(-sine / sy),
            static_cast<float>(cosine / sy)};
  return {static_cast<float>(1.0 / sx), static_cast<float>(-(sine / cosine) / sx), 0.0f, static_cast<float>(1.0 / sy)};
}

}  // namespace
}  // namespace deltarule
