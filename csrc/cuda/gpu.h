// What the host side of the CUDA device keeps for each GPU; kernels see context.h alone.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/allocator.h"
#include "cuda/context.h"
#include "device.h"

namespace deltarule::cuda {

struct Gpu;

// What went wrong on a GPU and nobody has been told yet, or has ended its use.
class Trouble {
 public:
  bool none() const noexcept { return state_.load(std::memory_order_acquire) == State::none; }
  void remember(std::string text) noexcept;  // thrown once; the first one counts
  void end(std::string text) noexcept;       // thrown at every call from now on; the first one counts
  void raise();                              // throws DeviceError if there is any

 private:
  enum class State { none, waiting, ended };
  std::mutex mutex_;
  std::atomic<State> state_{State::none};
  std::string text_;
};

// Copies between the host's pageable memory and a GPU go through two pinned buffers: while one is filled or emptied by
// the CPU the other is on its way. Calls are serialised by `mutex`.
struct Staging {
  static constexpr int64_t kBytes = int64_t{4} << 20;
  std::mutex mutex;
  char* buffer[2] = {nullptr, nullptr};
  cudaEvent_t done[2] = {nullptr, nullptr};  // the last copy out of or into it
};

// Opened at its first use: until then none of it exists for CUDA.
struct Gpu : Device {
  Gpu(int index, const Kernels* table);

  Context context{};   // of everything that is done
  Context recorder{};  // of what is only recorded: its stream is another one
  std::atomic<bool> opened{false};
  std::mutex opening, recording;
  bool reads_host_memory = false;  // pageable memory, by itself: copies out of it may still run on return
  std::unique_ptr<Allocator> allocator;
  Staging staging;
  cudaEvent_t passed = nullptr;   // for other GPUs to wait for; like asked_peers under staging.mutex
  std::vector<bool> asked_peers;  // whether memory of that GPU may be read directly was asked
  Trouble trouble;
};

// The memory slots work in, see scratch(). Every thread has its own, so that the kernels of two slots called by two
// threads may alternate on the stream.
struct Scratch {
  std::shared_ptr<void> memory;
  int64_t bytes = 0;
  int64_t generation = 0;  // another one for every piece of memory of this process; 0 before the first
};
Scratch& scratch_of(const Gpu& gpu);  // the calling thread's

// What the calling thread has selected.
struct Selection {
  Gpu* gpu = nullptr;
  Context* context = nullptr;
  Recording* recording = nullptr;  // under way
};
Selection& selection() noexcept;

void select(Device& device);

// The kernel this thread has queued last, as "gemm (csrc/cuda/gemm.cu:120)".
std::string last_launch();

// Throws DeviceError for everything but success; what leaves the GPU unusable is thrown from then on.
void check_cuda(Gpu& gpu, cudaError_t status, const char* doing);
bool records(const Gpu& gpu) noexcept;  // this thread does
void refuse_while_recording(const Gpu& gpu, const char* doing);
std::string error_text(cudaError_t status);  // "cudaErrorX (in words)"

// Whether this process is a child that was forked after CUDA had been asked for its GPUs: there it does not work, and
// its calls must not be made.
bool forked() noexcept;

// upload, download, transfer of Device (transfers.cu) and record, recorded, run (recording.cu).
void upload(Device& device, void* to, const void* from, int64_t bytes);
void download(Device& device, void* to, const void* from, int64_t bytes);
void transfer(Device& device, void* to, Device& source, const void* from, int64_t bytes);
void record(Device& device);
std::shared_ptr<Recording> recorded(Device& device);
void run(Device& device, const Recording& recording);

}  // namespace deltarule::cuda
