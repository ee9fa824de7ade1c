// Random deformations of images, and rows by index: what a training needs that sees new images in every epoch.
#pragma once

#include <optional>

#include "engine/array.h"

namespace deltarule {

// The slot's settings as users have them.
struct Deformation {
  double rotation = 0.0, shear = 0.0;   // largest angles, in degrees
  double scale_x = 0.0, scale_y = 0.0;  // largest change of size
  double sigma = 0.0, alpha = 0.0;      // of the elastic displacement, in pixels
  int64_t radius = 0;                   // taps of the Gaussian on each side
  double background = 0.0;

  void validate(const char* op) const;
};

// x[N,height*width] -> float32 [n,height*width]: the images order[0], order[1], ..., or all. Sample i has the number
// first + i, which with (seed, stream) names its deformation. factor[N] float32 multiplies the angles. `out` has the
// result's shape.
Array deform(const Array& x, int64_t height, int64_t width, const Deformation& deformation, uint64_t seed,
             uint64_t stream, const std::optional<Array>& order, const std::optional<Array>& factor, int64_t first,
             const std::optional<Array>& out);

// x[N] or x[N,C], float32, float64 or int64 -> its rows order[0], order[1], ...
Array take_rows(const Array& x, const Array& order);

}  // namespace deltarule
