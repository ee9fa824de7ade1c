// Checks of the emulated GPU itself: prints one line per failure, and exits with their number.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda.h"
#include "cuda/launch.cuh"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "mbarrier.h"

using namespace deltarule::cuda;

namespace {

int failures = 0;

#define EXPECT(condition)                                              \
  do {                                                                 \
    if (!(condition)) {                                                \
      std::printf("%s:%d: %s\n", __FILE_NAME__, __LINE__, #condition); \
      ++failures;                                                      \
    }                                                                  \
  } while (false)

#define OK(call) EXPECT((call) == cudaSuccess)

constexpr unsigned kFull = 0xFFFFFFFFu;

template <class T> struct Buffer {
  T* data = nullptr;
  size_t n;
  explicit Buffer(size_t n) : n(n) { OK(cudaMalloc(&data, n * sizeof(T))); }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    OK(cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { OK(cudaFree(data)); }
  std::vector<T> get() const {
    std::vector<T> values(n);
    OK(cudaMemcpy(values.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
};

// Runs `body` in a child; the signal that ended it (0: none) and what it wrote to stderr.
template <class F> int signal_of(F body, std::string* text = nullptr) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    dup2(ends[1], 2);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) said.append(buffer, n);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (text != nullptr) *text = said;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

template <class F> void expect_end(const char* words, F body, int wanted = SIGABRT) {
  std::string said;
  const int signal = signal_of(body, &said);
  if (signal != wanted || said.find(words) == std::string::npos) {
    std::printf("expected an end that says '%s'; signal %d: %s\n", words, signal, said.c_str());
    ++failures;
  }
}

// --- Kernels

__global__ void reverse(const int* x, int* y) {
  DELTARULE_SHARED(int, tile);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = x[i];
  __syncthreads();
  y[i] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void reverse_without_barrier(const int* x, int* y) {
  DELTARULE_SHARED(int, tile);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = x[i];
  y[i] = tile[blockDim.x - 1 - threadIdx.x];
}

// Many barriers in a row: a thread that slips through one shows as a wrong sum.
__global__ void rotate(int* y, int rounds) {
  DELTARULE_SHARED(int, tile);
  const int n = blockDim.x, t = threadIdx.x;
  tile[t] = t;
  for (int r = 0; r < rounds; ++r) {
    __syncthreads();
    const int next = tile[(t + 1) % n];
    __syncthreads();
    tile[t] = next;
  }
  y[blockIdx.x * n + t] = tile[t];
}

__global__ void places(unsigned* y) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[block * threads + thread] = block * 1000 + thread;
}

__global__ void shuffles(int* y, double* z) {
  const int lane = threadIdx.x;
  y[lane] = __shfl_sync(kFull, 100 + lane, 5);
  y[32 + lane] = __shfl_sync(kFull, 100 + lane, 9, 8);
  y[64 + lane] = __shfl_up_sync(kFull, 100 + lane, 3, 16);
  y[96 + lane] = __shfl_down_sync(kFull, 100 + lane, 3, 16);
  y[128 + lane] = __shfl_xor_sync(kFull, 100 + lane, 16);
  double sum = lane + 0.5;
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(kFull, sum, d);
  z[lane] = sum;
  y[160 + lane] = static_cast<int>(__ballot_sync(kFull, lane % 3 == 0));
  y[192 + lane] = static_cast<int>(__reduce_add_sync(kFull, static_cast<unsigned>(lane)));
  y[224 + lane] = __any_sync(kFull, lane == 7) + 2 * __all_sync(kFull, lane < 31) + 4 * __all_sync(kFull, lane < 32);
  y[256 + lane] = static_cast<int>(__match_any_sync(kFull, lane / 8));
  // Both halves at once, with masks of their own.
  if (lane < 16) {
    y[288 + lane] = __shfl_sync(0x0000FFFFu, lane, 15);
  } else {
    for (int i = 0; i < 3; ++i) y[288 + lane] = __shfl_sync(0xFFFF0000u, lane + i, 16);
  }
  __syncwarp();
}

// Half of every warp leaves, then whole warps; __syncthreads counts those that stay. 40 threads: a warp of 8 too.
__global__ void leavers(int* y) {
  DELTARULE_SHARED(int, tile);
  const int t = threadIdx.x;
  tile[t] = 0;
  __syncthreads();
  if (t % 2 == 1) return;
  tile[t] = t;
  __syncthreads();
  if (t >= 32) return;
  __syncthreads();
  y[t] = tile[(t + 8) % 40];
  y[40 + t] = __popc(__ballot_sync(0x55555555u, 1));
}

__global__ void votes(int* y) {
  const int t = threadIdx.x;
  y[t] = __syncthreads_count(t % 3 == 0);
  y[t + 64] = __syncthreads_or(t == 63) + 2 * __syncthreads_and(t != 5);
}

__global__ void poison(float* y) {
  DELTARULE_SHARED(float, shared);
  y[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x];
  __syncthreads();
  shared[threadIdx.x] = 1.0f;
}

// A barrier over the grid, from an atomic and a spin loop.
__global__ void grid_sum(unsigned* arrived, float* partial, float* y) {
  const unsigned blocks = gridDim.x;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = static_cast<float>(blockIdx.x + 1);
    __threadfence();
    atomicAdd(arrived, 1u);
    while (atomicAdd(arrived, 0u) < blocks) relax();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (unsigned b = 0; b < blocks; ++b) sum += partial[b];
    y[blockIdx.x] = sum;
  }
}

// A pipeline of one producer warp and three consumer warps by named barriers.
__global__ void producer(int* y, int rounds) {
  DELTARULE_SHARED(int, slot);
  const int t = threadIdx.x;
  for (int r = 0; r < rounds; ++r) {
    if (t < 32) {
      if (r > 0) barrier_sync(2, 128);
      if (t == 0) *slot = 10 * r;
      barrier_arrive(1, 128);
    } else {
      barrier_sync(1, 128);
      y[r * 96 + t - 32] = *slot + t;
      if (r + 1 < rounds) barrier_arrive(2, 128);
    }
  }
}

// The same by mbarriers; what is "copied" lands later, as by TMA.
__global__ void pipeline(const int* x, int* y, int rounds) {
  struct Stage {
    uint64_t full, empty;
    int data[32];
  };
  DELTARULE_SHARED(Stage, stages);
  namespace mbarrier = shim::mbarrier;
  const int t = threadIdx.x;
  if (t == 0) {
    for (int s = 0; s < 2; ++s) {
      mbarrier::init(&stages[s].full, 1);
      mbarrier::init(&stages[s].empty, 32);
    }
  }
  __syncthreads();
  for (int r = 0; r < rounds; ++r) {
    Stage& stage = stages[r % 2];
    const unsigned phase = r / 2 % 2;
    if (t >= 32) {
      if (t != 32) continue;
      mbarrier::wait(&stage.empty, phase ^ 1);
      mbarrier::arrive_expect_tx(&stage.full, sizeof(stage.data));
      const int* from = x + 32 * r;
      shim::later([&stage, from] {
        std::memcpy(stage.data, from, sizeof(stage.data));
        mbarrier::complete_tx(&stage.full, sizeof(stage.data));
      });
    } else {
      mbarrier::wait(&stage.full, phase);
      y[32 * r + t] = stage.data[31 - t];
      mbarrier::arrive(&stage.empty);
    }
  }
}

__global__ void groups(int* y) {
  const int t = threadIdx.x;
  const int* all = shim::group_exchange("sum of the group", 10 * (t / 128) + t % 128);
  int sum = 0;
  for (int i = 0; i < 128; ++i) sum += all[i];
  y[t] = sum;
}

__global__ void asynchronous(const int* x, int* y) {
  DELTARULE_SHARED(int, tile);
  const int t = threadIdx.x;
  for (int g = 0; g < 2; ++g) {
    shim::add(shim::Queue::copy, [=] { tile[32 * g + t] = x[32 * g + t]; });
    shim::commit(shim::Queue::copy);
  }
  y[t] = tile[t];
  shim::wait(shim::Queue::copy, 1);
  y[32 + t] = tile[t];
  y[64 + t] = tile[32 + t];
  shim::wait(shim::Queue::copy, 0);
  y[96 + t] = tile[32 + t];
}

// Every block of a cluster writes into its right neighbour's shared memory.
__global__ void clusters(int* y) {
  DELTARULE_SHARED(int, slot);
  const unsigned rank = shim::cluster_rank(), size = shim::cluster_size();
  const uint32_t there = shim::map_shared(static_cast<uint32_t>(__cvta_generic_to_shared(slot)), (rank + 1) % size);
  if (threadIdx.x == 0) *reinterpret_cast<int*>(shim::shared_pointer(there)) = static_cast<int>(blockIdx.x);
  shim::cluster_arrive();
  shim::cluster_wait();
  if (threadIdx.x == 0) y[blockIdx.x] = *slot;
  shim::cluster_arrive();
  shim::cluster_wait();
}

__global__ void add_one(int* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += 1;
}

__global__ void write_at(int* x, int i) { x[i] = 7; }

__global__ void half_a_barrier() {
  if (threadIdx.x < 32) barrier_sync(1, 64);
}

__global__ void spin_forever(int* x) {
  while (*static_cast<volatile int*>(x) != 12345) relax();
}

__global__ void shuffle_with_the_gone() {
  if (threadIdx.x == 3) return;
  __syncthreads();
  __shfl_sync(kFull, 1, 0);
}

__global__ void beyond_shared(int n) {
  DELTARULE_SHARED(char, bytes);
  bytes[n] = 1;
}

__global__ void multiply(const __grid_constant__ float4 factor, double* y) { *y *= factor.x; }

// --- Checks

std::vector<int> count_up(int n) {
  std::vector<int> values(n);
  for (int i = 0; i < n; ++i) values[i] = i;
  return values;
}

void check_blocks() {
  Buffer<int> x(count_up(2048)), y(2048);
  OK(launch(nullptr, 2, 1024, 4096, reverse, x.data, y.data));
  OK(cudaDeviceSynchronize());
  const auto back = y.get();
  for (int i = 0; i < 2048; ++i) EXPECT(back[i] == i / 1024 * 1024 + 1023 - i % 1024);

  bool wrong = false;
  OK(launch(nullptr, 2, 1024, 4096, reverse_without_barrier, x.data, y.data));
  const auto without = y.get();
  for (int i = 0; i < 2048; ++i) wrong = wrong || without[i] != back[i];
  EXPECT(wrong);

  OK(launch(nullptr, 2, 1000, 4000, rotate, y.data, 50));
  const auto turned = y.get();
  for (int i = 0; i < 2000; ++i) EXPECT(turned[i] == (i % 1000 + 50) % 1000);

  Buffer<unsigned> where(12 * 60);
  OK(launch(nullptr, dim3(2, 3, 2), dim3(5, 4, 3), 0, places, where.data));
  const auto numbers = where.get();
  for (unsigned i = 0; i < 12 * 60; ++i) EXPECT(numbers[i] == i / 60 * 1000 + i % 60);
}

void check_warps() {
  Buffer<int> y(320);
  Buffer<double> z(32);
  OK(launch(nullptr, 1, 32, 0, shuffles, y.data, z.data));
  const auto v = y.get();
  const auto sums = z.get();
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT(v[lane] == 105);
    EXPECT(v[32 + lane] == 100 + lane / 8 * 8 + 1);
    EXPECT(v[64 + lane] == 100 + (lane % 16 < 3 ? lane : lane - 3));
    EXPECT(v[96 + lane] == 100 + (lane % 16 > 12 ? lane : lane + 3));
    EXPECT(v[128 + lane] == 100 + (lane ^ 16));
    EXPECT(sums[lane] == 512.0);
    EXPECT(static_cast<unsigned>(v[160 + lane]) == 0x49249249u);
    EXPECT(v[192 + lane] == 496);
    EXPECT(v[224 + lane] == 5);
    EXPECT(static_cast<unsigned>(v[256 + lane]) == 0xFFu << (lane / 8 * 8));
    EXPECT(v[288 + lane] == (lane < 16 ? 15 : 18));
  }
}

void check_leaving_and_votes() {
  Buffer<int> y(std::vector<int>(80, -1));
  OK(launch(nullptr, 1, 40, 160, leavers, y.data));
  const auto v = y.get();
  for (int t = 0; t < 32; t += 2) {
    EXPECT(v[t] == (t + 8) % 40);
    EXPECT(v[40 + t] == 16);
  }
  Buffer<int> w(128);
  OK(launch(nullptr, 1, 64, 0, votes, w.data));
  const auto u = w.get();
  for (int t = 0; t < 64; ++t) {
    EXPECT(u[t] == 22);
    EXPECT(u[64 + t] == 1);
  }
}

void check_shared_poison() {
  Buffer<float> y(256);
  for (int round = 0; round < 2; ++round) {
    OK(launch(nullptr, 4, 64, 256, poison, y.data));
    for (float v : y.get()) EXPECT(std::isnan(v));
  }
}

void check_together() {
  for (int round = 0; round < 4; ++round) {
    Buffer<unsigned> arrived(1);
    Buffer<float> partial(8), y(8);
    OK(cudaMemset(arrived.data, 0, sizeof(unsigned)));
    OK(launch_cooperative(nullptr, 8, 96, 0, grid_sum, arrived.data, partial.data, y.data));
    for (float v : y.get()) EXPECT(v == 36.0f);
  }
  EXPECT(launch_cooperative(nullptr, 1000, 96, 0, add_one, nullptr, 0) == cudaErrorCooperativeLaunchTooLarge);
  EXPECT(cudaGetLastError() == cudaErrorCooperativeLaunchTooLarge);

  Buffer<int> passed(96 * 7);
  OK(launch(nullptr, 1, 128, 4, producer, passed.data, 7));
  const auto p = passed.get();
  for (int i = 0; i < 96 * 7; ++i) EXPECT(p[i] == 10 * (i / 96) + i % 96 + 32);

  Buffer<int> x(count_up(32 * 9)), y(32 * 9);
  OK(launch(nullptr, 1, 64, 1024, pipeline, x.data, y.data, 9));
  const auto q = y.get();
  for (int i = 0; i < 32 * 9; ++i) EXPECT(q[i] == i / 32 * 32 + 31 - i % 32);

  Buffer<int> sums(256);
  OK(launch(nullptr, 1, 256, 0, groups, sums.data));
  const auto s = sums.get();
  for (int t = 0; t < 256; ++t) EXPECT(s[t] == 127 * 64 + 1280 * (t / 128));

  Buffer<int> copied(128);
  OK(launch(nullptr, 1, 32, 256, asynchronous, x.data, copied.data));
  const auto c = copied.get();
  for (int t = 0; t < 32; ++t) {
    EXPECT(c[t] == -1 && c[32 + t] == t);
    EXPECT(c[64 + t] == -1 && c[96 + t] == 32 + t);
  }

  Buffer<int> ranks(8);
  OK(launch_cluster(nullptr, 8, 64, 4, 64, clusters, ranks.data));
  const auto r = ranks.get();
  for (int b = 0; b < 8; ++b) EXPECT(r[b] == b / 4 * 4 + (b + 3) % 4);
}

void check_launch() {
  Buffer<double> y(std::vector<double>{3.0});
  OK(launch(nullptr, 1, 1, 0, multiply, make_float4(2.0f, 0.0f, 0.0f, 0.0f), y.data));
  EXPECT(y.get()[0] == 6.0);
  EXPECT(launch(nullptr, 0, 1, 0, write_at, nullptr, 0) == cudaErrorInvalidConfiguration);
  EXPECT(launch(nullptr, 1, 1025, 0, write_at, nullptr, 0) == cudaErrorInvalidConfiguration);
  EXPECT(launch(nullptr, 1, 1, 228 * 1024, write_at, nullptr, 0) == cudaErrorInvalidValue);
  EXPECT(cudaPeekAtLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaErrorInvalidValue);
  EXPECT(cudaGetLastError() == cudaSuccess);
  Buffer<float> big(64);
  OK(launch(nullptr, 1, 64, 227 * 1024, poison, big.data));
  OK(cudaDeviceSynchronize());
}

void check_streams() {
  Buffer<int> x(std::vector<int>(4, 0));
  cudaStream_t a, b;
  OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
  OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  OK(launch(a, 1, 4, 0, add_one, x.data, 4));
  EXPECT(x.get()[0] == 0);  // the blocking copy waits for the null stream alone
  OK(cudaStreamSynchronize(b));
  EXPECT(x.get()[0] == 0);
  OK(cudaStreamSynchronize(a));
  EXPECT(x.get()[0] == 1);

  cudaEvent_t event, later;
  OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  OK(cudaEventCreate(&later));
  EXPECT(cudaEventQuery(event) == cudaSuccess);
  OK(launch(a, 1, 4, 0, add_one, x.data, 4));
  OK(cudaEventRecord(event, a));
  OK(launch(a, 1, 4, 0, add_one, x.data, 4));
  OK(cudaStreamWaitEvent(b, event));
  OK(launch(b, 1, 4, 0, add_one, x.data, 4));
  OK(cudaEventRecord(later, b));
  float milliseconds;
  EXPECT(cudaEventElapsedTime(&milliseconds, later, later) == cudaErrorNotReady);
  OK(cudaEventSynchronize(later));
  EXPECT(x.get()[0] == 3);
  OK(cudaEventElapsedTime(&milliseconds, later, later));
  EXPECT(cudaStreamQuery(b) == cudaSuccess && cudaStreamQuery(a) == cudaErrorNotReady);
  EXPECT(cudaStreamQuery(a) == cudaSuccess);
  EXPECT(x.get()[0] == 4);

  // Pageable memory is read at once and written before the call returns; pinned memory when the copy runs.
  int* pinned;
  int host[4] = {10, 10, 10, 10};
  OK(cudaMallocHost(&pinned, sizeof(host)));
  OK(cudaMemcpyAsync(x.data, host, sizeof(host), cudaMemcpyHostToDevice, a));
  host[0] = 99;
  OK(cudaMemcpyAsync(host, x.data, sizeof(host), cudaMemcpyDeviceToHost, a));
  EXPECT(host[0] == 10);
  pinned[0] = 1;
  OK(cudaMemcpyAsync(x.data, pinned, sizeof(host), cudaMemcpyHostToDevice, a));
  pinned[0] = 2;
  OK(cudaMemcpyAsync(pinned + 1, x.data, sizeof(int), cudaMemcpyDeviceToHost, a));
  EXPECT(pinned[1] != 2);
  OK(cudaStreamSynchronize(a));
  EXPECT(pinned[1] == 2);

  // A blocking stream and the null stream keep their order.
  cudaStream_t c;
  OK(cudaStreamCreate(&c));
  OK(cudaMemsetAsync(x.data, 0, sizeof(host), c));
  OK(launch(nullptr, 1, 4, 0, add_one, x.data, 4));
  OK(launch(c, 1, 4, 0, add_one, x.data, 4));
  OK(cudaStreamSynchronize(c));
  EXPECT(x.get()[0] == 2);

  cudaPointerAttributes attributes;
  OK(cudaPointerGetAttributes(&attributes, x.data + 1));
  EXPECT(attributes.type == cudaMemoryTypeDevice && attributes.device == 0);
  OK(cudaPointerGetAttributes(&attributes, pinned + 1));
  EXPECT(attributes.type == cudaMemoryTypeHost);
  OK(cudaPointerGetAttributes(&attributes, host));
  EXPECT(attributes.type == cudaMemoryTypeUnregistered);

  int called = 0;
  OK(cudaLaunchHostFunc(a, [](void* p) { ++*static_cast<int*>(p); }, &called));
  EXPECT(called == 0);
  OK(cudaStreamDestroy(a));
  OK(cudaDeviceSynchronize());
  EXPECT(called == 1);
  EXPECT(launch(a, 1, 4, 0, add_one, x.data, 4) == cudaErrorInvalidResourceHandle);
  EXPECT(cudaMemcpy(x.data, host, 4, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  cudaGetLastError();
  OK(cudaStreamDestroy(b));
  OK(cudaStreamDestroy(c));
  OK(cudaEventDestroy(event));
  OK(cudaEventDestroy(later));
  OK(cudaFreeHost(pinned));
}

void check_graphs() {
  Buffer<int> x(std::vector<int>(4, 0));
  cudaStream_t a, b;
  OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
  OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  cudaEvent_t fork, join;
  OK(cudaEventCreate(&fork));
  OK(cudaEventCreate(&join));
  int* pinned;
  OK(cudaMallocHost(&pinned, 16));
  OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
  OK(cudaMemcpyAsync(x.data, pinned, 16, cudaMemcpyHostToDevice, a));
  OK(cudaEventRecord(fork, a));
  OK(cudaStreamWaitEvent(b, fork));
  OK(launch(b, 1, 4, 0, add_one, x.data, 4));
  OK(cudaEventRecord(join, b));
  OK(cudaStreamWaitEvent(a, join));
  OK(launch(a, 1, 2, 0, add_one, x.data, 4));
  cudaStreamCaptureStatus status;
  OK(cudaStreamIsCapturing(b, &status));
  EXPECT(status == cudaStreamCaptureStatusActive);
  cudaGraph_t graph;
  OK(cudaStreamEndCapture(a, &graph));
  OK(cudaStreamIsCapturing(b, &status));
  EXPECT(status == cudaStreamCaptureStatusNone);
  size_t nodes = 0;
  OK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT(nodes == 3);
  cudaGraphExec_t exec;
  OK(cudaGraphInstantiate(&exec, graph));
  OK(cudaGraphDestroy(graph));
  OK(cudaDeviceSynchronize());
  EXPECT(x.get()[0] == 0);  // capturing ran nothing
  for (int round = 1; round < 4; ++round) {
    for (int i = 0; i < 4; ++i) pinned[i] = 100 * round;
    OK(cudaGraphLaunch(exec, a));
    EXPECT(x.get()[0] != 100 * round + 2);
    OK(cudaStreamSynchronize(a));
    const auto v = x.get();
    EXPECT(v[0] == 100 * round + 2 && v[3] == 100 * round + 1);
  }
  OK(cudaGraphExecDestroy(exec));

  // What may not happen during a capture.
  OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
  void* p;
  EXPECT(cudaMalloc(&p, 16) == cudaErrorStreamCaptureUnsupported);
  OK(cudaStreamIsCapturing(a, &status));
  EXPECT(status == cudaStreamCaptureStatusInvalidated);
  EXPECT(launch(a, 1, 4, 0, add_one, x.data, 4) == cudaErrorStreamCaptureInvalidated);
  EXPECT(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr);
  OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed));
  EXPECT(cudaStreamSynchronize(a) == cudaErrorStreamCaptureUnsupported);
  EXPECT(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated);
  OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed));
  OK(cudaEventRecord(fork, a));
  OK(cudaStreamWaitEvent(b, fork));
  OK(launch(b, 1, 4, 0, add_one, x.data, 4));
  EXPECT(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureUnjoined);
  cudaGetLastError();
  OK(cudaStreamDestroy(a));
  OK(cudaStreamDestroy(b));
  OK(cudaEventDestroy(fork));
  OK(cudaEventDestroy(join));
  OK(cudaFreeHost(pinned));
}

void check_memory() {
  size_t available, total, before;
  OK(cudaMemGetInfo(&before, &total));
  EXPECT(total == size_t{64} << 20);
  void* p = nullptr;
  EXPECT(cudaMalloc(&p, total + 1) == cudaErrorMemoryAllocation && p == nullptr);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  std::vector<void*> blocks;
  for (int i = 0; i < 63; ++i) {
    OK(cudaMalloc(&p, size_t{1} << 20));
    EXPECT(reinterpret_cast<uintptr_t>(p) % 256 == 0);
    blocks.push_back(p);
  }
  EXPECT(cudaMalloc(&p, size_t{2} << 20) == cudaErrorMemoryAllocation);
  cudaGetLastError();
  for (size_t i = 0; i < blocks.size(); i += 2) OK(cudaFree(blocks[i]));
  for (size_t i = 1; i < blocks.size(); i += 2) OK(cudaFree(blocks[i]));
  OK(cudaMemGetInfo(&available, &total));
  EXPECT(available == before);
  OK(cudaMalloc(&p, size_t{60} << 20));  // the holes have grown together
  OK(cudaFree(p));
  {
    Buffer<float> fresh(100);
    for (float v : fresh.get()) EXPECT(std::isnan(v));
  }
  OK(cudaMallocAsync(&p, 64, nullptr));
  OK(cudaFreeAsync(p, nullptr));
  OK(cudaDeviceSynchronize());
  OK(cudaMemGetInfo(&available, &total));
  EXPECT(available == before);
}

void check_devices() {
  int count = 0, value = 0;
  OK(cudaGetDeviceCount(&count));
  EXPECT(count == 2);
  cudaDeviceProp properties;
  OK(cudaGetDeviceProperties(&properties, 1));
  EXPECT(properties.major == 9 && properties.minor == 0 && properties.multiProcessorCount == 4);
  EXPECT(properties.warpSize == warpSize && properties.sharedMemPerBlockOptin == 227 * 1024);
  OK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  EXPECT(value == 227 * 1024);
  EXPECT(cudaSetDevice(2) == cudaErrorInvalidDevice);
  EXPECT(std::strcmp(cudaGetErrorName(cudaGetLastError()), "cudaErrorInvalidDevice") == 0);
  OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, add_one, 512, 0));
  EXPECT(value == 4);

  Buffer<int> x(count_up(16));
  OK(cudaSetDevice(1));
  {
    Buffer<int> y(16);
    OK(cudaMemcpyPeerAsync(y.data, 1, x.data, 0, 64));
    OK(cudaDeviceSynchronize());
    EXPECT(y.get()[5] == 5);
    // Memory of another GPU is out of a kernel's reach.
    expect_end(
        "write_at(int*, int), block (0,0,0), thread (0,0,0): fault at address",
        [&] {
          launch(nullptr, 1, 1, 0, write_at, x.data, 0);
          cudaDeviceSynchronize();
        },
        SIGSEGV);
  }
  OK(cudaSetDevice(0));
}

void check_threads() {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      cudaStream_t stream;
      OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      Buffer<int> x(std::vector<int>(64, 0));
      for (int i = 0; i < 50; ++i) {
        OK(launch(stream, 2, 32, 0, add_one, x.data, 64));
        if (i % 5 == 0) OK(cudaStreamSynchronize(stream));
      }
      OK(cudaStreamSynchronize(stream));
      EXPECT(x.get()[63] == 50);
      OK(cudaStreamDestroy(stream));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void check_errors() {
  Buffer<int> x(std::vector<int>(4, 0));
  EXPECT(signal_of([&] { std::printf("%d\n", *const_cast<volatile int*>(x.data)); }) == SIGSEGV);
  EXPECT(signal_of([&] { x.data[0] = 1; }) == SIGSEGV);
  expect_end("out of bounds, at byte 16 of the 16", [&] {
    launch(nullptr, 1, 1, 0, write_at, x.data, 4);
    cudaDeviceSynchronize();
  });
  expect_end("out of bounds, at byte -4 of the 16", [&] {
    launch(nullptr, 1, 1, 0, write_at, x.data, -1);
    cudaFree(x.data);
  });
  expect_end("write_at", [&] {
    launch(nullptr, 1, 1, 0, write_at, x.data, 4);
    cudaDeviceSynchronize();
  });
  expect_end("not within the allocation", [&] { cudaMemset(x.data, 0, 17); });
  expect_end("was freed before", [&] {
    int* p;
    cudaMalloc(&p, 64);
    cudaFree(p);
    cudaFree(p);
  });
  expect_end("after it was freed", [&] {
    int* p;
    cudaMalloc(&p, 64);
    cudaFree(p);
    launch(nullptr, 1, 1, 0, write_at, p, 0);
    cudaDeviceSynchronize();
    cudaMalloc(&p, 64);
  });
  expect_end("deadlock: of the threads that run together 32 in barrier 1; 32 have returned", [&] {
    launch(nullptr, 1, 64, 0, half_a_barrier);
    cudaDeviceSynchronize();
  });
  expect_end("holds lanes that have returned (00000008)", [&] {
    launch(nullptr, 1, 32, 0, shuffle_with_the_gone);
    cudaDeviceSynchronize();
  });
  expect_end("shared memory was written 0 bytes behind the 64 of the block", [&] {
    launch(nullptr, 1, 1, 64, beyond_shared, 64);
    cudaDeviceSynchronize();
  });
  expect_end("no progress", [&] {
    setenv("DELTARULE_EMULATED_PATIENCE", "0.2", 1);
    launch(nullptr, 1, 1, 0, spin_forever, x.data);
    cudaDeviceSynchronize();
  });

  shim::fail_next_launch(cudaErrorIllegalAddress);
  OK(launch(nullptr, 1, 4, 0, add_one, x.data, 4));
  OK(cudaGetLastError());
  EXPECT(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  void* p;
  EXPECT(cudaMalloc(&p, 4) == cudaErrorIllegalAddress);
  EXPECT(launch(nullptr, 1, 4, 0, add_one, x.data, 4) == cudaErrorIllegalAddress);
  OK(cudaDeviceReset());
  OK(cudaMalloc(&x.data, 4));
}

// The value of the 16-bit float type with `digits` binary digits next to x, by double arithmetic.
double nearest(double x, int digits, int smallest, double largest) {
  if (x == 0.0 || std::isinf(x)) return x;
  int exponent;
  std::frexp(x, &exponent);
  const double step = std::ldexp(1.0, std::max(exponent, smallest) - digits);
  const double rounded = std::nearbyint(x / step) * step;
  return std::fabs(rounded) > largest ? std::copysign(HUGE_VAL, x) : rounded;
}

void check_small_floats() {
  std::mt19937_64 random(1);
  for (uint32_t i = 0; i < 65536; ++i) {
    const float b = __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(i)));
    const float h = __half2float(__ushort_as_half(static_cast<unsigned short>(i)));
    EXPECT(std::isnan(b) ? __bfloat16_as_ushort(b) == 0x7FFF : __bfloat16_as_ushort(b) == i);
    EXPECT(std::isnan(h) ? __half_as_ushort(h) == 0x7FFF : __half_as_ushort(h) == i);
  }
  const double bfloat16_max = std::ldexp(255.0, 120), float16_max = 65504.0;
  for (int i = 0; i < 2000000; ++i) {
    // Random digits, many of them on or next to a tie.
    uint32_t bits = static_cast<uint32_t>(random());
    if (i % 4 == 1) bits = (bits & 0xFFFF0000) | 0x8000;
    if (i % 4 == 2) bits = (bits & 0xFFFFE000) | 0x1000;
    if (i % 4 == 3) bits = (bits & 0x807FFFFF) | static_cast<uint32_t>(90 + random() % 60) << 23;
    const float x = __uint_as_float(bits);
    if (std::isnan(x)) continue;
    EXPECT(__bfloat162float(__float2bfloat16_rn(x)) == nearest(x, 8, -125, bfloat16_max));
    EXPECT(__half2float(__float2half_rn(x)) == nearest(x, 11, -13, float16_max));
    const double y = x * (1.0 + (static_cast<double>(random() % 3) - 1.0) * 0x1p-40);
    EXPECT(__bfloat162float(__double2bfloat16(y)) == nearest(y, 8, -125, bfloat16_max));
  }
  EXPECT(std::signbit(__bfloat162float(__float2bfloat16_rn(-0.0f))));
  EXPECT(__bfloat16_as_ushort(__float2bfloat16_rn(std::numeric_limits<float>::quiet_NaN())) == 0x7FFF);
}

void check_intrinsics() {
  EXPECT(__brev(1u) == 0x80000000u && __clz(1) == 31 && __clz(0) == 32 && __clzll(1) == 63 && __ffs(8) == 4);
  EXPECT(__umulhi(0x80000000u, 6u) == 3u && __popc(0xF0F0u) == 8 &&
         __byte_perm(0x33221100, 0x77665544, 0x7140) == 0x77114400u);
  EXPECT(__fmaf_rn(0x1.000002p0f, 0x1.000002p0f, -0x1.000004p0f) == 0x1p-46f);
  EXPECT(__double2hiint(-2.0) == static_cast<int>(0xC0000000u) && __hiloint2double(0x40080000, 0) == 3.0);
  CUtensorMap map;
  alignas(16) static float tensor[64];
  const cuuint64_t size[] = {8, 8}, strides[] = {32};
  const cuuint32_t box[] = {8, 4}, ones[] = {1, 1};
  const auto encode = [&](float* address) {
    return cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, address, size, strides, box, ones,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  EXPECT(encode(tensor) == CUDA_SUCCESS && encode(tensor + 1) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(shim::read_map(&map).box[1] == 4 && shim::read_map(&map).stride[1] == 32);
}

}  // namespace

int main() {
  setenv("DELTARULE_EMULATED_GPUS", "2", 1);
  setenv("DELTARULE_EMULATED_MEMORY", "67108864", 1);
  check_devices();
  check_blocks();
  check_warps();
  check_leaving_and_votes();
  check_shared_poison();
  check_together();
  check_launch();
  check_streams();
  check_graphs();
  check_memory();
  check_threads();
  check_small_floats();
  check_intrinsics();
  check_errors();
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
