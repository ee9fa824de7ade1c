// What the CUDA loss does with a StepState, alone and in a graph: prints one line per failure, exits with their number.
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {

// The device layer, as far as a slot needs it.
namespace {
int failures = 0;
bool memory_left = true;
}  // namespace

Context& here() noexcept {
  static Context context{0, nullptr, 9, 0, 132, 227 * 1024, 50 << 20};
  if (context.stream == nullptr) cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking);
  return context;
}

void* scratch(int64_t bytes) noexcept {
  static void* memory = nullptr;
  constexpr int64_t kBytes = 1 << 20;
  if (memory == nullptr) cudaMalloc(&memory, kBytes);
  return memory_left && bytes <= kBytes ? memory : nullptr;
}

void report(cudaError_t status, const char* kernel, const char*, int) noexcept {
  if (status == cudaSuccess) return;
  std::printf("%s: %s\n", kernel, cudaGetErrorName(status));
  ++failures;
}

}  // namespace deltarule::cuda

namespace {

using namespace deltarule;
using cuda::failures;

#define EXPECT(condition)                                                              \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      std::printf("%s:%d: %s, %d rows\n", __FILE_NAME__, __LINE__, #condition, kRows); \
      ++failures;                                                                      \
    }                                                                                  \
  } while (false)

template <class T> struct OnDevice {
  T* data = nullptr;
  size_t n;
  explicit OnDevice(const std::vector<T>& values) : n(values.size()) {
    cudaMalloc(&data, n * sizeof(T));
    set(values);
  }
  ~OnDevice() { cudaFree(data); }
  OnDevice(const OnDevice&) = delete;
  void set(const std::vector<T>& values) {
    cudaStreamSynchronize(cuda::here().stream);
    cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  std::vector<T> get() const {
    std::vector<T> values(n);
    cudaStreamSynchronize(cuda::here().stream);
    cudaMemcpy(values.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }
};

constexpr int kSteps = 4, kCols = 10;

// kRows rows of zeros but for `last`, the last element; all labels 1. Each row's loss is log(10), and wrong.
template <int kRows> struct Minibatch {
  OnDevice<float> y{elements(0.0f)}, dy{elements(-7.0f)}, weights{std::vector<float>(kRows, 0.5f)};
  OnDevice<int64_t> labels{std::vector<int64_t>(kRows, 1)}, errors{{1000}};
  OnDevice<double> value{std::vector<double>(kSteps, -1.0)}, weight{std::vector<double>(kSteps, -1.0)};
  OnDevice<StepState> state{{at(0)}};

  static std::vector<float> elements(float last) {
    std::vector<float> values(kRows * kCols, last == -7.0f ? last : 0.0f);
    values.back() = last;
    return values;
  }
  static StepState at(int64_t slot) {
    StepState state{};
    state.slot = slot;
    return state;
  }
  LossArgs args(bool with_state = true) const {
    return {Loss::softmax_cross_entropy,
            DType::float32,
            kRows,
            kCols,
            y.data,
            labels.data,
            nullptr,
            weights.data,
            1.0,
            true,
            dy.data,
            value.data,
            weight.data,
            errors.data,
            with_state ? state.data : nullptr};
  }
};

const double kLogTen = std::log(10.0);

bool close(double a, double b) { return std::fabs(a - b) < 1e-6 * std::fabs(b); }

template <int kRows> void test_without_state() {
  Minibatch<kRows> batch;
  for (int again = 0; again < 2; ++again) {  // the ticket is ready for the second
    cuda::loss(batch.args(false));
    EXPECT(close(batch.value.get()[0], kLogTen) && batch.value.get()[1] == -1.0);
    EXPECT(batch.weight.get()[0] == 0.5 * kRows && batch.errors.get()[0] == kRows);
    EXPECT(close(batch.dy.get()[0], 0.1 / kRows) && close(batch.dy.get()[1], -0.9 / kRows));
  }
}

template <int kRows> void test_slots_and_errors() {
  Minibatch<kRows> batch;
  for (int64_t slot : {0, 2}) {
    batch.state.set({batch.at(slot)});
    cuda::loss(batch.args());
  }
  const auto value = batch.value.get(), weight = batch.weight.get();
  EXPECT(close(value[0], kLogTen) && value[1] == -1.0 && value[2] == value[0] && value[3] == -1.0);
  EXPECT(weight[0] == 0.5 * kRows && weight[1] == -1.0 && weight[2] == weight[0] && weight[3] == -1.0);
  EXPECT(batch.errors.get()[0] == 1000 + 2 * kRows && batch.state.get()[0].stopped == 0);
}

template <int kRows> void test_a_value_that_is_not_finite_stops() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Minibatch<kRows> batch;
    batch.y.set(batch.elements(bad));
    cuda::loss(batch.args());
    EXPECT(!std::isfinite(batch.value.get()[0]) && batch.weight.get()[0] == 0.5 * kRows);
    EXPECT(batch.errors.get()[0] == 1000 + kRows && batch.state.get()[0].stopped != 0);

    StepState stopped = batch.at(1);
    stopped.stopped = 1;
    batch.state.set({stopped});
    batch.y.set(batch.elements(0.0f));
    batch.dy.set(batch.elements(-7.0f));
    cuda::loss(batch.args());
    EXPECT(batch.value.get()[1] == -1.0 && batch.weight.get()[1] == -1.0 && batch.errors.get()[0] == 1000 + kRows);
    for (const float x : batch.dy.get()) EXPECT(x == -7.0f);

    batch.state.set({batch.at(3)});
    cuda::loss(batch.args());
    EXPECT(close(batch.value.get()[3], kLogTen) && batch.state.get()[0].stopped == 0);
  }
}

template <int kRows> void test_a_graph_runs_again_and_again() {
  Minibatch<kRows> batch;
  const cudaStream_t stream = cuda::here().stream;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t recorded = nullptr;
  EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  cuda::loss(batch.args());
  EXPECT(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  EXPECT(cudaGraphInstantiate(&recorded, graph, 0) == cudaSuccess);
  for (int64_t slot = 0; slot < kSteps; ++slot) {
    batch.state.set({batch.at(slot)});
    EXPECT(cudaGraphLaunch(recorded, stream) == cudaSuccess);
  }
  for (const double value : batch.value.get()) EXPECT(close(value, kLogTen));
  EXPECT(batch.errors.get()[0] == 1000 + kSteps * kRows);
  cudaGraphExecDestroy(recorded);
  cudaGraphDestroy(graph);
}

template <int kRows> void test_all() {
  test_without_state<kRows>();
  test_slots_and_errors<kRows>();
  test_a_value_that_is_not_finite_stops<kRows>();
  test_a_graph_runs_again_and_again<kRows>();
}

// Where scratch memory is needed and there is none, nothing happens.
void test_no_memory() {
  constexpr int kRows = 600;
  Minibatch<kRows> batch;
  cuda::memory_left = false;
  cuda::loss(batch.args());
  cuda::memory_left = true;
  EXPECT(batch.value.get()[0] == -1.0 && batch.errors.get()[0] == 1000);
}

}  // namespace

int main() {
  test_all<1>();
  test_all<100>();  // one block
  test_all<600>();  // some, and a launch for the weights
  test_all<70001>();
  test_no_memory();
  return failures;
}
