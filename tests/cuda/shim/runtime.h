// The emulated CUDA runtime from inside: what its files share. The API is spread over devices.cpp, memory.cpp,
// streams.cpp, graphs.cpp and kernels.cpp; queue.cpp runs what they queue.
//
// Nothing runs when it is queued: a stream is drained when something waits for it. Device memory is readable and
// writable only while queued work runs, so that a host that forgets a copy faults and one that forgets to wait reads
// old values.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "arena.h"
#include "cuda_runtime_api.h"
#include "shim.h"

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

struct Runtime {
  std::recursive_mutex mutex;
  std::vector<Device> devices;
  Capability capability;
  std::unordered_map<Stream*, StreamPointer> streams;  // those the host holds
  std::vector<StreamPointer> destroyed;                // with work left
  std::unordered_set<cudaEvent_t> events;
  std::map<const unsigned char*, size_t> pinned;
  std::map<const unsigned char*, bool> allocated_pinned;
  std::unordered_map<const void*, int> dynamic_shared;  // what kernels asked for
  std::vector<std::shared_ptr<Capture>> captures;
  std::vector<const void*> kernels;  // that ran since the last look at the redzones
  long kernels_run = 0;
  uint64_t tickets = 0;
  int next_error = 0;
  int depth = 0;  // of drain
  std::vector<bool> open;

  Runtime();
};

Runtime& runtime();
Device& device_now();

extern thread_local int current_device;
extern thread_local cudaError_t last_error;
extern thread_local char thread_mark;  // its address stands for the thread
extern thread_local cudaStreamCaptureMode capture_mode;

cudaError_t note(cudaError_t error);  // for cudaGetLastError

// Every call that needs a device begins with this.
#define SHIM_ENTER()                                             \
  std::lock_guard<std::recursive_mutex> lock(runtime().mutex);   \
  if (runtime().devices.empty()) return note(cudaErrorNoDevice); \
  if (device_now().sticky != cudaSuccess) return note(device_now().sticky)

// Calls that wait, allocate or free are not allowed while a capture of a kind that forbids them is under way.
bool capture_forbids();

#define SHIM_NOT_WHILE_CAPTURING() \
  if (capture_forbids()) return note(cudaErrorStreamCaptureUnsupported)

StreamPointer find(cudaStream_t handle);  // null: no such stream

void set_open(int device, bool open);
void open_for(int device);  // the memory that work on `device` may touch, and that alone
void close_all();
std::string recent_kernels();
void check_redzones(int device);

// Runs the work of `stream` up to `ticket`, after whatever it waits for.
void drain(const StreamPointer& stream, uint64_t ticket);
cudaError_t synchronize(const StreamPointer& stream);
cudaError_t synchronize_device(int device);
cudaError_t enqueue(const StreamPointer& stream, cudaGraphNodeType kind, std::function<void()> run);

// The error the tests asked for, if any; once.
int take_error(const StreamPointer& stream);

int device_of(const void* pointer);  // -1: not device memory
bool is_pinned(const void* pointer);

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

}  // namespace shim
