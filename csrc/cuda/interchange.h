// The parts of csrc/device.h's Device that share memory with other libraries.
#pragma once

#include "device.h"

namespace deltarule::cuda {

void hand_over(Device& device, intptr_t stream);
void take_over(Device& device, intptr_t stream);
intptr_t address(Device& device);

}  // namespace deltarule::cuda
