// The selected GPU as slots see it: here(), scratch(), report(); and what becomes of errors.
#include "cuda/context.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "cuda/gpu.h"

namespace deltarule::cuda {
namespace {

constexpr int64_t kFirstScratch = int64_t{1} << 20;

struct Launch {
  const char* kernel;
  const char* file;
  int line;
};

thread_local Selection selected;
thread_local Launch last{nullptr, nullptr, 0};
thread_local std::vector<Scratch> scratches;
std::atomic<int64_t> generations{0};

// Errors after which CUDA refuses every call of this process on that GPU.
bool lasts(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

std::string ended_text(const Gpu& gpu, cudaError_t status) {
  const std::string launch = last_launch();
  return message(gpu.name, " cannot be used any more: ",
                 launch.empty() ? "what was queued" : "kernel " + launch + ", or work queued before it,",
                 " failed: ", error_text(status),
                 "; restart the process (with CUDA_LAUNCH_BLOCKING=1 to see which kernel it was)");
}

}  // namespace

// --- What slots use.

Context& here() noexcept { return *selected.context; }

void* scratch(int64_t bytes) noexcept {
  Gpu& gpu = *selected.gpu;
  try {
    Scratch& mine = scratch_of(gpu);
    if (mine.bytes >= bytes && mine.memory != nullptr) return mine.memory.get();
    const int64_t doubled = std::max({bytes, 2 * mine.bytes, kFirstScratch});
    mine = {};  // its memory may be what is missing
    for (const int64_t size : {doubled, bytes}) {
      try {
        mine.memory = {gpu.allocator->take(size), Allocator::give};
        mine.bytes = size;
        mine.generation = ++generations;
        return mine.memory.get();
      } catch (const DeviceError&) {
        if (size == bytes) throw;
      }
    }
  } catch (const std::exception& error) {
    gpu.trouble.remember(error.what());
  }
  return nullptr;
}

void report(cudaError_t status, const char* kernel, const char* file, int line) noexcept {
  last = {kernel, file, line};
  if (status == cudaSuccess || status == cudaErrorCudartUnloading) return;
  cudaGetLastError();
  Gpu& gpu = *selected.gpu;
  try {
    if (lasts(status)) gpu.trouble.end(ended_text(gpu, status));
    else gpu.trouble.remember(message(gpu.name, ": kernel ", last_launch(), " did not start: ", error_text(status)));
  } catch (const std::exception&) {  // no memory for the text
    gpu.trouble.remember({});
  }
}

// --- What the rest of this folder uses.

Selection& selection() noexcept { return selected; }

Scratch& scratch_of(const Gpu& gpu) {
  const auto index = static_cast<size_t>(gpu.index);
  if (scratches.size() <= index) scratches.resize(index + 1);
  return scratches[index];
}

std::string error_text(cudaError_t status) {
  return message(cudaGetErrorName(status), " (", cudaGetErrorString(status), ")");
}

std::string last_launch() {
  if (last.kernel == nullptr) return {};
  const char* file = last.file;
  for (const char* at = std::strstr(file, "csrc/"); at != nullptr; at = std::strstr(at + 1, "csrc/")) file = at;
  return message(last.kernel, " (", file, ":", last.line, ")");
}

void check_cuda(Gpu& gpu, cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  if (lasts(status)) {
    gpu.trouble.end(ended_text(gpu, status));
    gpu.trouble.raise();
  }
  throw DeviceError(message(gpu.name, ": ", doing, " failed: ", error_text(status)));
}

void Trouble::remember(std::string text) noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ != State::none) return;
  text_ = std::move(text);
  state_.store(State::waiting, std::memory_order_release);
}

void Trouble::end(std::string text) noexcept {
  const std::lock_guard lock(mutex_);
  if (state_ == State::ended) return;
  text_ = std::move(text);
  state_.store(State::ended, std::memory_order_release);
}

void Trouble::raise() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::none) return;
  if (state_ == State::waiting) state_.store(State::none, std::memory_order_release);
  throw DeviceError(text_);
}

}  // namespace deltarule::cuda
