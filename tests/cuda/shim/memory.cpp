// The runtime API: memory and copies.
#include <cstdlib>
#include <cstring>

#include "runtime.h"

namespace shim {

int device_of(const void* pointer) {
  Runtime& r = runtime();
  for (size_t d = 0; d < r.devices.size(); ++d) {
    if (r.devices[d].arena->contains(pointer)) return static_cast<int>(d);
  }
  return -1;
}

bool is_pinned(const void* pointer) {
  const auto& pinned = runtime().pinned;
  auto above = pinned.upper_bound(static_cast<const unsigned char*>(pointer));
  if (above == pinned.begin()) return false;
  --above;
  return static_cast<const unsigned char*>(pointer) < above->first + above->second;
}

namespace {

// A rectangle of `height` rows; height 1 is a plain copy.
struct Copy {
  void* to;
  const void* from;
  size_t to_pitch, from_pitch, width, height;
};

void check_range(const char* what, const void* pointer, size_t size) {
  const int device = device_of(pointer);
  if (device < 0 || size == 0) return;
  const std::string wrong = runtime().devices[device].arena->outside(pointer, size);
  if (!wrong.empty()) fail("%s: %s", what, wrong.c_str());
}

void run_copy(const Copy& copy, const void* from) {
  for (const void* pointer : {from, static_cast<const void*>(copy.to)}) {
    const int device = device_of(pointer);
    if (device >= 0) set_open(device, true);
  }
  const size_t from_pitch = from == copy.from ? copy.from_pitch : copy.width;  // staged rows are packed
  for (size_t row = 0; row < copy.height; ++row) {
    std::memmove(static_cast<unsigned char*>(copy.to) + row * copy.to_pitch,
                 static_cast<const unsigned char*>(from) + row * from_pitch, copy.width);
  }
}

cudaError_t copy_async(const Copy& copy, cudaMemcpyKind kind, const StreamPointer& stream, bool blocking) {
  const int from = device_of(copy.from), to = device_of(copy.to);
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (copy.to == nullptr || copy.from == nullptr) return cudaErrorInvalidValue;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && (from_device != (from >= 0) || to_device != (to >= 0))) return cudaErrorInvalidValue;
  check_range("copy from", copy.from, (copy.height - 1) * copy.from_pitch + copy.width);
  check_range("copy to", copy.to, (copy.height - 1) * copy.to_pitch + copy.width);
  const bool pageable_from = from < 0 && !is_pinned(copy.from), pageable_to = to < 0 && !is_pinned(copy.to);
  if (stream->capture != nullptr && (pageable_from || pageable_to)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  cudaError_t error;
  if (pageable_from && !pageable_to) {
    // The driver, too, has read pageable memory when the call returns.
    auto staged = std::make_shared<std::vector<unsigned char>>(copy.width * copy.height);
    for (size_t row = 0; row < copy.height; ++row) {
      std::memcpy(staged->data() + row * copy.width,
                  static_cast<const unsigned char*>(copy.from) + row * copy.from_pitch, copy.width);
    }
    error = enqueue(stream, cudaGraphNodeTypeMemcpy, [copy, staged] { run_copy(copy, staged->data()); });
  } else {
    error = enqueue(stream, cudaGraphNodeTypeMemcpy, [copy] { run_copy(copy, copy.from); });
  }
  if (error != cudaSuccess) return error;
  const bool between_devices = from >= 0 && to >= 0;
  if ((blocking && !between_devices) || pageable_to) return synchronize(stream);
  return cudaSuccess;
}

cudaError_t set_async(void* pointer, int value, size_t size, const StreamPointer& stream) {
  if (size == 0) return cudaSuccess;
  if (device_of(pointer) < 0 && !is_pinned(pointer)) return cudaErrorInvalidValue;
  check_range("memset", pointer, size);
  return enqueue(stream, cudaGraphNodeTypeMemset, [=] {
    const int device = device_of(pointer);
    if (device >= 0) set_open(device, true);
    std::memset(pointer, value, size);
  });
}

cudaError_t allocate(void** pointer, size_t size) {
  Device& device = device_now();
  *pointer = nullptr;
  if (size == 0) return cudaSuccess;
  const bool was_open = runtime().open[current_device];
  set_open(current_device, true);
  std::string damage;
  *pointer = device.arena->allocate(size, &damage);
  if (!damage.empty()) fail("%s", damage.c_str());
  set_open(current_device, was_open);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

void release(void* pointer, int device) {
  Runtime& r = runtime();
  const bool was_open = r.open[device];
  set_open(device, true);
  const std::string damage = r.devices[device].arena->release(pointer);
  if (!damage.empty()) fail("%s; last kernels: %s", damage.c_str(), recent_kernels().c_str());
  set_open(device, was_open);
}

}  // namespace
}  // namespace shim

using namespace shim;

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t size) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  return note(allocate(pointer, size));
}

cudaError_t cudaMallocAsync(void** pointer, size_t size, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return note(cudaErrorStreamCaptureUnsupported);
  if (allocate(pointer, size) == cudaSuccess) return cudaSuccess;
  drain(stream, kAll);  // frees that wait there
  return note(allocate(pointer, size));
}

cudaError_t cudaFree(void* pointer) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  if (pointer == nullptr) return cudaSuccess;
  const int device = device_of(pointer);
  if (device < 0) return note(cudaErrorInvalidValue);
  const cudaError_t error = synchronize_device(device);
  release(pointer, device);
  return note(error);
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  SHIM_ENTER();
  if (pointer == nullptr) return cudaSuccess;
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return note(cudaErrorStreamCaptureUnsupported);
  const int device = device_of(pointer);
  if (device < 0) return note(cudaErrorInvalidValue);
  return note(enqueue(stream, cudaGraphNodeTypeMemFree, [=] { release(pointer, device); }));
}

cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned int) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  *pointer = nullptr;
  if (size == 0) return cudaSuccess;
  void* memory = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  if (memory == nullptr) return note(cudaErrorMemoryAllocation);
  std::memset(memory, 0xFF, size);
  runtime().pinned[static_cast<unsigned char*>(memory)] = size;
  runtime().allocated_pinned[static_cast<unsigned char*>(memory)] = true;
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t size) { return cudaHostAlloc(pointer, size, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* pointer) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  if (pointer == nullptr) return cudaSuccess;
  Runtime& r = runtime();
  if (r.allocated_pinned.erase(static_cast<unsigned char*>(pointer)) == 0) return note(cudaErrorInvalidValue);
  const cudaError_t error = synchronize_device(current_device);
  r.pinned.erase(static_cast<unsigned char*>(pointer));
  std::free(pointer);
  return note(error);
}

cudaError_t cudaHostRegister(void* pointer, size_t size, unsigned int) {
  SHIM_ENTER();
  if (pointer == nullptr || size == 0) return note(cudaErrorInvalidValue);
  if (is_pinned(pointer)) return note(cudaErrorHostMemoryAlreadyRegistered);
  runtime().pinned[static_cast<unsigned char*>(pointer)] = size;
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* pointer) {
  SHIM_ENTER();
  if (runtime().allocated_pinned.count(static_cast<unsigned char*>(pointer)) > 0) return note(cudaErrorInvalidValue);
  if (runtime().pinned.erase(static_cast<unsigned char*>(pointer)) == 0) return note(cudaErrorHostMemoryNotRegistered);
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned int) {
  SHIM_ENTER();
  if (!is_pinned(host)) return note(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  SHIM_ENTER();
  *attributes = {};
  const int device = device_of(pointer);
  if (device >= 0 && runtime().devices[device].arena->allocated(pointer)) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = device;
    attributes->devicePointer = const_cast<void*>(pointer);
  } else if (is_pinned(pointer)) {
    attributes->type = cudaMemoryTypeHost;
    attributes->device = current_device;
    attributes->devicePointer = attributes->hostPointer = const_cast<void*>(pointer);
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = -2;
    attributes->hostPointer = const_cast<void*>(pointer);
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  return note(copy_async({to, from, size, size, size, 1}, kind, device_now().null_stream, true));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  return note(copy_async({to, from, size, size, size, 1}, kind, stream, false));
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (to_pitch < width || from_pitch < width) return note(cudaErrorInvalidPitchValue);
  return note(copy_async({to, from, to_pitch, from_pitch, width, height}, kind, stream, false));
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, cudaStream_t handle) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, handle);
}

cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t size) {
  return cudaMemcpy(to, from, size, cudaMemcpyDeviceToDevice);
}

cudaError_t cudaMemset(void* pointer, int value, size_t size) {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  return note(set_async(pointer, value, size, device_now().null_stream));
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t size, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  return note(set_async(pointer, value, size, stream));
}

}  // extern "C"
