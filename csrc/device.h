// The registry: which devices this machine has, and which instruction set the CPU's kernels use.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"

namespace deltarule {

// Work of a device that queues it, kept to be run again: a CUDA graph.
struct Recording;

struct Device {
  std::string name;      // what device= takes: "cpu", "cuda:0"
  int index;             // among those of its kind
  bool host_accessible;  // its memory may be read and written by the CPU, and slots have done their work on return
  const Kernels* table;  // the filling in use; slots work on the device last selected by the calling thread
  void* (*allocate)(Device&, int64_t bytes);  // 64-byte aligned; throws DeviceError
  void (*release)(void* memory) noexcept;

  // Null where the memory is the host's. Those that give something back wait for all that was queued, and throw
  // DeviceError for whatever went wrong in it.
  void (*select)(Device&) = nullptr;
  void (*upload)(Device&, void* to, const void* from, int64_t bytes) = nullptr;    // `from` is free on return
  void (*download)(Device&, void* to, const void* from, int64_t bytes) = nullptr;  // `to` is there on return
  void (*transfer)(Device&, void* to, Device& source, const void* from,
                   int64_t bytes) = nullptr;  // to this from source
  void (*zero)(Device&, void* memory, int64_t bytes) = nullptr;
  void (*synchronize)(Device&) = nullptr;
  // Memory shared with other libraries: what was queued here comes before what they queue on their stream from now on,
  // and the other way round. Streams as DLPack numbers them; `address` is what others call our own.
  void (*hand_over)(Device&, intptr_t stream) = nullptr;
  void (*take_over)(Device&, intptr_t stream) = nullptr;
  intptr_t (*address)(Device&) = nullptr;
  // What the calling thread calls between record and recorded is not done but kept; run does it all. Copies to and from
  // the host cannot be part of it; other threads' work is none. A recording holds the addresses it was made with: who
  // made it keeps the arrays alive for as long as it may run. What is given back in between stays reserved until the
  // recording is gone. `generation` is another one for every thread, and whenever its scratch memory has moved; a
  // recording is run under the one it was made in.
  void (*record)(Device&) = nullptr;
  std::shared_ptr<Recording> (*recorded)(Device&) = nullptr;
  void (*run)(Device&, const Recording&) = nullptr;
  int64_t (*generation)(const Device&) = nullptr;

  // The slots, for this device's memory.
  const Kernels& kernels() {
    if (select != nullptr) select(*this);
    return *table;
  }
};

// One instruction set the library was built with.
struct Isa {
  const Kernels* kernels;
  bool supported;  // by this CPU and its operating system
};

const std::vector<Isa>& isas();         // best first
void set_isa(const std::string& name);  // throws ValueError naming the choices
const Kernels& current_kernels();       // the CPU's table in use

Device& cpu_device();
const std::vector<Device*>& devices();         // the CPU first; the first call starts CUDA's driver
Device& find_device(const std::string& name);  // throws DeviceError naming what is there, and why CUDA is not
// The GPU whose memory a pointer of another library is to; throws DeviceError where it is none's.
Device& device_of(const void* memory);
std::string cuda_missing();  // why there is no CUDA device, or "" if there is one

}  // namespace deltarule
