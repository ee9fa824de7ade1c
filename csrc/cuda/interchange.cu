// Memory shared with other libraries: the order of their streams and ours, and whose a pointer is.
#include "base/check.h"
#include "cuda/devices.h"
#include "cuda/gpu.h"
#include "cuda/interchange.h"

namespace deltarule::cuda {
namespace {

// DLPack: 0 or 1 is the legacy default stream, 2 the default stream of the thread, else the stream itself.
cudaStream_t stream_of(intptr_t number) {
  if (number == 0 || number == 1) return cudaStreamLegacy;
  if (number == 2) return cudaStreamPerThread;
  return reinterpret_cast<cudaStream_t>(number);
}

// Also while a recording is under way: what is shared is there, not what is recorded.
cudaStream_t own_stream(Device& device) { return static_cast<Gpu&>(device).context.stream; }

void require(cudaError_t status, const Device& device, const char* what) {
  check<DeviceError>(status == cudaSuccess, device.name, ": ", what, ": ", cudaGetErrorString(status));
}

// What `later` is given from now on comes after what `earlier` has been given.
void order(Device& device, cudaStream_t earlier, cudaStream_t later) {
  cudaEvent_t event;
  require(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), device, "event for a shared array");
  const cudaError_t recorded = cudaEventRecord(event, earlier);
  const cudaError_t waits = recorded == cudaSuccess ? cudaStreamWaitEvent(later, event, 0) : recorded;
  cudaEventDestroy(event);
  require(waits, device, "order of streams for a shared array");
}

}  // namespace

void hand_over(Device& device, intptr_t stream) {
  device.select(device);
  order(device, own_stream(device), stream_of(stream));
}

void take_over(Device& device, intptr_t stream) {
  device.select(device);
  order(device, stream_of(stream), own_stream(device));
}

intptr_t address(Device& device) {
  device.select(device);
  return reinterpret_cast<intptr_t>(own_stream(device));
}

Device& device_of(const void* memory) {
  cudaPointerAttributes attributes{};
  const bool known = !devices().empty() && cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
                     (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
  check<DeviceError>(known, "the array at ", memory, " is not in the memory of a GPU", missing().empty() ? "" : "; ",
                     missing());
  for (Device* device : devices())  // not all of CUDA's GPUs need be among them
    if (device->index == attributes.device) return *device;
  throw DeviceError(message("the array at ", memory, " is on a GPU that deltarule cannot use"));
}

}  // namespace deltarule::cuda
