// Element-wise functions, arithmetic and reductions of arrays: the lists, and the arithmetic over a lane type V.
#pragma once

#include "formulas/math.h"

namespace deltarule {

#define DELTARULE_UNARY(X)                                                                              \
  X(negative) X(abs) X(sign) X(square) X(sqrt) X(reciprocal) X(exp) X(expm1) X(log) X(log1p) X(tanh) X(erf) \
  X(sigmoid)
#define DELTARULE_BINARY(X) X(add) X(subtract) X(multiply) X(divide) X(maximum) X(minimum)
#define DELTARULE_REDUCTIONS(X) X(sum) X(prod) X(max) X(min) X(sum_squares) X(argmax) X(argmin)
#define DELTARULE_RANDOM(X) X(uniform) X(normal) X(permutation)

#define DELTARULE_X(name) name,
enum class Unary : unsigned char { DELTARULE_UNARY(DELTARULE_X) };
enum class Binary : unsigned char { DELTARULE_BINARY(DELTARULE_X) };
enum class Reduction : unsigned char { DELTARULE_REDUCTIONS(DELTARULE_X) };
enum class Random : unsigned char { DELTARULE_RANDOM(DELTARULE_X) };
#undef DELTARULE_X

#define DELTARULE_X(name) #name,
inline constexpr const char* kUnary[] = {DELTARULE_UNARY(DELTARULE_X)};
inline constexpr const char* kBinary[] = {DELTARULE_BINARY(DELTARULE_X)};
inline constexpr const char* kReductions[] = {DELTARULE_REDUCTIONS(DELTARULE_X)};
#undef DELTARULE_X

}  // namespace deltarule
