// The GPUs of this machine as devices, found at the first question.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device.h"

namespace deltarule::cuda {

const std::vector<Device*>& devices();  // none where CUDA cannot be used
std::string missing();                  // then why, and what to do about it

Device& device_of(const void* memory);  // throws DeviceError unless it is a GPU's memory

struct Versions {  // 1000 major + 10 minor; 0: none
  int runtime, driver;
};
Versions versions();

struct Properties {
  std::string name;
  int major, minor, multiprocessors;
  int64_t memory;  // bytes
};
Properties properties(Device& device);  // without starting the GPU

// Bytes. `used` is in arrays and scratch memory, `cached` was given back and waits to be used again, `peak` is the most
// that was ever used, `limit` is for both together (0: none); `total` and `free` are the GPU's, of all processes.
struct Memory {
  int64_t used, cached, peak, limit, total, free;
};
Memory memory(Device& device);
void set_memory_limit(Device& device, int64_t bytes);  // 0: all there is
void release_cached(Device& device);

}  // namespace deltarule::cuda
