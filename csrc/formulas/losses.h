// Losses of one row of outputs: the list, and the arithmetic over a lane type V.
#pragma once

#include "formulas/math.h"

namespace deltarule {

#define DELTARULE_LOSSES(X) X(squared_error) X(binary_cross_entropy) X(softmax_cross_entropy)

#define DELTARULE_X(name) name,
enum class Loss : unsigned char { DELTARULE_LOSSES(DELTARULE_X) };
#undef DELTARULE_X

#define DELTARULE_X(name) #name,
inline constexpr const char* kLosses[] = {DELTARULE_LOSSES(DELTARULE_X)};
#undef DELTARULE_X

}  // namespace deltarule
