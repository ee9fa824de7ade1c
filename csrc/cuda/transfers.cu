// Copies between the host and a GPU, and between GPUs.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/parallel.h"
#include "cuda/gpu.h"

namespace deltarule::cuda {
namespace {

constexpr int64_t kDirect = int64_t{64} << 10;  // the driver has read so much pageable memory when it returns

constexpr int64_t kPiece = int64_t{512} << 10;  // of a copy by several threads

struct HostCopy {
  char* to;
  const char* from;
  int64_t bytes;
};

// memcpy by all threads: one alone is slower than the bus.
void copy_on_host(void* to, const void* from, int64_t bytes) {
  HostCopy copy{static_cast<char*>(to), static_cast<const char*>(from), bytes};
  parallel_for((bytes + kPiece - 1) / kPiece,
               [](void* context, int64_t i) {
                 const HostCopy& c = *static_cast<const HostCopy*>(context);
                 const int64_t at = i * kPiece;
                 std::memcpy(c.to + at, c.from + at, static_cast<size_t>(std::min(kPiece, c.bytes - at)));
               },
               &copy);
}

// The pinned buffers are made at the first use; false where there is no memory for them.
bool staging_there(Gpu& gpu) {
  Staging& staging = gpu.staging;
  for (int i = 0; i < 2; ++i) {
    if (staging.done[i] == nullptr)
      check_cuda(gpu, cudaEventCreateWithFlags(&staging.done[i], cudaEventDisableTiming), "upload or download");
    if (staging.buffer[i] != nullptr) continue;
    void* memory = nullptr;
    if (cudaHostAlloc(&memory, Staging::kBytes, cudaHostAllocDefault) != cudaSuccess) {
      cudaGetLastError();
      return false;
    }
    staging.buffer[i] = static_cast<char*>(memory);
  }
  return true;
}

void copy_direct(Gpu& gpu, void* to, const void* from, int64_t bytes, cudaMemcpyKind kind, const char* doing) {
  check_cuda(gpu, cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, gpu.context.stream), doing);
}

void wait(Gpu& gpu, const char* doing) { check_cuda(gpu, cudaStreamSynchronize(gpu.context.stream), doing); }

// So that copies need not go through the host; without it they do.
void enable_peer(Gpu& gpu, const Gpu& source) {
  const auto peer = static_cast<size_t>(source.index);
  if (gpu.asked_peers.size() <= peer) gpu.asked_peers.resize(peer + 1);
  if (gpu.asked_peers[peer]) return;
  gpu.asked_peers[peer] = true;
  int can = 0;
  if (cudaDeviceCanAccessPeer(&can, gpu.index, source.index) == cudaSuccess && can)
    cudaDeviceEnablePeerAccess(source.index, 0);
  cudaGetLastError();
}

}  // namespace

void upload(Device& device, void* to, const void* from, int64_t bytes) {
  constexpr const char* kDoing = "upload";
  select(device);
  Gpu& gpu = static_cast<Gpu&>(device);
  refuse_while_recording(gpu, kDoing);
  if (bytes <= 0) return;
  if (bytes <= kDirect && !gpu.reads_host_memory)
    return copy_direct(gpu, to, from, bytes, cudaMemcpyHostToDevice, kDoing);

  const std::lock_guard lock(gpu.staging.mutex);
  if (!staging_there(gpu)) {
    copy_direct(gpu, to, from, bytes, cudaMemcpyHostToDevice, kDoing);
    return wait(gpu, kDoing);
  }
  Staging& staging = gpu.staging;
  for (int64_t at = 0, i = 0; at < bytes; at += Staging::kBytes, i ^= 1) {
    const int64_t size = std::min(Staging::kBytes, bytes - at);
    check_cuda(gpu, cudaEventSynchronize(staging.done[i]), kDoing);
    copy_on_host(staging.buffer[i], static_cast<const char*>(from) + at, size);
    copy_direct(gpu, static_cast<char*>(to) + at, staging.buffer[i], size, cudaMemcpyHostToDevice, kDoing);
    check_cuda(gpu, cudaEventRecord(staging.done[i], gpu.context.stream), kDoing);
  }
}

void download(Device& device, void* to, const void* from, int64_t bytes) {
  constexpr const char* kDoing = "download";
  select(device);
  Gpu& gpu = static_cast<Gpu&>(device);
  refuse_while_recording(gpu, kDoing);
  if (bytes <= 0) return wait(gpu, kDoing);
  std::unique_lock lock(gpu.staging.mutex, std::defer_lock);
  if (bytes > kDirect) lock.lock();
  if (bytes <= kDirect || !staging_there(gpu)) {
    copy_direct(gpu, to, from, bytes, cudaMemcpyDeviceToHost, kDoing);
    return wait(gpu, kDoing);
  }

  Staging& staging = gpu.staging;
  const auto fetch = [&](int64_t chunk) {
    const int64_t at = chunk * Staging::kBytes;
    if (at >= bytes) return;
    copy_direct(gpu, staging.buffer[chunk % 2], static_cast<const char*>(from) + at,
                std::min(Staging::kBytes, bytes - at), cudaMemcpyDeviceToHost, kDoing);
    check_cuda(gpu, cudaEventRecord(staging.done[chunk % 2], gpu.context.stream), kDoing);
  };
  fetch(0);
  fetch(1);
  for (int64_t chunk = 0; chunk * Staging::kBytes < bytes; ++chunk) {
    const int64_t at = chunk * Staging::kBytes;
    check_cuda(gpu, cudaEventSynchronize(staging.done[chunk % 2]), kDoing);
    copy_on_host(static_cast<char*>(to) + at, staging.buffer[chunk % 2], std::min(Staging::kBytes, bytes - at));
    fetch(chunk + 2);
  }
}

void transfer(Device& device, void* to, Device& source_device, const void* from, int64_t bytes) {
  constexpr const char* kDoing = "transfer";
  if (source_device.host_accessible) return upload(device, to, from, bytes);
  Gpu& gpu = static_cast<Gpu&>(device);
  Gpu& source = static_cast<Gpu&>(source_device);
  select(source);
  refuse_while_recording(source, kDoing);
  select(device);
  refuse_while_recording(gpu, kDoing);
  if (bytes <= 0) return;
  if (&gpu == &source) return copy_direct(gpu, to, from, bytes, cudaMemcpyDeviceToDevice, kDoing);

  // The copy waits for what is queued there, and what is queued there later waits for the copy.
  const std::scoped_lock lock(gpu.staging.mutex, source.staging.mutex);
  enable_peer(gpu, source);
  select(source);
  check_cuda(source, cudaEventRecord(source.passed, source.context.stream), kDoing);
  select(device);
  check_cuda(gpu, cudaStreamWaitEvent(gpu.context.stream, source.passed, 0), kDoing);
  check_cuda(gpu,
             cudaMemcpyPeerAsync(to, gpu.index, from, source.index, static_cast<size_t>(bytes), gpu.context.stream),
             kDoing);
  check_cuda(gpu, cudaEventRecord(gpu.passed, gpu.context.stream), kDoing);
  select(source);
  check_cuda(source, cudaStreamWaitEvent(source.context.stream, gpu.passed, 0), kDoing);
  select(device);
}

}  // namespace deltarule::cuda
