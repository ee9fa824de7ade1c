// The little of the CUDA driver API that kernels need: tensor maps.
#pragma once

#include <cstdint>

#include "driver_types.h"
