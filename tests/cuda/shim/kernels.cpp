// The runtime API: kernels, and the tensor maps they take.
#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

#include "cuda.h"
#include "runtime.h"

namespace shim {
namespace {

int resident_blocks(int threads, size_t shared) {
  const Capability& c = runtime().capability;
  if (threads <= 0 || threads > 1024 || shared > c.shared_per_block) return 0;
  const int warps = (threads + 31) / 32;
  const int by_threads = (c.major == 7 && c.minor == 5 ? 1024 : kThreadsPerMultiprocessor) / (32 * warps);
  const int by_shared =
      static_cast<int>(c.shared_per_multiprocessor / (shared + (c.major >= 8 ? kSharedReserved : 0) + 1));
  return std::min({kBlocksPerMultiprocessor, by_threads, std::max(by_shared, 1)});
}

cudaError_t check_shape(const Shape& shape, const void* function) {
  const Capability& c = runtime().capability;
  const dim3 g = shape.grid, b = shape.block, k = shape.cluster;
  if (b.x == 0 || b.y == 0 || b.z == 0 || b.z > 64 || uint64_t{b.x} * b.y * b.z > 1024)
    return cudaErrorInvalidConfiguration;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > INT_MAX || g.y > 65535 || g.z > 65535)
    return cudaErrorInvalidConfiguration;
  const auto asked = runtime().dynamic_shared.find(function);
  const size_t allowed = asked == runtime().dynamic_shared.end() ? 48 * 1024 : std::max(48 * 1024, asked->second);
  if (shape.shared > allowed || shape.shared > c.shared_per_block) return cudaErrorInvalidValue;
  const unsigned cluster = k.x * k.y * k.z;
  if (cluster == 0 || cluster > 8) return cudaErrorInvalidClusterSize;
  if (cluster > 1 && c.major < 9) return cudaErrorNotSupported;
  if (g.x % k.x != 0 || g.y % k.y != 0 || g.z % k.z != 0) return cudaErrorInvalidClusterSize;
  if (shape.cooperative &&
      uint64_t{g.x} * g.y * g.z > uint64_t{kMultiprocessors} * resident_blocks(b.x * b.y * b.z, shape.shared))
    return cudaErrorCooperativeLaunchTooLarge;
  return cudaSuccess;
}

}  // namespace

cudaError_t launch(cudaStream_t handle, const Shape& shape, const void* function, std::function<void()> body) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  const cudaError_t error = check_shape(shape, function);
  if (error != cudaSuccess) return note(error);
  const int injected = take_error(stream), device = stream->device;
  return note(enqueue(stream, cudaGraphNodeTypeKernel, [=, body = std::move(body)] {
    if (injected != 0) {
      runtime().devices[device].sticky = static_cast<cudaError_t>(injected);
      return;
    }
    runtime().kernels.push_back(function);
    ++runtime().kernels_run;
    execute(shape, function, body);
  }));
}

}  // namespace shim

using namespace shim;

extern "C" {

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  SHIM_ENTER();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > runtime().capability.shared_per_block)
    return note(cudaErrorInvalidValue);
  runtime().dynamic_shared[function] = value;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  SHIM_ENTER();
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->ptxVersion = attributes->binaryVersion = 10 * runtime().capability.major + runtime().capability.minor;
  const auto asked = runtime().dynamic_shared.find(function);
  attributes->maxDynamicSharedSizeBytes = asked == runtime().dynamic_shared.end() ? 48 * 1024 : asked->second;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int block, size_t shared) {
  SHIM_ENTER();
  if (function == nullptr) return note(cudaErrorInvalidDeviceFunction);
  *blocks = resident_blocks(block, shared);
  return cudaSuccess;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                const cuuint64_t* size, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  constexpr uint8_t kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0 || reinterpret_cast<uintptr_t>(address) % 16 != 0 || rank < 1 ||
      rank > 5 || static_cast<size_t>(type) >= sizeof(kBytes) || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE)
    return CUDA_ERROR_INVALID_VALUE;
  TensorMap t{};
  t.address = static_cast<unsigned char*>(address);
  t.rank = static_cast<uint8_t>(rank);
  t.type = static_cast<uint8_t>(type);
  t.swizzle = static_cast<uint8_t>(swizzle);
  t.nan_fill = fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  t.stride[0] = kBytes[type];
  for (cuuint32_t d = 0; d < rank; ++d) {
    if (size[d] < 1 || size[d] > UINT64_C(1) << 32 || box[d] < 1 || box[d] > 256 || element_strides[d] != 1)
      return CUDA_ERROR_INVALID_VALUE;
    if (size[d] > UINT32_MAX) fail("a tensor map of more than 2^32 - 1 elements along one axis is not emulated");
    if (d > 0) {
      t.stride[d] = strides[d - 1];
      if (t.stride[d] % 16 != 0 || t.stride[d] >= UINT64_C(1) << 40) return CUDA_ERROR_INVALID_VALUE;
    }
    t.size[d] = static_cast<uint32_t>(size[d]);
    t.box[d] = static_cast<uint16_t>(box[d]);
  }
  const size_t row = size_t{box[0]} * kBytes[type];
  if (row % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  if (swizzle != CU_TENSOR_MAP_SWIZZLE_NONE && row > size_t{16} << swizzle) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof(*map));
  std::memcpy(map, &t, sizeof(t));
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned int, unsigned long long,
                                             cudaDriverEntryPointQueryResult* status) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
  if (status != nullptr) *status = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return note(known ? cudaSuccess : cudaErrorSymbolNotFound);
}

}  // extern "C"
