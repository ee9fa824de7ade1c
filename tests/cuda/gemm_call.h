// A matrix product on NumPy's arrays, for tests/tensor_cores.py: kernels called directly, whether they pay or not, on
// the emulated GPU or, compiled by nvcc, on a real one. Included by one file of each library.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/context.h"
#include "kernels.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace deltarule::cuda {

Context& here() noexcept {
  static Context context = [] {
    Context c{};
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) std::abort();
    c.major = properties.major;
    c.minor = properties.minor;
    c.multiprocessors = properties.multiProcessorCount;
    if (cudaStreamCreateWithFlags(&c.stream, cudaStreamNonBlocking) != cudaSuccess) std::abort();
    return c;
  }();
  return context;
}

static void* scratch_memory = nullptr;
static int64_t scratch_bytes = 0;

void* scratch(int64_t bytes) noexcept {
  if (bytes > scratch_bytes) {
    if (cudaStreamSynchronize(here().stream) != cudaSuccess || cudaFree(scratch_memory) != cudaSuccess ||
        cudaMalloc(&scratch_memory, static_cast<size_t>(bytes)) != cudaSuccess)
      std::abort();
    scratch_bytes = bytes;
  }
  return scratch_memory;
}

static char error[256];

void report(cudaError_t status, const char* kernel, const char* file, int line) noexcept {
  if (status != cudaSuccess && error[0] == 0)
    std::snprintf(error, sizeof error, "%s, %s:%d: %s", kernel, file, line, cudaGetErrorString(status));
}

// A whole array of the host, which operands are parts of.
struct Memory {
  void* host;
  int64_t bytes;
};

struct Call {
  int32_t precision, trans_a, trans_b, epilogue, activation, nesterov;
  int32_t tile, splits;     // tile as the kernel counts it, -1: as planned, if it pays
  int32_t multiprocessors;  // 0: all
  int32_t has_state, stopped;
  int64_t M, N, K, lda, ldb, ldc, ldz, ldy;
  double alpha, beta, slope, lr, momentum, weight_decay, state_lr;
  void *a, *b, *c, *bias, *z, *y, *db, *velocity;
};

inline GemmArgs sizes_and_settings(const Call& call) {
  GemmArgs args;
  args.precision = static_cast<Precision>(call.precision);
  args.trans_a = call.trans_a != 0;
  args.trans_b = call.trans_b != 0;
  args.M = call.M;
  args.N = call.N;
  args.K = call.K;
  args.alpha = call.alpha;
  args.beta = call.beta;
  args.lda = call.lda;
  args.ldb = call.ldb;
  args.ldc = call.ldc;
  args.epilogue = static_cast<Epilogue>(call.epilogue);
  args.activation = static_cast<Activation>(call.activation);
  args.slope = call.slope;
  args.ldz = call.ldz;
  args.ldy = call.ldy;
  args.lr = call.lr;
  args.momentum = call.momentum;
  args.weight_decay = call.weight_decay;
  args.nesterov = call.nesterov != 0;
  return args;
}

// Copies there, multiply(args) (false: not taken), copies back. Null: done; else what went wrong.
template <class Multiply>
const char* run_call(const Call& call, const Memory* memory, int count, const Multiply& multiply) {
  bool fine = true;
  const auto ok = [&](cudaError_t status) { fine = fine && status == cudaSuccess; };
  std::vector<char*> device(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    void* there = nullptr;
    ok(cudaMalloc(&there, static_cast<size_t>(memory[i].bytes)));
    ok(cudaMemcpy(there, memory[i].host, static_cast<size_t>(memory[i].bytes), cudaMemcpyHostToDevice));
    device[static_cast<size_t>(i)] = static_cast<char*>(there);
  }
  const auto there = [&](void* host) -> void* {
    if (host == nullptr) return nullptr;
    for (int i = 0; i < count; ++i) {
      const int64_t offset = static_cast<char*>(host) - static_cast<char*>(memory[i].host);
      if (offset >= 0 && offset < memory[i].bytes) return device[static_cast<size_t>(i)] + offset;
    }
    std::abort();
  };
  GemmArgs args = sizes_and_settings(call);
  args.A = there(call.a);
  args.B = there(call.b);
  args.C = there(call.c);
  args.bias = there(call.bias);
  args.z = there(call.z);
  args.y = there(call.y);
  args.db = there(call.db);
  args.velocity = there(call.velocity);
  StepState values{};
  values.lr = call.state_lr;
  values.stopped = call.stopped;
  void* state = nullptr;
  if (call.has_state != 0) {
    ok(cudaMalloc(&state, sizeof values));
    ok(cudaMemcpy(state, &values, sizeof values, cudaMemcpyHostToDevice));
    args.state = static_cast<const StepState*>(state);
  }
  Context& context = here();
  const int all = context.multiprocessors;
  if (call.multiprocessors > 0) context.multiprocessors = call.multiprocessors;
  const bool taken = multiply(args);
  context.multiprocessors = all;
  ok(cudaStreamSynchronize(context.stream));
  for (int i = 0; i < count; ++i) {
    char* const from = device[static_cast<size_t>(i)];
    ok(cudaMemcpy(memory[i].host, from, static_cast<size_t>(memory[i].bytes), cudaMemcpyDeviceToHost));
    ok(cudaFree(from));
  }
  ok(cudaFree(state));
  if (error[0] != 0) return error;
  if (!fine) return "a call to the CUDA runtime failed";
  return taken ? nullptr : "declined";
}

}  // namespace deltarule::cuda
