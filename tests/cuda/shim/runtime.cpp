// The CUDA runtime API of the emulated GPUs: devices, memory, streams, events, graphs.
//
// Nothing runs when it is queued: a stream is drained when something waits for it. Device memory is readable and
// writable only while queued work runs, so that a host that forgets a copy faults and one that forgets to wait reads
// old values.
#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "arena.h"
#include "cuda.h"
#include "cuda_runtime.h"
#include "symbols.h"

namespace shim {

struct Stream;
using StreamPointer = std::shared_ptr<Stream>;

// All work of `stream` up to `ticket`.
struct Mark {
  StreamPointer stream;
  uint64_t ticket;
};

struct Operation {
  cudaGraphNodeType kind;
  std::function<void()> run;
  uint64_t ticket;
  std::vector<Mark> after;
};

// What a stream records between BeginCapture and EndCapture.
struct Capture {
  Stream* origin;
  cudaStreamCaptureMode mode;
  const void* thread;
  bool invalid = false;
  std::vector<Operation> nodes;
  std::vector<Stream*> streams;  // those that take part
};

struct Stream {
  int device;
  bool blocking;  // waits for the null stream, and the null stream for it
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture;
  bool joined = true;  // of a stream that takes part in another's capture: its work was waited for
};

}  // namespace shim

struct CUevent_st {
  unsigned flags;
  int device;
  shim::Mark mark;                         // stream null: never recorded
  std::shared_ptr<shim::Capture> capture;  // recorded while capturing, from `capturing`
  shim::Stream* capturing = nullptr;
  std::shared_ptr<double> milliseconds = std::make_shared<double>(-1.0);  // when it was reached; negative: not yet
};

struct CUgraphNode_st {
  cudaGraphNodeType kind;
};

struct CUgraph_st {
  std::vector<shim::Operation> nodes;
  std::vector<CUgraphNode_st> handles;
};

struct CUgraphExec_st {
  int device;
  std::shared_ptr<const std::vector<shim::Operation>> nodes;
};

namespace shim {
namespace {

constexpr int kMultiprocessors = 4;
constexpr int kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32;
constexpr size_t kSharedReserved = 1024;

struct Device {
  std::unique_ptr<Arena> arena;
  StreamPointer null_stream;
  cudaError_t sticky = cudaSuccess;  // an asynchronous error: every call returns it from then on
  std::vector<bool> peers;
};

struct Capability {
  int major, minor;
  size_t shared_per_block, shared_per_multiprocessor;
};

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

struct Runtime {
  std::recursive_mutex mutex;
  std::vector<Device> devices;
  Capability capability = read_capability();
  std::unordered_map<Stream*, StreamPointer> streams;  // those the host holds
  std::vector<StreamPointer> destroyed;                // with work left
  std::unordered_set<cudaEvent_t> events;
  std::map<const unsigned char*, size_t> pinned;
  std::map<const unsigned char*, bool> allocated_pinned;
  std::unordered_map<const void*, int> dynamic_shared;  // what kernels asked for
  std::vector<std::shared_ptr<Capture>> captures;
  std::vector<const void*> kernels;  // that ran since the last look at the redzones
  uint64_t tickets = 0;
  int next_error = 0;
  int depth = 0;  // of drain
  std::vector<bool> open;

  Runtime() {
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
};

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

// Every call that needs a device begins with this.
#define SHIM_ENTER()                                             \
  std::lock_guard<std::recursive_mutex> lock(runtime().mutex);   \
  if (runtime().devices.empty()) return note(cudaErrorNoDevice); \
  if (device_now().sticky != cudaSuccess) return note(device_now().sticky)

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

// Opens the memory that work on `device` may touch, and that alone.
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

// Runs the work of `stream` up to `ticket`, after whatever it waits for.
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

constexpr uint64_t kAll = UINT64_MAX;

template <class F> void for_streams(int device, F f) {
  Runtime& r = runtime();
  f(r.devices[device].null_stream);
  for (const auto& [_, stream] : r.streams) {
    if (stream->device == device) f(stream);
  }
  for (const StreamPointer& stream : r.destroyed) {
    if (stream->device == device) f(stream);
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

// Calls that wait, allocate or free are not allowed while a capture of a kind that forbids them is under way.
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

#define SHIM_NOT_WHILE_CAPTURING() \
  if (capture_forbids()) return note(cudaErrorStreamCaptureUnsupported)

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

// --- Memory ---

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

double milliseconds_now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

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

// The error the tests asked for, if any; once.
int take_error(const StreamPointer& stream) {
  return stream->capture != nullptr ? 0 : std::exchange(runtime().next_error, 0);
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
    open_for(device);
    execute(shape, function, body);
  }));
}

}  // namespace shim

// --- The API ---

using namespace shim;

extern "C" {

void deltarule_shim_fail_next_launch(int error) {
  std::lock_guard<std::recursive_mutex> lock(runtime().mutex);
  runtime().next_error = error;
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SHIM_NAME(name, value) \
  case name:                   \
    return #name;
    SHIM_ERRORS(SHIM_NAME)
#undef SHIM_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotSupported:
      return "operation not supported";
    default:
      return cudaGetErrorName(error);
  }
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// Devices

cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(runtime().devices.size());
  return note(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return note(runtime().devices.empty() ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= static_cast<int>(runtime().devices.size())) return note(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Runtime& r = runtime();
  if (device < 0 || device >= static_cast<int>(r.devices.size())) return note(cudaErrorInvalidDevice);
  const Capability& c = r.capability;
  cudaDeviceProp p{};
  std::snprintf(p.name, sizeof(p.name), "Emulated GPU");
  p.uuid.bytes[0] = static_cast<char>(device + 1);
  p.totalGlobalMem = r.devices[device].arena->limit();
  p.sharedMemPerBlock = 48 * 1024;
  p.sharedMemPerBlockOptin = c.shared_per_block;
  p.sharedMemPerMultiprocessor = c.shared_per_multiprocessor;
  p.reservedSharedMemPerBlock = c.major >= 8 ? kSharedReserved : 0;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.memPitch = INT_MAX;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = INT_MAX;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.totalConstMem = 65536;
  p.major = c.major;
  p.minor = c.minor;
  p.textureAlignment = 512;
  p.multiProcessorCount = kMultiprocessors;
  p.canMapHostMemory = p.concurrentKernels = p.asyncEngineCount = p.unifiedAddressing = 1;
  p.memoryBusWidth = 64;
  p.l2CacheSize = 1 << 20;
  p.maxThreadsPerMultiProcessor = c.major == 7 && c.minor == 5 ? 1024 : kThreadsPerMultiprocessor;
  p.maxBlocksPerMultiProcessor = kBlocksPerMultiprocessor;
  p.streamPrioritiesSupported = p.globalL1CacheSupported = p.localL1CacheSupported = 1;
  p.cooperativeLaunch = p.hostRegisterSupported = p.memoryPoolsSupported = 1;
  p.clusterLaunch = c.major >= 9;
  p.pciDeviceID = device;
  *properties = p;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  const cudaError_t error = cudaGetDeviceProperties(&p, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimX:
      *value = p.maxThreadsDim[0];
      break;
    case cudaDevAttrMaxBlockDimY:
      *value = p.maxThreadsDim[1];
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = p.maxThreadsDim[2];
      break;
    case cudaDevAttrMaxGridDimX:
      *value = p.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
      *value = p.maxGridSize[1];
      break;
    case cudaDevAttrMaxGridDimZ:
      *value = p.maxGridSize[2];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(p.reservedSharedMemPerBlock);
      break;
    case cudaDevAttrTotalConstantMemory:
      *value = static_cast<int>(p.totalConstMem);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = p.regsPerBlock;
      break;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = p.regsPerMultiprocessor;
      break;
    case cudaDevAttrClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrMemoryClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = p.memoryBusWidth;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = p.maxBlocksPerMultiProcessor;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrConcurrentKernels:
      *value = p.concurrentKernels;
      break;
    case cudaDevAttrAsyncEngineCount:
      *value = p.asyncEngineCount;
      break;
    case cudaDevAttrUnifiedAddressing:
      *value = p.unifiedAddressing;
      break;
    case cudaDevAttrCanMapHostMemory:
      *value = p.canMapHostMemory;
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = p.cooperativeLaunch;
      break;
    case cudaDevAttrClusterLaunch:
      *value = p.clusterLaunch;
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = p.memoryPoolsSupported;
      break;
    case cudaDevAttrHostRegisterSupported:
      *value = p.hostRegisterSupported;
      break;
    case cudaDevAttrStreamPrioritiesSupported:
      *value = p.streamPrioritiesSupported;
      break;
    case cudaDevAttrPciDeviceId:
      *value = p.pciDeviceID;
      break;
    default:
      *value = 0;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  SHIM_ENTER();
  SHIM_NOT_WHILE_CAPTURING();
  return note(synchronize_device(current_device));
}

cudaError_t cudaDeviceReset() {
  std::lock_guard<std::recursive_mutex> lock(runtime().mutex);
  if (runtime().devices.empty()) return note(cudaErrorNoDevice);
  for_streams(current_device, [](const StreamPointer& stream) { stream->queue.clear(); });
  device_now().arena = std::make_unique<Arena>(device_now().arena->limit());
  device_now().sticky = last_error = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  const int n = static_cast<int>(runtime().devices.size());
  if (device < 0 || device >= n || peer < 0 || peer >= n) return note(cudaErrorInvalidDevice);
  *can = device != peer;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int) {
  SHIM_ENTER();
  if (peer < 0 || peer >= static_cast<int>(runtime().devices.size())) return note(cudaErrorInvalidDevice);
  if (device_now().peers[peer]) return note(cudaErrorPeerAccessAlreadyEnabled);
  device_now().peers[peer] = true;
  return cudaSuccess;
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  SHIM_ENTER();
  if (peer < 0 || peer >= static_cast<int>(runtime().devices.size())) return note(cudaErrorInvalidDevice);
  if (!device_now().peers[peer]) return note(cudaErrorPeerAccessNotEnabled);
  device_now().peers[peer] = false;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  SHIM_ENTER();
  *available = device_now().arena->available();
  *total = device_now().arena->limit();
  return cudaSuccess;
}

// Memory

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

// Streams

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

// Graphs

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

// Kernels

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

}  // extern "C"
