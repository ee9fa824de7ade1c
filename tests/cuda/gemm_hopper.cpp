// gemm_hopper.cu on NumPy's arrays, for tests/test_cuda_gemm_hopper.py: the kernels called directly, whether they pay
// or not, on the emulated GPU or, compiled by nvcc, on a real one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/context.h"
#include "cuda/gemm.h"
#include "cuda/gemm_hopper.h"

using namespace deltarule;

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

}  // namespace deltarule::cuda

// Whole arrays of the host: [pointer, + bytes), which operands are parts of.
struct Memory {
  void* host;
  int64_t bytes;
};

struct Call {
  int32_t precision, trans_a, trans_b, epilogue, activation, nesterov;
  int32_t columns, splits, multiprocessors;  // columns 0: as planned; multiprocessors 0: all
  int64_t M, N, K, lda, ldb, ldc, ldz, ldy;
  double alpha, beta, slope, lr, momentum, weight_decay;
  void *a, *b, *c, *bias, *z, *y, *db, *velocity;
  int32_t has_state, stopped;
  double state_lr;
};

// null: done; else what went wrong.
extern "C" __attribute__((visibility("default"))) const char* hopper_gemm(const Call* call, Memory* memory, int count) {
  using namespace deltarule::cuda;
  std::vector<char*> device(static_cast<size_t>(count));
  const auto there = [&](void* host) -> void* {
    for (int i = 0; i < count; ++i) {
      const int64_t offset = static_cast<char*>(host) - static_cast<char*>(memory[i].host);
      // An operand that ends at the array's end may be empty.
      if (host != nullptr && offset >= 0 && offset < memory[i].bytes) return device[static_cast<size_t>(i)] + offset;
    }
    if (host != nullptr) std::abort();
    return nullptr;
  };
  bool fine = true;
  const auto ok = [&](cudaError_t status) { fine = fine && status == cudaSuccess; };
  for (int i = 0; i < count; ++i) {
    ok(cudaMalloc(reinterpret_cast<void**>(&device[static_cast<size_t>(i)]), static_cast<size_t>(memory[i].bytes)));
    ok(cudaMemcpy(device[static_cast<size_t>(i)], memory[i].host, static_cast<size_t>(memory[i].bytes),
                  cudaMemcpyHostToDevice));
  }
  GemmArgs args;
  args.precision = static_cast<Precision>(call->precision);
  args.trans_a = call->trans_a != 0;
  args.trans_b = call->trans_b != 0;
  args.M = call->M;
  args.N = call->N;
  args.K = call->K;
  args.alpha = call->alpha;
  args.beta = call->beta;
  args.A = there(call->a);
  args.lda = call->lda;
  args.B = there(call->b);
  args.ldb = call->ldb;
  args.C = there(call->c);
  args.ldc = call->ldc;
  args.epilogue = static_cast<Epilogue>(call->epilogue);
  args.activation = static_cast<Activation>(call->activation);
  args.slope = call->slope;
  args.bias = there(call->bias);
  args.z = there(call->z);
  args.y = there(call->y);
  args.ldz = call->ldz;
  args.ldy = call->ldy;
  args.db = there(call->db);
  args.lr = call->lr;
  args.momentum = call->momentum;
  args.weight_decay = call->weight_decay;
  args.velocity = there(call->velocity);
  args.nesterov = call->nesterov != 0;
  StepState* state = nullptr;
  if (call->has_state != 0) {
    StepState values{};
    values.lr = call->state_lr;
    values.stopped = call->stopped;
    ok(cudaMalloc(reinterpret_cast<void**>(&state), sizeof values));
    ok(cudaMemcpy(state, &values, sizeof values, cudaMemcpyHostToDevice));
    args.state = state;
  }
  Context& context = here();
  const int all = context.multiprocessors;
  if (call->multiprocessors > 0) context.multiprocessors = call->multiprocessors;
  bool taken;
  if (call->columns == 0) {
    taken = deltarule::cuda::hopper_gemm(args);
  } else {
    taken = deltarule::cuda::hopper_gemm(args, HopperPlan{call->columns, call->splits, 0});
  }
  context.multiprocessors = all;
  ok(cudaStreamSynchronize(context.stream));
  for (int i = 0; i < count; ++i) {
    ok(cudaMemcpy(memory[i].host, device[static_cast<size_t>(i)], static_cast<size_t>(memory[i].bytes),
                  cudaMemcpyDeviceToHost));
    ok(cudaFree(device[static_cast<size_t>(i)]));
  }
  ok(cudaFree(state));
  if (error[0] != 0) return error;
  if (!fine) return cudaGetErrorString(cudaGetLastError());
  return taken ? nullptr : "declined";
}

// The capability of the GPU times 10; 0 without one.
extern "C" __attribute__((visibility("default"))) int hopper_capability() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return 0;
  return 10 * deltarule::cuda::here().major + deltarule::cuda::here().minor;
}

// Walks through all units: visits[row tile][column tile][block of K] += 1; the order is returned as tiles in `order`.
extern "C" __attribute__((visibility("default"))) void hopper_walk(int64_t M, int64_t N, int64_t K, int columns,
                                                                   int splits, int32_t* visits, int32_t* order) {
  using namespace deltarule::cuda;
  const HopperUnits units = hopper_units(M, N, K, {columns, splits, 0});
  for (int64_t index = 0; index < units.count(); ++index) {
    const HopperUnit unit = hopper_unit(units, index);
    const int64_t tile = static_cast<int64_t>(unit.row_tile) * units.column_tiles + unit.column_tile;
    order[index] = static_cast<int32_t>(tile);
    for (int block = unit.first_block; block < unit.end_block; ++block) ++visits[tile * units.depth_blocks + block];
  }
}

// columns, splits, pays
extern "C" __attribute__((visibility("default"))) void hopper_planned(int64_t M, int64_t N, int64_t K, int planes,
                                                                      int32_t* plan) {
  using namespace deltarule::cuda;
  const HopperPlan made = hopper_plan(M, N, K, planes);
  plan[0] = made.columns;
  plan[1] = made.splits;
  plan[2] = hopper_pays(M, N, K, planes, made);
}
