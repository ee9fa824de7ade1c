#include "engine/ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/grid.h"
#include "engine/names.h"
#include "engine/views.h"

namespace deltarule {
namespace {

const char* name_of(Unary op) { return kUnary[static_cast<int>(op)]; }
const char* name_of(Binary op) { return kBinary[static_cast<int>(op)]; }
const char* name_of(Reduction op) { return kReductions[static_cast<int>(op)]; }

bool is_arg(Reduction op) { return op == Reduction::argmax || op == Reduction::argmin; }

void check_floating(const char* op, DType dtype) {
  check<TypeError>(is_floating(dtype), op, ": dtype is ", name_of(dtype), "; the kernel takes float32 and float64");
}

void check_device(const char* op, const Array& a, const Array& b) {
  check<DeviceError>(&a.device() == &b.device(), op, ": a is on ", a.device().name, ", b is on ", b.device().name,
                     "; both must be on one device: use .to(\"", a.device().name, "\")");
}

void check_out(const char* op, const Array& out, const Shape& shape, DType dtype, const Array& x) {
  check<DeviceError>(&out.device() == &x.device(), op, ": out is on ", out.device().name, ", the operands are on ",
                     x.device().name, "; all must be on one device");
  check<ValueError>(out.shape() == shape, op, ": out is ", out.shape(), ", the result is ", shape);
  check<TypeError>(out.dtype() == dtype, op, ": out is ", name_of(out.dtype()), ", the result is ", name_of(dtype));
  check<ValueError>(out.writable(), op, ": out is read-only");
}

Array as_type(const Array& x, DType dtype) { return x.dtype() == dtype ? x : x.astype(dtype); }

// A kernel may write over an operand it reads element by element, but not over one shifted against it.
bool must_not_write(const Array& out, const Array& operand) {
  return may_overlap(out, operand) && !same_elements(out, operand);
}

}  // namespace

DType promote(DType a, DType b) {
  if (a == b) return a;
  const auto either = [&](DType dtype) { return a == dtype || b == dtype; };
  if (either(DType::float64)) return DType::float64;
  if (either(DType::float32)) return either(DType::int32) || either(DType::int64) ? DType::float64 : DType::float32;
  if (either(DType::int64)) return DType::int64;
  if (either(DType::int32)) return DType::int32;
  return DType::uint8;
}

Array number(double value, DType dtype, Device& device) {
  if (!device.host_accessible && std::isfinite(value)) {  // queued like the work that reads it: no copy from the host
    const Array there = Array::empty({}, dtype, device);
    device.kernels().fill_random({Random::uniform, dtype, 1, 0, 0, value, value, there.data()});
    return there;
  }
  const Array here = Array::empty({}, dtype, cpu_device());
  if (dtype == DType::float32) *here.as<float>() = static_cast<float>(value);
  else *here.as<double>() = value;
  return here.on(device);
}

Array full(const Shape& shape, double value, DType dtype, Device& device) {
  const Array out = Array::empty(shape, dtype, device);
  assign("full", out, Array::wrap(&value, {}, {}, DType::float64, cpu_device(), nullptr, false));
  return out;
}

Array astype(const Array& x, DType dtype, bool copy) { return !copy && x.dtype() == dtype ? x : x.astype(dtype); }

Array to_device(const Array& x, const std::string& device) { return x.on(find_device(device)); }

DType result_type(Unary op, DType x) {
  switch (op) {
    case Unary::negative:
    case Unary::abs:
    case Unary::sign:
    case Unary::square:
    case Unary::reciprocal:
      return x;
    default:
      break;
  }
  if (is_floating(x)) return x;
  return x == DType::int32 || x == DType::int64 ? DType::float64 : DType::float32;
}

bool has_kernel(Unary op, DType x) { return is_floating(result_type(op, x)); }
bool has_kernel(Reduction, DType x) { return is_floating(x); }

Array unary(Unary op, const Array& x, const std::optional<Array>& out) {
  const DType dtype = result_type(op, x.dtype());
  check_floating(name_of(op), dtype);
  if (out) check_out(name_of(op), *out, x.shape(), dtype, x);
  if (!out && x.dtype() == dtype && x.is_contiguous()) {
    Array to = Array::empty(x.shape(), dtype, x.device());
    x.device().kernels().unary({op, dtype, 1, {x.size()}, x.data(), {1}, to.data(), {1}});
    return to;
  }
  Array from = as_type(x, dtype);
  const Array to = out ? *out : Array::empty_like(x, dtype);
  if (out && must_not_write(to, from)) from = from.astype(dtype);
  const Grid<2> grid(to.shape(), {&from.strides(), &to.strides()});
  UnaryArgs args{op, dtype, grid.rank, {}, from.data(), {}, to.data(), {}};
  grid.fill(args.shape, args.stride_x, args.stride_y);
  to.device().kernels().unary(args);
  return to;
}

Array binary(Binary op, const Array& a, const Array& b, const std::optional<Array>& out) {
  const DType dtype = promote(a.dtype(), b.dtype());
  check_floating(name_of(op), dtype);
  check_device(name_of(op), a, b);
  if (!out && a.dtype() == b.dtype()) {
    // Runs of memory against each other or against one number: no grid to think about.
    const bool one = b.rank() == 0;
    if ((one || a.shape() == b.shape()) && a.is_contiguous() && b.is_contiguous()) {
      Array to = Array::empty(a.shape(), dtype, a.device());
      a.device().kernels().binary({op, dtype, 1, {a.size()}, a.data(), {1}, b.data(), {one ? 0 : 1}, to.data(), {1}});
      return to;
    }
  }
  const Shape shape = broadcast_shapes(name_of(op), a.shape(), b.shape());
  if (out) check_out(name_of(op), *out, shape, dtype, a);
  const Array to = out ? *out : Array::empty_like((a.shape() == shape ? a : b).broadcast_to(shape), dtype);
  Array left = as_type(a, dtype).broadcast_to(shape), right = as_type(b, dtype).broadcast_to(shape);
  if (out && must_not_write(to, left)) left = left.astype(dtype);
  if (out && must_not_write(to, right)) right = right.astype(dtype);
  const Grid<3> grid(shape, {&left.strides(), &right.strides(), &to.strides()});
  BinaryArgs args{op, dtype, grid.rank, {}, left.data(), {}, right.data(), {}, to.data(), {}};
  grid.fill(args.shape, args.stride_a, args.stride_b, args.stride_y);
  to.device().kernels().binary(args);
  return to;
}

namespace {

// The order of axes, kept ones marked, in which x is [outer, n, inner] without a copy if there is one: by stride where
// the reduced axes then lie together, else the kept axes first.
Shape reduction_order(const Array& x, const std::vector<bool>& reduced, bool any_order) {
  Shape order;
  for (int axis = 0; axis < x.rank(); ++axis) order.push_back(axis);
  if (any_order) order = x.memory_order();
  int changes = 0;
  bool last = false;
  for (int64_t axis : order) {
    if (x.shape()[static_cast<int>(axis)] == 1) continue;
    const bool now = reduced[static_cast<size_t>(axis)];
    changes += now && !last;
    last = now;
  }
  if (changes <= 1 && x.permuted(order).is_contiguous()) return order;
  order = Shape();
  for (const bool take : {false, true})
    for (int axis = 0; axis < x.rank(); ++axis)
      if (reduced[static_cast<size_t>(axis)] == take) order.push_back(axis);
  return order;
}

// The result's axes, in the order they were computed in, put back into x's order; reduced axes kept with extent 1.
Array restore_axes(const Array& y, const Shape& order, const std::vector<bool>& reduced, bool keepdims) {
  Shape place;  // axis of y for each kept axis of x, in x's order
  for (int axis = 0; axis < order.rank(); ++axis) {
    if (reduced[static_cast<size_t>(axis)]) continue;
    int64_t position = 0;
    for (int64_t other : order) {
      if (other == axis) break;
      position += !reduced[static_cast<size_t>(other)];
    }
    place.push_back(position);
  }
  Array out = y.permuted(place);
  for (int axis = 0; keepdims && axis < order.rank(); ++axis)
    if (reduced[static_cast<size_t>(axis)]) out = out.widened(axis);
  return out;
}

Array write_out(const char* op, const Array& result, const std::optional<Array>& out) {
  if (!out) return result;
  check_out(op, *out, result.shape(), result.dtype(), result);
  assign(op, *out, result);
  return *out;
}

}  // namespace

Array reduce(Reduction op, const Array& x, const std::optional<Shape>& axes, bool keepdims,
             const std::optional<Array>& out) {
  const char* const name = name_of(op);
  check_floating(name, x.dtype());
  // NumPy takes axis 0 and -1 where there is none.
  if (x.rank() == 0 && axes && axes->rank() == 1 && ((*axes)[0] == 0 || (*axes)[0] == -1))
    return reduce(op, x, std::nullopt, keepdims, out);
  check<TypeError>(!is_arg(op) || !axes || axes->rank() == 1, name, ": axis is ", axes.value_or(Shape{}),
                   "; it must be one axis, or None for all");
  const bool has_identity = op == Reduction::sum || op == Reduction::sum_squares || op == Reduction::prod;
  const auto check_elements = [&](int64_t n) {
    check<ValueError>(n > 0 || has_identity, name, ": array is ", x.shape(), "; there is no element to choose from");
  };
  const bool all = !axes || (x.rank() == 1 && axes->rank() == 1);
  if (all && !out && !keepdims && x.is_contiguous()) {  // nothing to arrange
    if (axes) normalize_axes(name, axes, x.rank());
    check_elements(x.size());
    Array y = Array::empty({}, is_arg(op) ? DType::int64 : x.dtype(), x.device());
    x.device().kernels().reduce({op, x.dtype(), 1, x.size(), 1, x.data(), y.data()});
    return y;
  }
  const std::vector<bool> reduced = normalize_axes(name, axes, x.rank());
  const Shape order = reduction_order(x, reduced, !is_arg(op) || axes.has_value());
  const Array source = x.permuted(order).contiguous();

  ReduceArgs args{op, x.dtype(), 1, 1, 1, source.data(), nullptr};
  Shape kept;
  bool seen = false;  // axes of extent 1 fit anywhere
  for (int axis = 0; axis < x.rank(); ++axis) {
    const int64_t extent = source.shape()[axis];
    if (reduced[static_cast<size_t>(order[axis])]) {
      args.n *= extent;
      seen = seen || extent != 1;
    } else {
      (seen ? args.inner : args.outer) *= extent;
      kept.push_back(extent);
    }
  }
  check_elements(args.n);
  const Array y = Array::empty(kept, is_arg(op) ? DType::int64 : x.dtype(), x.device());
  args.y = y.data();
  if (y.size() > 0) x.device().kernels().reduce(args);
  return write_out(name, restore_axes(y, order, reduced, keepdims), out);
}

Array mean(const Array& x, const std::optional<Shape>& axes, bool keepdims, const std::optional<Array>& out) {
  check_floating("mean", x.dtype());
  const Array total = reduce(Reduction::sum, x, axes, keepdims);
  const std::vector<bool> reduced = normalize_axes("mean", axes, x.rank());
  double count = 1.0;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (reduced[static_cast<size_t>(axis)]) count *= static_cast<double>(x.shape()[axis]);
  return write_out("mean", binary(Binary::divide, total, number(count, x.dtype(), x.device())), out);
}

Array softmax(const Array& x, int64_t axis, bool log) {
  const char* const op = log ? "log_softmax" : "softmax";
  check_floating(op, x.dtype());
  const int place = normalize_axis(op, axis, x.rank());
  const Array rows = moveaxis_last(x, place).contiguous();
  const Array out = Array::empty(rows.shape(), x.dtype(), x.device());
  const int64_t cols = rows.shape().back();
  if (out.size() > 0) x.device().kernels().softmax({log, x.dtype(), rows.size() / cols, cols, rows.data(), out.data()});
  Shape back;  // the last axis to `place`
  for (int other = 0; other < x.rank(); ++other)
    back.push_back(other < place ? other : other == place ? x.rank() - 1 : other - 1);
  return out.permuted(back);
}

Array activate(const Array& x, const std::string& activation, std::optional<double> slope) {
  const auto choice = find_name<Activation>("activate: activation", activation, kActivations);
  check_floating("activate", x.dtype());
  const Array from = x.contiguous(), to = Array::empty(x.shape(), x.dtype(), x.device());
  const double parameter = slope.value_or(kActivations[static_cast<int>(choice)].default_slope);
  x.device().kernels().activate({choice, x.dtype(), parameter, x.size(), from.data(), to.data()});
  return to;
}

Array activate_grad(const Array& dy, const Array& x, const std::string& activation, std::optional<double> slope) {
  const auto choice = find_name<Activation>("activate_grad: activation", activation, kActivations);
  check_floating("activate_grad", x.dtype());
  check<TypeError>(dy.dtype() == x.dtype(), "activate_grad: dy is ", name_of(dy.dtype()), ", x is ", name_of(x.dtype()),
                   "; they must have one dtype");
  check<ValueError>(dy.shape() == x.shape(), "activate_grad: dy is ", dy.shape(), ", x is ", x.shape(),
                    "; they must have one shape");
  check_device("activate_grad", dy, x);
  const Array from = x.contiguous(), gradient = dy.contiguous(), y = activate(x, activation, slope);
  const Array to = Array::empty(x.shape(), x.dtype(), x.device());
  const double parameter = slope.value_or(kActivations[static_cast<int>(choice)].default_slope);
  x.device().kernels().activate_grad(
      {choice, x.dtype(), parameter, x.size(), gradient.data(), from.data(), y.data(), to.data()});
  return to;
}

}  // namespace deltarule
