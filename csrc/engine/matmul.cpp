#include <algorithm>

#include "engine/names.h"
#include "engine/ops.h"
#include "engine/views.h"

namespace deltarule {
namespace {

// One operand as gemm takes it: the last two axes with unit stride along one of them.
struct Matrices {
  Array array;  // [..., rows, cols]
  bool trans = false;
  int64_t ld = 0;
};

// A transposed view becomes `trans`, rows farther apart than their length become `ld`; anything else is copied.
Matrices as_matrices(const Array& x) {
  const int row = x.rank() - 2, col = x.rank() - 1;
  const int64_t rows = x.shape()[row], cols = x.shape()[col];
  const int64_t row_step = x.strides()[row], col_step = x.strides()[col];
  if ((col_step == 1 || cols <= 1) && (row_step >= cols || rows <= 1))
    return {x, false, rows <= 1 ? std::max<int64_t>(cols, 1) : row_step};
  if ((row_step == 1 || rows <= 1) && (col_step >= rows || cols <= 1))
    return {x, true, cols <= 1 ? std::max<int64_t>(rows, 1) : col_step};
  return {x.astype(x.dtype()), false, std::max<int64_t>(cols, 1)};
}

Shape batch_of(const Array& x) {
  Shape batch;
  for (int axis = 0; axis < x.rank() - 2; ++axis) batch.push_back(x.shape()[axis]);
  return batch;
}

// Leading axes stretched to `batch`.
Array with_batch(const Array& x, const Shape& batch) {
  Shape shape = batch;
  shape.push_back(x.shape()[x.rank() - 2]);
  shape.push_back(x.shape()[x.rank() - 1]);
  return x.broadcast_to(shape);
}

// Elements from the start of x to its matrix number `index`, counted over `batch` in C order.
int64_t matrix_offset(const Array& x, const Shape& batch, int64_t index) {
  int64_t offset = 0;
  for (int axis = batch.rank() - 1; axis >= 0; --axis) {
    offset += index % batch[axis] * x.strides()[axis];
    index /= batch[axis];
  }
  return offset * size_of(x.dtype());
}

void check_shapes(const Array& a, const Array& b) {
  check<ValueError>(a.rank() > 0 && b.rank() > 0, "matmul: a is ", a.shape(), ", b is ", b.shape(),
                    "; both must have at least one dimension");
  const int a_axis = a.rank() - 1, b_axis = b.rank() == 1 ? 0 : b.rank() - 2;
  check<ValueError>(a.shape()[a_axis] == b.shape()[b_axis], "matmul: a is ", a.shape(), ", b is ", b.shape(),
                    "; a.shape[", a_axis, "] must equal b.shape[", b_axis, "]");
}

// Where the product goes: out itself if gemm can write it in place, else new memory.
Array target(const Array& a, const Array& b, const Shape& shape, const Shape& result, const std::optional<Array>& out) {
  if (out && out->is_contiguous() && out->writable() && out->shape() == result && out->dtype() == a.dtype() &&
      !may_overlap(*out, a) && !may_overlap(*out, b))
    return *out->reshaped(shape);
  return Array::empty(shape, a.dtype(), a.device());
}

}  // namespace

Array matmul(const Array& a, const Array& b, const std::string& precision, const std::optional<Array>& out) {
  check_shapes(a, b);
  check<DeviceError>(&a.device() == &b.device(), "matmul: a is on ", a.device().name, ", b is on ", b.device().name,
                     "; both must be on one device: use .to(\"", a.device().name, "\")");
  check<DeviceError>(!out || &out->device() == &a.device(), "matmul: out is on ", out ? out->device().name : "",
                     ", the operands are on ", a.device().name, "; all must be on one device");
  const DType dtype = promote(a.dtype(), b.dtype());
  check<TypeError>(is_floating(dtype), "matmul: dtype is ", name_of(dtype), "; the kernel takes float32 and float64");
  const auto mode = find_name<Precision>("matmul: precision", precision, kPrecisions);

  Array left = astype(a, dtype, false), right = astype(b, dtype, false);
  if (a.rank() == 1) left = left.widened(0);
  if (b.rank() == 1) right = right.widened(1);
  Shape batch = broadcast_shapes("matmul: the leading axes", batch_of(left), batch_of(right));
  Shape result = batch;
  if (a.rank() > 1) result.push_back(left.shape()[left.rank() - 2]);
  if (b.rank() > 1) result.push_back(right.shape().back());

  // Many matrices times one are one tall matrix times one.
  if (left.rank() > 2 && right.rank() == 2 && left.is_contiguous() && left.shape().back() > 0) {
    left = *left.reshaped({left.size() / left.shape().back(), left.shape().back()});
    batch = Shape();
  }
  const Matrices lhs = as_matrices(left), rhs = as_matrices(right);
  Shape shape = batch;
  shape.push_back(left.shape()[left.rank() - 2]);
  shape.push_back(right.shape().back());
  const Array stretched_a = with_batch(lhs.array, batch), stretched_b = with_batch(rhs.array, batch);
  const Array c = target(left, right, shape, result, out);

  GemmArgs args;
  args.dtype = dtype;
  args.precision = mode;
  args.trans_a = lhs.trans, args.trans_b = rhs.trans;
  args.M = shape[shape.rank() - 2], args.N = shape.back(), args.K = left.shape().back();
  args.lda = lhs.ld, args.ldb = rhs.ld, args.ldc = std::max<int64_t>(args.N, 1);
  for (int64_t i = 0; i < batch.size(); ++i) {
    args.A = stretched_a.as<char>() + matrix_offset(stretched_a, batch, i);
    args.B = stretched_b.as<char>() + matrix_offset(stretched_b, batch, i);
    args.C = c.as<char>() + i * args.M * args.N * size_of(dtype);
    c.device().kernels().gemm(args);
  }
  const Array product = *c.reshaped(result);
  if (!out) return product;
  if (out->data() == product.data()) return *out;
  check<ValueError>(out->shape() == result, "matmul: out is ", out->shape(), ", the result is ", result);
  check<TypeError>(out->dtype() == dtype, "matmul: out is ", name_of(out->dtype()), ", the result is ", name_of(dtype));
  assign("matmul", *out, product);
  return *out;
}

}  // namespace deltarule
