// The runtime API: graphs, by stream capture.
#include <algorithm>
#include <utility>

#include "runtime.h"

using namespace shim;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  if (stream == device_now().null_stream) return note(cudaErrorStreamCaptureUnsupported);
  if (stream->capture != nullptr) return note(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream.get();
  stream->capture->mode = mode;
  stream->capture->thread = &thread_mark;
  stream->capture->streams.push_back(stream.get());
  runtime().captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  SHIM_ENTER();
  *graph = nullptr;
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr) return note(cudaErrorIllegalState);
  if (capture->origin != stream.get()) return note(cudaErrorStreamCaptureUnmatched);
  if (capture->thread != &thread_mark && capture->mode != cudaStreamCaptureModeRelaxed)
    return note(cudaErrorStreamCaptureWrongThread);
  bool joined = true;
  for (Stream* member : capture->streams) {
    joined = joined && (member == stream.get() || member->joined);
    member->capture = nullptr;
    member->joined = true;
  }
  std::erase(runtime().captures, capture);
  if (capture->invalid) return note(cudaErrorStreamCaptureInvalidated);
  if (!joined) return note(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->nodes), {}};
  for (const Operation& node : (*graph)->nodes) (*graph)->handles.push_back({node.kind});
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
            : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  SHIM_ENTER();
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  SHIM_ENTER();
  if (nodes != nullptr) {
    *count = std::min(*count, graph->handles.size());
    for (size_t i = 0; i < *count; ++i) nodes[i] = &graph->handles[i];
  } else {
    *count = graph->handles.size();
  }
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->kind;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  SHIM_ENTER();
  if (graph == nullptr) return note(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{current_device, std::make_shared<const std::vector<Operation>>(graph->nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t handle) {
  SHIM_ENTER();
  return note(find(handle) == nullptr ? cudaErrorInvalidResourceHandle : cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
  SHIM_ENTER();
  const StreamPointer stream = find(handle);
  if (stream == nullptr) return note(cudaErrorInvalidResourceHandle);
  const int injected = take_error(stream), device = stream->device;
  return note(enqueue(stream, cudaGraphNodeTypeGraph, [injected, device, nodes = exec->nodes] {
    if (injected != 0) runtime().devices[device].sticky = static_cast<cudaError_t>(injected);
    for (const Operation& node : *nodes) {
      if (runtime().devices[device].sticky != cudaSuccess) return;
      open_for(device);
      node.run();
    }
  }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  SHIM_ENTER();
  delete exec;
  return cudaSuccess;
}

}  // extern "C"
