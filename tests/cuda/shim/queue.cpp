// Devices, and the work queued on their streams.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "runtime.h"
#include "symbols.h"

namespace shim {
namespace {

Capability read_capability() {
  const char* text = std::getenv("DELTARULE_EMULATED_CAPABILITY");
  Capability c{9, 0, 0, 0};
  if (text != nullptr && std::sscanf(text, "%d.%d", &c.major, &c.minor) != 2)
    fail("DELTARULE_EMULATED_CAPABILITY is '%s'; write it like 9.0", text);
  const int version = 10 * c.major + c.minor;
  const size_t kib = version >= 90                    ? (version >= 120 ? 99 : 227)
                     : version == 80 || version == 87 ? 163
                     : version >= 86                  ? 99
                     : version >= 75                  ? 64
                                                      : 96;
  c.shared_per_block = kib * 1024;
  c.shared_per_multiprocessor = (version == 75 || version == 70 ? kib : kib + 1) * 1024;
  return c;
}

}  // namespace

Runtime::Runtime() : capability(read_capability()) {
  const char* count = std::getenv("DELTARULE_EMULATED_GPUS");
  const char* memory = std::getenv("DELTARULE_EMULATED_MEMORY");
  const int n = count == nullptr ? 1 : std::atoi(count);
  const size_t limit = memory == nullptr ? size_t{2} << 30 : std::strtoull(memory, nullptr, 10);
  devices.resize(std::max(n, 0));
  open.assign(devices.size(), false);
  for (int d = 0; d < n; ++d) {
    devices[d].arena = std::make_unique<Arena>(limit);
    devices[d].null_stream = std::make_shared<Stream>();
    devices[d].null_stream->device = d;
    devices[d].null_stream->blocking = true;
    devices[d].peers.assign(n, false);
  }
}

// Never destroyed: arrays may be freed after main.
Runtime& runtime() {
  static Runtime& one = *new Runtime;
  return one;
}

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
thread_local char thread_mark;
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

Device& device_now() { return runtime().devices[current_device]; }

StreamPointer find(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return device_now().null_stream;
  const auto found = runtime().streams.find(reinterpret_cast<Stream*>(handle));
  return found == runtime().streams.end() ? nullptr : found->second;
}

// --- Running queued work ---

void set_open(int device, bool open) {
  Runtime& r = runtime();
  if (r.open[device] == open) return;
  r.open[device] = open;
  r.devices[device].arena->protect(!open);
}

void open_for(int device) {
  Runtime& r = runtime();
  for (size_t d = 0; d < r.devices.size(); ++d) {
    const bool mine = static_cast<int>(d) == device || r.devices[device].peers[d];
    set_open(static_cast<int>(d), mine);
  }
}

void close_all() {
  for (size_t d = 0; d < runtime().devices.size(); ++d) set_open(static_cast<int>(d), false);
}

std::string recent_kernels() {
  std::string text;
  const auto& kernels = runtime().kernels;
  const size_t shown = std::min<size_t>(kernels.size(), 4);
  for (size_t i = kernels.size() - shown; i < kernels.size(); ++i)
    text += (text.empty() ? "" : ", ") + symbol_name(kernels[i]).substr(0, 120);
  return text.empty() ? "none" : text;
}

void check_redzones(int device) {
  Runtime& r = runtime();
  const bool was_open = r.open[device];
  set_open(device, true);
  const std::string damage = r.devices[device].arena->damage();
  if (!damage.empty()) fail("%s; last kernels: %s", damage.c_str(), recent_kernels().c_str());
  set_open(device, was_open);
}

void drain(const StreamPointer& stream, uint64_t ticket) {
  Runtime& r = runtime();
  ++r.depth;
  while (!stream->queue.empty() && stream->queue.front().ticket <= ticket) {
    const Operation operation = std::move(stream->queue.front());
    stream->queue.pop_front();
    for (const Mark& mark : operation.after) drain(mark.stream, mark.ticket);
    if (r.devices[stream->device].sticky != cudaSuccess) continue;
    open_for(stream->device);
    operation.run();
  }
  if (--r.depth == 0) {
    close_all();
    if (!r.kernels.empty()) {
      for (size_t d = 0; d < r.devices.size(); ++d) check_redzones(static_cast<int>(d));
      r.kernels.clear();
    }
  }
}

cudaError_t synchronize(const StreamPointer& stream) {
  drain(stream, kAll);
  if (stream == runtime().devices[stream->device].null_stream) {
    for_streams(stream->device, [](const StreamPointer& other) {
      if (other->blocking) drain(other, kAll);
    });
  }
  return runtime().devices[stream->device].sticky;
}

cudaError_t synchronize_device(int device) {
  Runtime& r = runtime();
  for_streams(device, [](const StreamPointer& stream) { drain(stream, kAll); });
  std::erase_if(r.destroyed, [](const StreamPointer& stream) { return stream->queue.empty(); });
  check_redzones(device);
  return r.devices[device].sticky;
}

// --- Captures ---

bool capture_forbids() {
  if (capture_mode == cudaStreamCaptureModeRelaxed) return false;
  bool forbidden = false;
  for (const auto& capture : runtime().captures) {
    const bool mine = capture->thread == &thread_mark;
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (!mine &&
        (capture->mode == cudaStreamCaptureModeThreadLocal || capture_mode == cudaStreamCaptureModeThreadLocal))
      continue;
    capture->invalid = forbidden = true;
  }
  return forbidden;
}

cudaError_t enqueue(const StreamPointer& stream, cudaGraphNodeType kind, std::function<void()> run) {
  Runtime& r = runtime();
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
    stream->capture->nodes.push_back({kind, std::move(run), 0, {}});
    stream->joined = stream->capture->origin == stream.get();
    return cudaSuccess;
  }
  const StreamPointer& null_stream = r.devices[stream->device].null_stream;
  if (stream == null_stream) {
    for (const auto& capture : r.captures) {
      if (capture->origin->blocking && capture->origin->device == stream->device) {
        capture->invalid = true;
        return cudaErrorStreamCaptureImplicit;
      }
    }
  }
  Operation operation{kind, std::move(run), ++r.tickets, {}};
  if (stream == null_stream) {
    for_streams(stream->device, [&](const StreamPointer& other) {
      if (other != stream && other->blocking && !other->queue.empty())
        operation.after.push_back({other, other->queue.back().ticket});
    });
  } else if (stream->blocking && !null_stream->queue.empty()) {
    operation.after.push_back({null_stream, null_stream->queue.back().ticket});
  }
  stream->queue.push_back(std::move(operation));
  return cudaSuccess;
}

int take_error(const StreamPointer& stream) {
  return stream->capture != nullptr ? 0 : std::exchange(runtime().next_error, 0);
}

}  // namespace shim
