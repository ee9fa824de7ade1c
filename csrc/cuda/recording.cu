// Recordings: CUDA graphs captured from a stream of their own, so that other threads may go on using the GPU meanwhile.
#include <memory>
#include <vector>

#include "base/check.h"
#include "cuda/gpu.h"

namespace deltarule {

struct Recording {
  explicit Recording(cuda::Gpu& gpu) : gpu(gpu) {}
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {  // CUDA lets a run that is under way end first
    if (graph != nullptr && !cuda::forked()) cudaGraphExecDestroy(graph);
  }

  cuda::Gpu& gpu;
  cudaGraphExec_t graph = nullptr;
  cuda::Kept kept;                             // memory given back meanwhile: the graph writes to it
  std::vector<std::shared_ptr<void>> scratch;  // in use at its begin and end
};

namespace cuda {
namespace {

constexpr const char* kDoing = "recording";

// The recording under way, as the thread that made it holds it between record and recorded.
thread_local std::shared_ptr<Recording> open;

// The thread is as it was before record.
std::shared_ptr<Recording> close(Gpu& gpu) {
  Allocator::keep_given(nullptr);
  selection().recording = nullptr;
  selection().context = &gpu.context;
  gpu.allocator->hold_segments(false);
  gpu.recording.unlock();
  return std::move(open);
}

}  // namespace

void record(Device& device) {
  select(device);
  Gpu& gpu = static_cast<Gpu&>(device);
  check<DeviceError>(open == nullptr, gpu.name, ": a recording is under way in this thread; end it first");
  auto recording = std::make_shared<Recording>(gpu);
  recording->scratch = {scratch_of(gpu).memory, nullptr};
  gpu.recording.lock();
  gpu.allocator->hold_segments(true);
  const cudaError_t status = cudaStreamBeginCapture(gpu.recorder.stream, cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) {
    gpu.allocator->hold_segments(false);
    gpu.recording.unlock();
    check_cuda(gpu, status, kDoing);
  }
  open = std::move(recording);
  selection().recording = open.get();
  Allocator::keep_given(&open->kept);
  selection().context = &gpu.recorder;
}

std::shared_ptr<Recording> recorded(Device& device) {
  Gpu& gpu = static_cast<Gpu&>(device);
  check<DeviceError>(open != nullptr && &open->gpu == &gpu, gpu.name, ": no recording is under way in this thread");
  open->scratch[1] = scratch_of(gpu).memory;
  cudaGraph_t graph = nullptr;
  cudaError_t status = cudaStreamEndCapture(gpu.recorder.stream, &graph);
  const std::shared_ptr<Recording> recording = close(gpu);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&recording->graph, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  select(device);  // throws what went wrong in a slot
  check_cuda(gpu, status, kDoing);
  check_cuda(gpu, cudaGraphUpload(recording->graph, gpu.context.stream), kDoing);
  return recording;
}

void run(Device& device, const Recording& recording) {
  select(device);
  Gpu& gpu = static_cast<Gpu&>(device);
  check<DeviceError>(&recording.gpu == &gpu, gpu.name, ": the recording is one of ", recording.gpu.name);
  refuse_while_recording(gpu, "run");
  check_cuda(gpu, cudaGraphLaunch(recording.graph, gpu.context.stream), "run");
}

void refuse_while_recording(const Gpu& gpu, const char* doing) {
  const Recording* const recording = selection().recording;
  check<DeviceError>(recording == nullptr || &recording->gpu != &gpu, gpu.name, ": ", doing,
                     " cannot be part of a recording");
}

bool records(const Gpu& gpu) noexcept {
  const Recording* const recording = selection().recording;
  return recording != nullptr && &recording->gpu == &gpu;
}

}  // namespace cuda
}  // namespace deltarule
