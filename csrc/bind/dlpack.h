// The memory layout of DLPack 1.1, as its specification has it: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

namespace deltarule::dlpack {

inline constexpr int32_t kCPU = 1, kCUDA = 2;
inline constexpr uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBool = 6;
inline constexpr uint64_t kReadOnly = 1, kIsCopied = 2;

struct Device {
  int32_t type, id;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t rank;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null means C-contiguous
  uint64_t byte_offset;
};

// Before version 1: the capsule "dltensor".
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Version {
  uint32_t major, minor;
};

// Since version 1: the capsule "dltensor_versioned".
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace deltarule::dlpack
