// The registry: which devices this machine has, and which instruction set the CPU's kernels use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"

namespace deltarule {

struct Device {
  const char* name;                  // what device= takes: "cpu"
  bool host_accessible;              // its memory may be read and written by the CPU
  const Kernels* kernels;            // the filling in use
  void* (*allocate)(int64_t bytes);  // 64-byte aligned; throws DeviceError
  void (*release)(void* memory) noexcept;
};

// One instruction set the library was built with.
struct Isa {
  const Kernels* kernels;
  bool supported;  // by this CPU and its operating system
};

const std::vector<Isa>& isas();         // best first
void set_isa(const std::string& name);  // throws ValueError naming the choices
const Kernels& current_kernels();       // the CPU's table in use

const std::vector<Device*>& devices();         // best last: devices()[0] is the CPU
Device& find_device(const std::string& name);  // throws DeviceError naming what is there, and why CUDA is not

}  // namespace deltarule
