// The matrix products on CUDA cores, tile by tile and split by split, and online, on the emulated GPU: what the slots
// would choose for products too large for it, and what only recorded steps do. Prints one line per failure.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/context.h"
#include "cuda/gemm.h"
#include "cuda/slots.h"

using namespace deltarule;

namespace deltarule::cuda {

Context& here() noexcept {
  static Context context = [] {
    Context made{};
    if (cudaStreamCreateWithFlags(&made.stream, cudaStreamNonBlocking) != cudaSuccess) std::abort();
    return made;
  }();
  return context;
}

// New memory for each call, of the size that was asked for: what is written beyond it faults.
static std::vector<void*> scratches;
void* scratch(int64_t bytes) noexcept {
  void* memory = nullptr;
  if (cudaMalloc(&memory, static_cast<size_t>(bytes)) != cudaSuccess) std::abort();
  scratches.push_back(memory);
  return memory;
}

void report(cudaError_t status, const char* kernel, const char* file, int line) noexcept {
  if (status == cudaSuccess) return;
  std::printf("%s, %s:%d: %s\n", kernel, file, line, cudaGetErrorString(status));
  std::exit(1);
}

}  // namespace deltarule::cuda

namespace {

int failures = 0;
std::mt19937_64 random_bits(1);

template <class T> std::vector<T> normal(int64_t n) {
  std::normal_distribution<double> distribution;
  std::vector<T> values(static_cast<size_t>(n));
  for (T& value : values) value = static_cast<T>(distribution(random_bits));
  return values;
}

// A copy on the device that starts `offset` elements off 256 bytes.
template <class T> class There {
 public:
  explicit There(const std::vector<T>& values, int64_t offset = 0) : n_(values.size()) {
    if (cudaMalloc(&memory_, (n_ + 64) * sizeof(T)) != cudaSuccess) std::abort();
    data = memory_ + offset;
    if (cudaMemcpy(data, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess) std::abort();
  }
  There(const There&) = delete;
  ~There() { (void)cudaFree(memory_); }
  std::vector<T> get() const {
    std::vector<T> values(n_);
    if (cudaDeviceSynchronize() != cudaSuccess) std::abort();
    if (cudaMemcpy(values.data(), data, n_ * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess) std::abort();
    return values;
  }
  T* data;

 private:
  T* memory_ = nullptr;
  size_t n_;
};

struct Case {
  int tile, splits;  // tile: of GemmTile, or -1 for few_gemm
  int64_t M, N, K;
  bool trans_a, trans_b;
  Epilogue epilogue;
  int64_t pad, offset;
  bool velocity, state, stopped;
};

template <class T> struct Result {
  std::vector<T> c, z, db, velocity;
};

template <class T> struct Operands {
  std::vector<T> a, b, c, bias, z, y, velocity;
};

template <class T> Operands<T> operands(const Case& at) {
  const int64_t lda = (at.trans_a ? at.M : at.K) + at.pad, ldb = (at.trans_b ? at.K : at.N) + at.pad;
  const int64_t ldc = at.N + at.pad;
  Operands<T> made{normal<T>((at.trans_a ? at.K : at.M) * lda),
                   normal<T>((at.trans_b ? at.N : at.K) * ldb),
                   normal<T>(at.M * ldc),
                   normal<T>(at.N),
                   normal<T>(at.M * ldc),
                   normal<T>(at.M * ldc),
                   normal<T>(at.M * ldc)};
  return made;
}

template <class T> Result<T> product(const Case& at, const Operands<T>& from) {
  There<T> a(from.a, at.offset), b(from.b, at.offset), c(from.c, at.offset), bias(from.bias, at.offset);
  There<T> z(from.z, at.offset), y(from.y, at.offset), velocity(from.velocity, at.offset);
  There<T> db(std::vector<T>(static_cast<size_t>(at.N), T(-7)), at.offset);
  StepState state{};
  state.lr = 0.5;
  state.stopped = at.stopped;
  There<StepState> on_device(std::vector<StepState>{state});
  GemmArgs args;
  args.dtype = sizeof(T) == 4 ? DType::float32 : DType::float64;
  args.trans_a = at.trans_a;
  args.trans_b = at.trans_b;
  args.M = at.M;
  args.N = at.N;
  args.K = at.K;
  args.alpha = 0.5;
  args.beta = at.epilogue == Epilogue::none ? -2.0 : 0.0;
  args.A = a.data;
  args.lda = (at.trans_a ? at.M : at.K) + at.pad;
  args.B = b.data;
  args.ldb = (at.trans_b ? at.K : at.N) + at.pad;
  args.C = c.data;
  args.ldc = args.ldz = args.ldy = at.N + at.pad;
  args.epilogue = at.epilogue;
  args.activation = Activation::tanh;
  args.bias = bias.data;
  args.z = z.data;
  args.y = y.data;
  args.db = db.data;
  args.lr = 0.25;
  args.momentum = 0.9;
  args.weight_decay = 0.01;
  args.velocity = at.velocity ? velocity.data : nullptr;
  args.state = at.state ? on_device.data : nullptr;
  const cuda::GemmPlan plan{static_cast<cuda::GemmTile>(at.tile), at.splits};
  if (at.tile < 0) cuda::few_gemm(args);
  else if (sizeof(T) == 4) cuda::ffma_gemm(args, plan);
  else cuda::dfma_gemm(args, plan);
  Result<T> result{c.get(), z.get(), db.get(), velocity.get()};
  for (void* memory : cuda::scratches) (void)cudaFree(memory);
  cuda::scratches.clear();
  return result;
}

// One element of C: what it should be and how far it may be off.
struct Want {
  double value, bound;
};

template <class T> class Oracle {
 public:
  Oracle(const Case& at, const Operands<T>& from) : at_(at), from_(from), ldc_(at.N + at.pad) {}

  // alpha op(A) op(B)
  Want sum(int64_t i, int64_t j) const {
    double sum = 0, size = 0;
    for (int64_t k = 0; k < at_.K; ++k) {
      const int64_t lda = (at_.trans_a ? at_.M : at_.K) + at_.pad, ldb = (at_.trans_b ? at_.K : at_.N) + at_.pad;
      const double a = from_.a[at_.trans_a ? k * lda + i : i * lda + k];
      const double term = a * static_cast<double>(from_.b[at_.trans_b ? j * ldb + k : k * ldb + j]);
      sum += 0.5 * term;
      size += std::fabs(0.5 * term);
    }
    return {sum, (2 * std::sqrt(static_cast<double>(at_.K)) + 4) * kUnit * size};
  }

  void check(const Result<T>& got) const {
    for (int64_t j = 0; j < at_.N; ++j) {
      double column = 0, size = 0;
      for (int64_t i = 0; i < at_.M; ++i) {
        const int64_t at = i * ldc_ + j;
        element(got, i, j, at);
        column += got.c[at];
        size += std::fabs(got.c[at]);
      }
      if (at_.epilogue == Epilogue::backprop)
        near("db", 0, j, got.db[j], {column, (2 * std::sqrt(static_cast<double>(at_.M)) + 4) * kUnit * size});
    }
    for (int64_t i = 0; i < at_.M; ++i)
      for (int64_t j = at_.N; j < ldc_; ++j)
        near("beyond the row", i, j, got.c[i * ldc_ + j], {from_.c[i * ldc_ + j], 0});
  }

 private:
  static constexpr double kUnit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;

  void element(const Result<T>& got, int64_t i, int64_t j, int64_t at) const {
    const Want product = sum(i, j);
    const double old = from_.c[at], rounding = 8 * kUnit * (std::fabs(product.value) + 4 * std::fabs(old) + 4);
    const Want near_product{product.value, product.bound + rounding};
    if (at_.epilogue == Epilogue::none) {
      near("C", i, j, got.c[at], {product.value - 2 * old, near_product.bound});
    } else if (at_.epilogue == Epilogue::bias_act) {
      near("z", i, j, got.z[at], {product.value + from_.bias[j], near_product.bound});
      near("C", i, j, got.c[at], {std::tanh(static_cast<double>(got.z[at])), 4 * kUnit});
    } else if (at_.epilogue == Epilogue::backprop) {
      const double slope = 1 - static_cast<double>(from_.y[at]) * from_.y[at];
      near("C", i, j, got.c[at], {product.value * slope, near_product.bound * (1 + std::fabs(slope))});
    } else {
      update(got, i, j, at, near_product);
    }
  }

  void update(const Result<T>& got, int64_t i, int64_t j, int64_t at, const Want& product) const {
    const double old = from_.c[at], lr = at_.state ? 0.5 : 0.25;
    double step = product.value + static_cast<double>(T(0.01)) * old, v = from_.velocity[at];
    if (at_.velocity && !at_.stopped) step = v = static_cast<double>(T(0.9)) * v + step;
    near("velocity", i, j, got.velocity[at], {v, at_.stopped ? 0 : product.bound});
    near("C", i, j, got.c[at], {at_.stopped ? old : old - lr * step, at_.stopped ? 0 : product.bound});
  }

  void near(const char* what, int64_t i, int64_t j, double got, const Want& want) const {
    if (std::fabs(got - want.value) <= want.bound) return;
    if (++failures > 20) std::exit(1);
    std::printf("%s[%d,%d] is %.9g, not %.9g: %zu bytes, tile %d, %d splits, %d x %d x %d, %d%d, epilogue %d, pad %d\n",
                what, int(i), int(j), got, want.value, sizeof(T), at_.tile, at_.splits, int(at_.M), int(at_.N),
                int(at_.K), at_.trans_a, at_.trans_b, int(at_.epilogue), int(at_.pad));
  }

  const Case& at_;
  const Operands<T>& from_;
  int64_t ldc_;
};

template <class T> void check(const Case& at) {
  const Operands<T> from = operands<T>(at);
  const Result<T> got = product(at, from);
  Oracle<T>(at, from).check(got);
  Case aligned = at;  // the order of sums is the same wherever the operands lie
  aligned.offset = at.offset == 0 ? 1 : 0;
  const Result<T> again = product(aligned, from);
  if (again.c != got.c || again.db != got.db || again.velocity != got.velocity) {
    ++failures;
    std::printf("other bits at another address: tile %d, %d splits, %d x %d x %d\n", at.tile, at.splits, int(at.M),
                int(at.N), int(at.K));
  }
}

template <class T> void check_tiles() {
  int number = 0;
  for (int tile = -1; tile <= 2; ++tile) {
    if (tile == 2 && sizeof(T) == 8) continue;
    for (const Epilogue epilogue : {Epilogue::none, Epilogue::bias_act, Epilogue::backprop, Epilogue::sgd})
      for (const int splits : {1, 3}) {
        const int64_t edge = tile < 0 ? 0 : 32 << tile;
        for (const auto& [m, n] : {std::pair{edge + 5, edge + 4}, {2 * edge + 3, edge - 1}}) {
          const bool few_rows = number % 2 == 0;
          Case at{tile,
                  splits,
                  m,
                  n,
                  splits == 1 ? 37 : 150,
                  number / 2 % 2 == 1,
                  number % 3 == 1,
                  epilogue,
                  number % 4 == 0 ? 0 : 4 - number % 4,
                  number % 3 == 0 ? 0 : number % 5,
                  number % 2 == 1,
                  number % 4 == 3,
                  number % 8 == 7};
          if (tile < 0) {
            at.M = few_rows ? 1 + number % 8 : 70;
            at.N = few_rows ? 68 : 1 + number % 8;
            at.K = splits == 1 ? 200 : 900;
          }
          check<T>(at);
          ++number;
        }
      }
  }
}

// More columns of tiles than there are counters: db by a kernel of its own.
void check_many_columns() {
  const int64_t n = 32 * 4100;
  check<float>({0, 1, 33, n, 1, false, false, Epilogue::backprop, 0, 0, false, false, false});
  check<float>({0, 2, 33, n, 64, false, false, Epilogue::backprop, 0, 0, false, false, false});
}

template <class T> void check_online_state() {
  for (const int64_t stopped : {0, 1})
    for (const int64_t outputs : {10, 64, 1028}) {
      const int64_t inputs = 37;
      const std::vector<T> x = normal<T>(inputs), dz = normal<T>(outputs), w = normal<T>(inputs * outputs);
      There<T> x_there(x), dz_there(dz), w_there(w), dx_there(x);
      StepState state{};
      state.lr = 0.5;
      state.stopped = stopped;
      There<StepState> on_device(std::vector<StepState>{state});
      OnlineArgs args{};
      args.dtype = sizeof(T) == 4 ? DType::float32 : DType::float64;
      args.inputs = inputs;
      args.outputs = outputs;
      args.x = x_there.data;
      args.dz = dz_there.data;
      args.w = w_there.data;
      args.lr = 0.25;
      args.dx = dx_there.data;
      args.state = on_device.data;
      cuda::online(args);
      const std::vector<T> got = w_there.get();
      for (int64_t i = 0; i < inputs * outputs; ++i) {
        const double want = stopped ? w[i] : w[i] - 0.5 * x[i / outputs] * dz[i % outputs];
        if (std::fabs(got[i] - want) <= 1e-6 * (1 + std::fabs(want))) continue;
        ++failures;
        std::printf("online: w[%d] is %.9g, not %.9g\n", int(i), double(got[i]), want);
        break;
      }
    }
}

}  // namespace

int main(int count, char**) {
  check_tiles<float>();
  check_tiles<double>();
  check_online_state<float>();
  check_online_state<double>();
  if (count == 1) check_many_columns();
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
