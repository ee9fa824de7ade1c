// The GPUs of this machine as devices, found at the first question.
#pragma once

#include <string>
#include <vector>

#include "device.h"

namespace deltarule::cuda {

const std::vector<Device*>& devices();  // none where CUDA cannot be used
std::string missing();                  // then why, and what to do about it

Device& device_of(const void* memory);  // throws DeviceError unless it is a GPU's memory

struct Memory {  // bytes
  int64_t used, cached, peak, limit, total, free;
};
Memory memory(Device& device);
void set_memory_limit(Device& device, int64_t bytes);  // 0: all there is
void release_cached(Device& device);

}  // namespace deltarule::cuda
