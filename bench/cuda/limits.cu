// What the design of the GPU kernels assumes of a card and nobody has published, measured: barriers of the whole grid,
// L2 against bytes in flight, how tensor cores add up, what a node of a graph costs.
//
//   nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a bench/cuda/limits.cu -o limits && ./limits
//
// A line each: what, value, unit. Times are the best of several launches, by events.
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define CHECK(call)                                                                                    \
  do {                                                                                                 \
    const cudaError_t status_ = (call);                                                                \
    if (status_ != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_)); \
      std::exit(1);                                                                                    \
    }                                                                                                  \
  } while (0)

namespace {

namespace cg = cooperative_groups;

cudaDeviceProp card;
cudaStream_t stream;

void print(const std::string& what, double value, const char* unit) {
  std::printf("%-68s %12.6g %s\n", what.c_str(), value, unit);
  std::fflush(stdout);
}

// Seconds of the fastest of so many runs.
double best_of(int runs, const std::function<void()>& queue) {
  cudaEvent_t first, last;
  CHECK(cudaEventCreate(&first));
  CHECK(cudaEventCreate(&last));
  float best = 1e30f;
  for (int run = 0; run <= runs; ++run) {
    CHECK(cudaEventRecord(first, stream));
    queue();
    CHECK(cudaEventRecord(last, stream));
    CHECK(cudaEventSynchronize(last));
    float milliseconds = 0.0f;
    CHECK(cudaEventElapsedTime(&milliseconds, first, last));
    if (run > 0) best = std::min(best, milliseconds);  // the first one warms up
  }
  CHECK(cudaEventDestroy(first));
  CHECK(cudaEventDestroy(last));
  return best * 1e-3;
}

// 1. A barrier of the whole grid.

__device__ unsigned load_acquire(const unsigned* at) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}
__device__ void store_release(unsigned* at, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(value) : "memory");
}

__global__ void grid_sync(int rounds) {
  const cg::grid_group grid = cg::this_grid();
  for (int i = 0; i < rounds; ++i) grid.sync();
}

// One counter that every block adds to.
__global__ void counter_barrier(int rounds, unsigned* counter) {
  for (int i = 0; i < rounds; ++i) {
    __syncthreads();
    if (threadIdx.x == 0) {
      const unsigned wanted = gridDim.x * static_cast<unsigned>(i + 1);
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
      while (load_acquire(counter) < wanted) {
      }
    }
    __syncthreads();
  }
}

// A flag for every block, 32 bytes apart; each block looks at all of them, a thread at each.
__global__ void flag_barrier(int rounds, unsigned* flags) {
  for (int i = 0; i < rounds; ++i) {
    __syncthreads();
    if (threadIdx.x == 0) store_release(flags + 8 * blockIdx.x, static_cast<unsigned>(i + 1));
    for (unsigned other = threadIdx.x; other < gridDim.x; other += blockDim.x)
      while (load_acquire(flags + 8 * other) < static_cast<unsigned>(i + 1)) {
      }
    __syncthreads();
  }
}

// The flag is the upper half of a word whose lower half is data: what a consumer waits for is what it needs. A side may
// be written again two rounds later: who is there has seen that everybody has read it.
__global__ void data_exchange(int rounds, unsigned long long* words) {
  unsigned sum = 0;
  for (int i = 0; i < rounds; ++i) {
    unsigned long long* const side = words + (i & 1) * gridDim.x;
    const auto flag = static_cast<unsigned>(i + 1);
    if (threadIdx.x == 0) {
      const unsigned long long mine = (static_cast<unsigned long long>(flag) << 32) | (sum + 1);
      asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(side + blockIdx.x), "l"(mine) : "memory");
    }
    for (unsigned other = threadIdx.x; other < gridDim.x; other += blockDim.x) {
      unsigned long long seen;
      do {
        asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(seen) : "l"(side + other) : "memory");
      } while (seen >> 32 != flag);
      sum += static_cast<unsigned>(seen);
    }
    __syncthreads();
  }
  if (sum == 0xffffffffu) words[0] = sum;
}

void barriers() {
  constexpr int kRounds = 2000;
  unsigned* memory;
  CHECK(cudaMalloc(&memory, 1 << 20));
  for (const int threads : {256, 512}) {
    const dim3 grid(static_cast<unsigned>(card.multiProcessorCount)), block(static_cast<unsigned>(threads));
    const auto time = [&](const char* what, const void* kernel, void* pointer) {
      int rounds = kRounds;
      void* arguments[] = {&rounds, &pointer};
      const double seconds = best_of(5, [&] {
        CHECK(cudaMemsetAsync(memory, 0, 1 << 20, stream));
        CHECK(cudaLaunchCooperativeKernel(kernel, grid, block, arguments, 0, stream));
      });
      print(std::string(what) + ", " + std::to_string(grid.x) + " blocks of " + std::to_string(threads),
            seconds / kRounds * 1e6, "us");
    };
    time("barrier: grid.sync", reinterpret_cast<const void*>(grid_sync), nullptr);
    time("barrier: one counter", reinterpret_cast<const void*>(counter_barrier), memory);
    time("barrier: a flag for each block", reinterpret_cast<const void*>(flag_barrier), memory);
    time("exchange: flag and word in one store", reinterpret_cast<const void*>(data_exchange), memory);
  }
  CHECK(cudaFree(memory));
}

// 2. L2: a set of 48 MB read again and again, with so many 16-byte loads in flight per thread.

template <int Loads> __global__ void read_set(const uint4* __restrict__ data, int64_t count, int rounds, uint4* out) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  uint4 sum = make_uint4(0, 0, 0, 0);
  for (int round = 0; round < rounds; ++round) {
    for (int64_t i = first; i + (Loads - 1) * threads < count; i += Loads * threads) {
      uint4 seen[Loads];
#pragma unroll
      for (int k = 0; k < Loads; ++k) seen[k] = __ldcg(data + i + k * threads);
#pragma unroll
      for (int k = 0; k < Loads; ++k) sum.x ^= seen[k].x, sum.y ^= seen[k].y, sum.z ^= seen[k].z, sum.w ^= seen[k].w;
    }
  }
  if ((sum.x & sum.y & sum.z & sum.w) == 0x12345678u) *out = sum;
}

template <int Loads> void read_with(const uint4* data, int64_t bytes, int rounds, uint4* out) {
  for (const int threads : {256, 512, 1024, 2048}) {  // of a multiprocessor
    const int block = std::min(threads, 512);
    const auto blocks = static_cast<unsigned>(card.multiProcessorCount * (threads / block));
    const int64_t count = bytes / 16;
    const int64_t covered = count / (Loads * static_cast<int64_t>(blocks) * block) * Loads * blocks * block;
    const double seconds = best_of(3, [&] {
      read_set<Loads><<<blocks, block, 0, stream>>>(data, count, rounds, out);
      CHECK(cudaGetLastError());
    });
    print("read " + std::to_string(bytes >> 20) +
              " MiB again and again, KiB in flight of a multiprocessor: " + std::to_string(threads * Loads * 16 / 1024),
          static_cast<double>(covered) * 16 * rounds / seconds / 1e9, "GB/s");
  }
}

void caches() {
  uint4 *data, *out;
  constexpr int64_t kMost = int64_t{1} << 30;
  CHECK(cudaMalloc(&data, kMost));
  CHECK(cudaMalloc(&out, 64));
  CHECK(cudaMemset(data, 0x5a, kMost));
  for (const int64_t mebibytes : {16, 24, 32, 48, 1024}) {
    const int64_t bytes = mebibytes << 20;
    const int rounds = mebibytes == 1024 ? 1 : 20;
    read_with<4>(data, bytes, rounds, out);
    if (mebibytes == 48) {
      read_with<1>(data, bytes, rounds, out);
      read_with<2>(data, bytes, rounds, out);
      read_with<8>(data, bytes, rounds, out);
    }
  }
  CHECK(cudaFree(data));
  CHECK(cudaFree(out));
}

// 3. How tensor cores add up. All elements of A are p and all of B are 1, so every sum is c + K p whatever lies where.

struct Fragment {
  float c;        // what is added to
  uint32_t pair;  // two times p as bf16
  uint32_t tf32;  // p
};

__global__ void mma_bf16(Fragment in, float* out) {
  float d[4];
  const uint32_t one = 0x3f803f80u;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%6,%6,%6,%6};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(in.pair), "r"(one), "f"(in.c));
  out[threadIdx.x] = d[0];
}

__global__ void mma_tf32(Fragment in, float* out) {
  float d[4];
  const uint32_t one = 0x3f800000u;
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%6,%6,%6,%6};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(in.tf32), "r"(one), "f"(in.c));
  out[threadIdx.x] = d[0];
}

__global__ void __launch_bounds__(128) wgmma_bf16(Fragment in, float* out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __shared__ alignas(128) uint32_t ones[256];  // B: 16 x 8 of bf16, and room around it
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 128) ones[i] = 0x3f803f80u;
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const auto address = static_cast<uint64_t>(__cvta_generic_to_shared(ones));
  // Without swizzling; core matrices 128 bytes apart either way.
  const uint64_t descriptor = ((address & 0x3ffff) >> 4) | (uint64_t{8} << 16) | (uint64_t{8} << 32);
  float d[4] = {in.c, in.c, in.c, in.c};
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, {%4,%4,%4,%4}, %5, 1, 1, 1, 0;"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(in.pair), "l"(descriptor));
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" : "+f"(d[0])::"memory");
  out[threadIdx.x] = d[0];
#else
  out[threadIdx.x] = in.c != in.c ? 0.0f : NAN;
#endif
}

using Kernel = void (*)(Fragment, float*);

// c + K p as the unit has it.
double summed(Kernel kernel, int threads, double c, double p, float* out) {
  const auto single = static_cast<float>(p);
  Fragment in{};
  in.c = static_cast<float>(c);
  std::memcpy(&in.tf32, &single, 4);
  in.pair = (in.tf32 >> 16) * 0x10001u;  // p has at most 8 bits
  kernel<<<1, threads, 0, stream>>>(in, out);
  CHECK(cudaGetLastError());
  std::vector<float> got(static_cast<size_t>(threads));
  CHECK(cudaMemcpyAsync(got.data(), out, got.size() * 4, cudaMemcpyDeviceToHost, stream));
  CHECK(cudaStreamSynchronize(stream));
  for (const float value : got)
    if (std::memcmp(&value, &got[0], 4) != 0) {
      std::printf("the elements of one result differ: %g, %g\n", got[0], value);
      break;
    }
  return got[0];
}

void accumulation() {
  struct Unit {
    const char* name;
    Kernel kernel;
    int threads, k;
  };
  std::vector<Unit> units = {{"mma.sync tf32", mma_tf32, 32, 8}, {"mma.sync bf16", mma_bf16, 32, 16}};
  if (card.major == 9) units.push_back({"wgmma bf16", wgmma_bf16, 128, 16});
  float* out;
  CHECK(cudaMalloc(&out, 4096));
  const double ulp = std::ldexp(1.0, -23);
  for (const Unit& unit : units) {
    const std::string name = unit.name;
    // Exact: 1 + 0.75 ulp rounds to 1 + ulp and truncates to 1; 1 - 0.125 ulp rounds to 1 and truncates to 1 - ulp / 2.
    print(name + ": 1 + 0.75 ulp is 1 + ... ulp (1: rounds, 0: truncates)",
          (summed(unit.kernel, unit.threads, 1.0, 0.75 * ulp / unit.k, out) - 1.0) / ulp, "ulp");
    print(name + ": 1 - 0.125 ulp is 1 + ... ulp (0: rounds, -0.5: truncates)",
          (summed(unit.kernel, unit.threads, 1.0, -0.125 * ulp / unit.k, out) - 1.0) / ulp, "ulp");
    // Each product is 2^-e ulp of c and all together are 1 or more: bits below c's last that are kept.
    for (int e = 0; e <= 5; ++e)
      print(name + ": 1 + " + std::to_string(unit.k) + " products of 2^-" + std::to_string(e) + " ulp is 1 + ... of " +
                std::to_string(std::ldexp(unit.k, -e)),
            (summed(unit.kernel, unit.threads, 1.0, std::ldexp(ulp, -e), out) - 1.0) / ulp, "ulp");
    // What 256 such steps of 0.7 times the last c's unit make of a sum: the drift of truncation.
    double exact = 1.0, got = 1.0;
    const double p = 0.703125 * std::ldexp(1.0, -10) / unit.k;  // 8 bits
    for (int step = 0; step < 256; ++step) {
      got = summed(unit.kernel, unit.threads, got, p, out);
      exact += unit.k * p;
    }
    print(name + ": relative error of 256 sums one after the other (2^-24 is 6e-8)", (got - exact) / exact, "");
  }
  CHECK(cudaFree(out));
}

// 4. What a node of a graph costs.

__global__ void nothing() {}
__global__ void touch(float* x) {
  if (threadIdx.x == 0) x[blockIdx.x] += 1.0f;
}

void graphs() {
  constexpr int kNodes = 1000;
  float* x;
  CHECK(cudaMalloc(&x, 4096));
  CHECK(cudaMemset(x, 0, 4096));
  const auto blocks = static_cast<unsigned>(card.multiProcessorCount);
  const auto time = [&](const char* what, const std::function<void()>& launch) {
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int node = 0; node < kNodes; ++node) launch();
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&ready, graph, 0));
    print(std::string("graph, a node: ") + what,
          best_of(5, [&] { CHECK(cudaGraphLaunch(ready, stream)); }) / kNodes * 1e6, "us");
    print(std::string("stream, a launch: ") + what,
          best_of(5,
                  [&] {
                    for (int node = 0; node < kNodes; ++node) launch();
                  }) /
              kNodes * 1e6,
          "us");
    CHECK(cudaGraphExecDestroy(ready));
    CHECK(cudaGraphDestroy(graph));
  };
  time("an empty kernel of 1 block", [&] { nothing<<<1, 32, 0, stream>>>(); });
  time("an empty kernel of as many blocks as multiprocessors", [&] { nothing<<<blocks, 256, 0, stream>>>(); });
  time("a kernel that reads and writes a word a block", [&] { touch<<<blocks, 256, 0, stream>>>(x); });
  CHECK(cudaGetLastError());
  CHECK(cudaFree(x));
}

}  // namespace

int main(int count, char** names) {
  CHECK(cudaSetDevice(0));
  CHECK(cudaGetDeviceProperties(&card, 0));
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::printf("%s, compute capability %d.%d, %d multiprocessors, L2 %d MiB\n", card.name, card.major, card.minor,
              card.multiProcessorCount, card.l2CacheSize >> 20);
  const auto wanted = [&](const char* part) {
    return count == 1 || std::find_if(names + 1, names + count,
                                      [&](const char* name) { return std::strcmp(name, part) == 0; }) != names + count;
  };
  if (wanted("graphs")) graphs();
  if (wanted("accumulation")) accumulation();
  if (wanted("caches")) caches();
  if (wanted("barriers")) barriers();  // last: a barrier that hangs takes nothing with it
  return 0;
}
