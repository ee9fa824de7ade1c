#include "engine/deform.h"

#include <cmath>

#include "engine/samples.h"

namespace deltarule {
namespace {

// e^(-k^2 / 2 sigma^2) / sum, k = 0..radius, so that all taps together are 1.
void fill_taps(double sigma, int64_t radius, float* taps) {
  const auto height = [&](int64_t k) { return std::exp(-0.5 * std::pow(static_cast<double>(k) / sigma, 2)); };
  double sum = 1.0;
  for (int64_t k = 1; k <= radius; ++k) sum += 2.0 * height(k);
  for (int64_t k = 0; k <= radius; ++k) taps[k] = static_cast<float>(height(k) / sum);
}

void check_images(const char* op, const Array& x, int64_t height, int64_t width) {
  check<TypeError>(x.dtype() == DType::uint8 || x.dtype() == DType::float32, op, ": x is ", name_of(x.dtype()),
                   "; wanted uint8 or float32");
  check<ValueError>(height >= 1 && width >= 1 && height < (1 << 23) / (width + 3) - 3, op, ": images are ", height,
                    " x ", width, "; wanted 1 pixel or more, fewer than 2^23");
  check<ValueError>(x.rank() == 2 && x.shape()[1] == height * width, op, ": x is ", x.shape(), "; wanted (rows, ",
                    height * width, "), images of ", height, " x ", width);
}

}  // namespace

void Deformation::validate(const char* op) const {
  const auto within = [&](const char* name, double value, double least, double below, const char* wanted) {
    check<ValueError>(value >= least && value < below, op, ": ", name, " is ", value, "; wanted ", wanted);
  };
  within("rotation", rotation, 0.0, 180.0 + 1e-9, "0 to 180 degrees");
  within("shear", shear, 0.0, 90.0, "0 or more, below 90 degrees");
  within("scale_x", scale_x, 0.0, 1.0, "0 or more, below 1");
  within("scale_y", scale_y, 0.0, 1.0, "0 or more, below 1");
  within("alpha", std::fabs(alpha), 0.0, 1e6, "below 1e6");
  check<ValueError>(std::isfinite(static_cast<float>(background)), op, ": background is ", background,
                    "; wanted a finite float32");
  if (alpha == 0.0) return;
  check<ValueError>(sigma > 0.0 && std::isfinite(sigma), op, ": sigma is ", sigma, "; wanted more than 0");
  check<ValueError>(radius >= 0 && radius <= DeformArgs::kMaxRadius, op, ": the Gaussian has ", radius,
                    " taps on each side; wanted at most ", DeformArgs::kMaxRadius);
}

Array deform(const Array& x, int64_t height, int64_t width, const Deformation& deformation, uint64_t seed,
             uint64_t stream, const std::optional<Array>& order, const std::optional<Array>& factor, int64_t first,
             const std::optional<Array>& out) {
  const char* op = "deform";
  deformation.validate(op);
  check_images(op, x, height, width);
  Device& device = x.device();
  const Array images = x.is_contiguous() ? x : x.contiguous();
  const Array rows = order ? checked_order(op, *order, x.shape()[0], device) : Array();
  const int64_t n = order ? rows.size() : x.shape()[0];
  const int64_t margin = 2 * deformation.radius;
  check<ValueError>((height + margin) * (width + margin) < 1 << 24, op, ": images of ", height, " x ", width, " with ",
                    deformation.radius, " taps on each side are too large; wanted fewer than 2^24 pixels with margins");
  check<ValueError>(first >= 0 && first < int64_t{1} << 48, op, ": first is ", first, "; wanted 0 or more, below 2^48");
  Array factors;
  if (factor) {
    check<ValueError>(factor->rank() == 1 && factor->shape()[0] == x.shape()[0], op, ": factor is ", factor->shape(),
                      "; wanted (", x.shape()[0], ",), one for each image");
    factors = factor->dtype() == DType::float32 ? factor->contiguous() : factor->astype(DType::float32);
    for (int64_t i = 0; factors.device().host_accessible && i < factors.size(); ++i)
      check<ValueError>(std::fabs(factors.as<float>()[i]) <= 1.0f, op, ": factor[", i, "] is ", factors.as<float>()[i],
                        "; wanted -1 to 1");
    factors = factors.on(device);
  }
  const Array y = out ? *out : Array::empty({n, height * width}, DType::float32, device);
  check<ValueError>(y.dtype() == DType::float32 && y.is_contiguous() && y.writable() && &y.device() == &device &&
                        y.shape() == Shape{n, height * width},
                    op, ": out is ", y.shape(), " ", name_of(y.dtype()), "; wanted a contiguous (", n, ", ",
                    height * width, ") float32 on ", device.name);

  check<ValueError>(!may_overlap(y, images), op, ": out shares memory with x");

  DeformArgs args{};
  args.from = x.dtype();
  args.rows = n, args.height = height, args.width = width;
  args.x = images.data(), args.ldx = height * width;
  args.index = order ? rows.as<int64_t>() : nullptr;
  args.first = first;
  args.factor = factor ? factors.as<float>() : nullptr;
  args.seed = seed, args.stream = stream;
  args.rotation = deformation.rotation / 360.0, args.shear = deformation.shear / 360.0;
  args.scale_x = deformation.scale_x, args.scale_y = deformation.scale_y;
  args.radius = deformation.alpha == 0.0 ? -1 : static_cast<int>(deformation.radius);
  if (args.radius >= 0) fill_taps(deformation.sigma, deformation.radius, args.taps);
  args.alpha = static_cast<float>(deformation.alpha);
  args.background = static_cast<float>(deformation.background);
  args.y = y.as<float>();
  device.kernels().deform(args);
  return y;
}

Array take_rows(const Array& x, const Array& order) {
  const char* op = "take_rows";
  check<TypeError>(x.dtype() == DType::int64 || is_floating(x.dtype()), op, ": x is ", name_of(x.dtype()),
                   "; wanted float32, float64 or int64");
  check<ValueError>(x.rank() == 1 || x.rank() == 2, op, ": x is ", x.shape(), "; wanted (rows,) or (rows, columns)");
  Device& device = x.device();
  const Array source = x.contiguous();
  const Array rows = checked_order(op, order, x.shape()[0], device);
  const int64_t columns = x.rank() == 2 ? x.shape()[1] : 1;
  const Array y = Array::empty(x.rank() == 2 ? Shape{rows.size(), columns} : Shape{rows.size()}, x.dtype(), device);
  device.kernels().gather_rows({x.dtype(), x.dtype(), rows.size(), columns, source.data(), columns, rows.as<int64_t>(),
                                nullptr, nullptr, y.data()});
  return y;
}

}  // namespace deltarule
