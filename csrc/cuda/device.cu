// The GPUs of this machine: how they are found, opened, selected and named; and why there may be none.
#include "cuda/devices.h"

#include <pthread.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/check.h"
#include "cuda/gpu.h"
#include "cuda/interchange.h"
#include "cuda/launch.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kNeededMajor = 7, kNeededMinor = 5;

std::atomic<bool> is_fork{false};

// Whether this build has code for a GPU is asked of it.
__global__ void probe() {}

std::string version_text(int version) { return message(version / 1000, ".", version % 1000 / 10); }

// Why cudaGetDeviceCount gives none, and what to do about it.
std::string missing_text(cudaError_t status, int runtime, int driver) {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  switch (status) {
    case cudaErrorInsufficientDriver:
      if (driver == 0)
        return "there is no NVIDIA driver (libcuda.so.1); install it, or start the container with the GPU (--gpus all)";
      return message("the NVIDIA driver is made for CUDA ", version_text(driver), ", this build needs ",
                     version_text(runtime), "; update the driver, or build deltarule with that CUDA toolkit");
    case cudaSuccess:
    case cudaErrorNoDevice:
      if (visible != nullptr)
        return message("CUDA_VISIBLE_DEVICES is '", visible, "', which leaves no GPU; unset or change it");
      return "the NVIDIA driver finds no GPU; nvidia-smi says what it sees";
    case cudaErrorStubLibrary:
      return "libcuda.so.1 is the CUDA toolkit's stub and not the driver's; take its folder out of LD_LIBRARY_PATH";
    case cudaErrorInitializationError:
      return message("CUDA does not start: ", error_text(status),
                     "; in a process forked after CUDA was used it never does: there, use multiprocessing's 'spawn'");
    case cudaErrorSystemNotReady:
      return message("CUDA does not start: ", error_text(status), "; is nvidia-fabricmanager running?");
    default:
      return message("CUDA does not start: ", error_text(status));
  }
}

struct Found {
  std::vector<Device*> devices;
  std::string missing;
  int runtime = 0, driver = 0;
};

Found find() {
  Found found;
  cudaRuntimeGetVersion(&found.runtime);
  cudaDriverGetVersion(&found.driver);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status != cudaSuccess || count == 0) {
    found.missing = missing_text(status, found.runtime, found.driver);
    return found;
  }
  pthread_atfork(nullptr, nullptr, [] { is_fork.store(true, std::memory_order_relaxed); });
  std::string old;
  for (int i = 0; i < count; ++i) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i);
    if (major > kNeededMajor || (major == kNeededMajor && minor >= kNeededMinor)) {
      found.devices.push_back(new Gpu(i, &table));  // never destroyed: arrays may be given back after main
      continue;
    }
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) cudaGetLastError();
    old += message(old.empty() ? "" : ", ", "cuda:", i, " (", properties.name, ") has ", major, ".", minor);
  }
  if (found.devices.empty())
    found.missing =
        message("GPUs of compute capability ", kNeededMajor, ".", kNeededMinor, " or above are needed; ", old);
  return found;
}

const Found& found() {
  static const Found one = find();
  return one;
}

void refuse_fork(const Gpu& gpu) {
  check<DeviceError>(!forked(), gpu.name,
                     ": this process was forked after CUDA was initialised; use multiprocessing with the 'spawn' start "
                     "method");
}

int attribute(Gpu& gpu, cudaDeviceAttr which) {
  int value = 0;
  check_cuda(gpu, cudaDeviceGetAttribute(&value, which, gpu.index), "start");
  return value;
}

// The GPU's context and streams. What goes wrong here is no lasting trouble: memory may be there a little later.
void open(Gpu& gpu) {
  const std::lock_guard lock(gpu.opening);
  if (gpu.opened) return;
  check_cuda(gpu, cudaSetDevice(gpu.index), "start");
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, probe);
  Context& context = gpu.context;
  context.index = gpu.index;
  context.major = attribute(gpu, cudaDevAttrComputeCapabilityMajor);
  context.minor = attribute(gpu, cudaDevAttrComputeCapabilityMinor);
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    throw DeviceError(message(gpu.name, ": this build of deltarule has no code for compute capability ", context.major,
                              ".", context.minor, "; build it with -C cmake.define.DELTARULE_CUDA_ARCHITECTURES=",
                              context.major, context.minor, context.major == 9 ? "a" : ""));
  }
  check_cuda(gpu, status, "start");
  context.multiprocessors = attribute(gpu, cudaDevAttrMultiProcessorCount);
  context.shared_bytes = attribute(gpu, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  context.l2_bytes = attribute(gpu, cudaDevAttrL2CacheSize);
  gpu.reads_host_memory = attribute(gpu, cudaDevAttrPageableMemoryAccessUsesHostPageTables) != 0;
  if (gpu.passed == nullptr) check_cuda(gpu, cudaEventCreateWithFlags(&gpu.passed, cudaEventDisableTiming), "start");
  cudaStream_t& recorder = gpu.recorder.stream;
  for (cudaStream_t* stream : {&context.stream, &recorder})
    if (*stream == nullptr) check_cuda(gpu, cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "start");
  const cudaStream_t own = recorder;
  gpu.recorder = context;
  recorder = own;
  gpu.opened.store(true, std::memory_order_release);
}

void* allocate(Device& device, int64_t bytes) {
  select(device);
  return static_cast<Gpu&>(device).allocator->take(bytes);
}

void zero(Device& device, void* memory, int64_t bytes) {
  select(device);
  if (bytes <= 0) return;
  check_cuda(static_cast<Gpu&>(device), cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), here().stream), "zero");
}

void synchronize(Device& device) {
  select(device);
  Gpu& gpu = static_cast<Gpu&>(device);
  refuse_while_recording(gpu, "synchronize");
  check_cuda(gpu, cudaStreamSynchronize(gpu.context.stream), "synchronize");
}

int64_t generation(const Device& device) { return scratch_of(static_cast<const Gpu&>(device)).generation; }

Gpu& as_gpu(Device& device) {
  check<DeviceError>(!device.host_accessible, "device is '", device.name, "'; a CUDA device is wanted");
  return static_cast<Gpu&>(device);
}

}  // namespace

Gpu::Gpu(int gpu, const Kernels* kernels)
    : Device{message("cuda:", gpu), gpu, false, kernels, cuda::allocate, Allocator::give} {
  select = cuda::select;
  upload = cuda::upload;
  download = cuda::download;
  transfer = cuda::transfer;
  zero = cuda::zero;
  synchronize = cuda::synchronize;
  hand_over = cuda::hand_over;
  take_over = cuda::take_over;
  address = cuda::address;
  record = cuda::record;
  recorded = cuda::recorded;
  run = cuda::run;
  generation = cuda::generation;
  allocator = std::make_unique<Allocator>(*this);
}

bool forked() noexcept { return is_fork.load(std::memory_order_relaxed); }

void select(Device& device) {
  Gpu& gpu = static_cast<Gpu&>(device);
  refuse_fork(gpu);
  if (!gpu.opened.load(std::memory_order_acquire)) open(gpu);
  // Asked every time: other libraries of this process change it too.
  int current = -1;
  if (cudaGetDevice(&current) != cudaSuccess || current != gpu.index)
    check_cuda(gpu, cudaSetDevice(gpu.index), "select");
  Selection& mine = selection();
  mine.gpu = &gpu;
  mine.context = records(gpu) ? &gpu.recorder : &gpu.context;
  if (!gpu.trouble.none()) gpu.trouble.raise();
}

const std::vector<Device*>& devices() { return found().devices; }
std::string missing() { return found().missing; }
Versions versions() { return {found().runtime, found().driver}; }

Properties properties(Device& device) {
  Gpu& gpu = as_gpu(device);
  refuse_fork(gpu);
  cudaDeviceProp found{};
  check_cuda(gpu, cudaGetDeviceProperties(&found, gpu.index), "properties");
  return {found.name, found.major, found.minor, found.multiProcessorCount, static_cast<int64_t>(found.totalGlobalMem)};
}

Memory memory(Device& device) {
  Gpu& gpu = as_gpu(device);
  select(device);
  return gpu.allocator->memory();
}

void set_memory_limit(Device& device, int64_t bytes) {
  Gpu& gpu = as_gpu(device);
  check<ValueError>(bytes >= 0, "set_memory_limit: bytes is ", bytes, "; at least 0 is wanted, 0 for no limit");
  select(device);
  gpu.allocator->set_limit(bytes);
}

void release_cached(Device& device) {
  Gpu& gpu = as_gpu(device);
  select(device);
  gpu.allocator->release_cached();
}

}  // namespace deltarule::cuda
