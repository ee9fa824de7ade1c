// Operations on arrays: validate, allocate, call one slot of the device's table.
//
// Kernels take float32 and float64. Operands of other types are converted where NumPy's result is floating; has_kernel
// says whether it is. `out`, where it is given, has the result's shape and dtype, is written to and is returned; it may
// overlap an operand.
#pragma once

#include <optional>
#include <string>

#include "engine/array.h"

namespace deltarule {

DType promote(DType a, DType b);  // numpy.result_type

Array number(double value, DType dtype, Device& device);                    // 0-d, float32 or float64
Array full(const Shape& shape, double value, DType dtype, Device& device);  // every element `value`
Array astype(const Array& x, DType dtype, bool copy);                       // without copy: x itself where it fits
Array to_device(const Array& x, const std::string& device);                 // x itself if it is there

// The dtype of op(x): the functions of analysis give floats (float32 of bool and uint8, float64 of wider integers), the
// others stay as they are.
DType result_type(Unary op, DType x);
bool has_kernel(Unary op, DType x);
bool has_kernel(Reduction op, DType x);

Array unary(Unary op, const Array& x, const std::optional<Array>& out = std::nullopt);
Array binary(Binary op, const Array& a, const Array& b, const std::optional<Array>& out = std::nullopt);

// Over `axes`, or all. argmax and argmin take one axis, or all as if flattened.
Array reduce(Reduction op, const Array& x, const std::optional<Shape>& axes, bool keepdims,
             const std::optional<Array>& out = std::nullopt);
Array mean(const Array& x, const std::optional<Shape>& axes, bool keepdims,
           const std::optional<Array>& out = std::nullopt);

Array softmax(const Array& x, int64_t axis, bool log);

// f(x) of an activation by name; slope is the parameter of leaky_relu and elu, its default where it is missing.
Array activate(const Array& x, const std::string& activation, std::optional<double> slope);
// dy f'(x)
Array activate_grad(const Array& dy, const Array& x, const std::string& activation, std::optional<double> slope);

// a[..., M, K] b[..., K, N] -> [..., M, N], leading axes broadcast. A 1-D a is a row, a 1-D b a column; the axis so
// added is dropped from the result.
Array matmul(const Array& a, const Array& b, const std::string& precision = "highest",
             const std::optional<Array>& out = std::nullopt);

}  // namespace deltarule
