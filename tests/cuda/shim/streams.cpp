// The runtime API: streams and events.
#include <chrono>

#include "runtime.h"

namespace shim {
namespace {

double milliseconds_now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace
}  // namespace shim

using namespace shim;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned int flags) {
  SHIM_ENTER();
  if (flags > cudaStreamNonBlocking) return note(cudaErrorInvalidValue);
  auto stream = std::make_shared<Stream>();
  stream->device = current_device;
  stream->blocking = flags != cudaStreamNonBlocking;
  *handle = reinterpret_cast<cudaStream_t>(stream.get());
  runtime().streams[stream.get()] = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr || stream == device_now().null_stream) return note(cudaErrorInvalidResourceHandle);
  runtime().streams.erase(stream.get());
  if (!stream->queue.empty()) runtime().destroyed.push_back(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return note(cudaErrorStreamCaptureUnsupported);
  }
  SHIM_NOT_WHILE_CAPTURING();
  return note(synchronize(stream));
}

// Says "not ready" once, runs the work, and is ready the next time: a loop that polls ends.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return note(cudaErrorStreamCaptureUnsupported);
  }
  if (stream->queue.empty()) return cudaSuccess;
  const cudaError_t error = synchronize(stream);
  return note(error == cudaSuccess ? cudaErrorNotReady : error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr || runtime().events.count(event) == 0) return note(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) {
    if (stream->capture == nullptr) {
      stream->capture = event->capture;
      stream->joined = true;
      event->capture->streams.push_back(stream.get());
    } else if (stream->capture != event->capture) {
      stream->capture->invalid = event->capture->invalid = true;
      return note(cudaErrorStreamCaptureMerge);
    } else {
      event->capturing->joined = true;
    }
    return cudaSuccess;
  }
  if (stream->capture != nullptr) {
    if (event->mark.stream == nullptr) return cudaSuccess;
    stream->capture->invalid = true;
    return note(cudaErrorStreamCaptureIsolation);
  }
  if (event->mark.stream == nullptr) return cudaSuccess;
  const cudaError_t error = enqueue(stream, cudaGraphNodeTypeWaitEvent, [] {});
  if (error == cudaSuccess) stream->queue.back().after.push_back(event->mark);
  return note(error);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  return note(enqueue(stream, cudaGraphNodeTypeHost, [=] {
    close_all();
    function(data);
  }));
}

// Events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  SHIM_ENTER();
  *event = new CUevent_st{};
  (*event)->flags = flags;
  (*event)->device = current_device;
  runtime().events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  SHIM_ENTER();
  if (runtime().events.erase(event) == 0) return note(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr || runtime().events.count(event) == 0) return note(cudaErrorInvalidResourceHandle);
  if (event->device != stream->device) return note(cudaErrorInvalidResourceHandle);
  event->capture = stream->capture;
  if (stream->capture != nullptr) {
    event->capturing = stream.get();
    return note(stream->capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
  }
  auto reached = std::make_shared<double>(-1.0);
  const cudaError_t error = enqueue(stream, cudaGraphNodeTypeEventRecord, [reached] { *reached = milliseconds_now(); });
  if (error != cudaSuccess) return note(error);
  event->milliseconds = reached;
  event->mark = {stream, stream->queue.back().ticket};
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int) {
  return cudaEventRecord(event, stream);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  SHIM_ENTER();
  if (runtime().events.count(event) == 0) return note(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return note(cudaErrorCapturedEvent);
  SHIM_NOT_WHILE_CAPTURING();
  if (event->mark.stream == nullptr) return cudaSuccess;
  drain(event->mark.stream, event->mark.ticket);
  return note(runtime().devices[event->device].sticky);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  SHIM_ENTER();
  if (runtime().events.count(event) == 0) return note(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return note(cudaErrorCapturedEvent);
  if (event->mark.stream == nullptr || *event->milliseconds >= 0) return cudaSuccess;
  drain(event->mark.stream, event->mark.ticket);
  const cudaError_t error = runtime().devices[event->device].sticky;
  return note(error == cudaSuccess ? cudaErrorNotReady : error);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  SHIM_ENTER();
  for (cudaEvent_t event : {start, end}) {
    if (runtime().events.count(event) == 0 || event->mark.stream == nullptr || (event->flags & cudaEventDisableTiming))
      return note(cudaErrorInvalidResourceHandle);
  }
  if (*start->milliseconds < 0 || *end->milliseconds < 0) return note(cudaErrorNotReady);
  *milliseconds = static_cast<float>(*end->milliseconds - *start->milliseconds);
  return cudaSuccess;
}

}  // extern "C"
