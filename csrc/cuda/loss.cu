// loss: value, gradient and errors of a minibatch in one launch.
//
// Computes   value = scale sum_i w_i l(y_i, t_i), dy = its gradient, errors = rows classified wrongly; l as in
//            formulas/losses.h. y[rows, cols], targets t[rows, cols] or labels[rows].
// Layout     rows of at most 128: 1 to 32 lanes a row, four elements a lane, in registers; rows of 10 have 4 lanes.
//            Longer rows: a block a row, in passes. Up to 512 threads' worth of rows are one block, which has the sum
//            at its end. More rows are dealt to blocks by `rows` alone; each leaves its part in scratch memory, and the
//            last to finish adds them up, in the order of the blocks. The sum of the weights, which a mean is divided
//            by before any gradient is written, takes a launch of its own then.
// Arithmetic bound by the launch; then by instructions, about 600 a lane for its four elements of a row.
// Measured   not run on hardware yet. Registers, sm_90a: 60 to 96, one of twelve 112; weights 29. No spills.
// Refs       formulas/losses.h; team.cuh (the last block).
#include "cuda/loss_row.cuh"
#include "cuda/run.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kHeld = 4;  // elements of a row a lane holds
constexpr int64_t kShortRow = kHeld * kWarp, kMiddleRow = 1024;
constexpr int kAlone = 512;    // threads of a block that does all
constexpr int kThreads = 128;  // of one among several
constexpr int64_t kBlocks = 2048;

__device__ unsigned ticket;

// Of some rows.
struct Part {
  double value;
  int64_t errors;
};

__device__ __forceinline__ Part operator+(Part a, Part b) { return {a.value + b.value, a.errors + b.errors}; }

__device__ __forceinline__ Part from_lane_across(Part x, int bits) {
  return {from_lane_across(x.value, bits), from_lane_across(x.errors, bits)};
}

// A sum of weights, and the exponent of the lowest bit set in any of them: the sum is exact in whatever order, if it is
// below 2^(lowest + 53).
struct Weighed {
  double sum;
  int lowest;
};

constexpr int kNoBits = 1100, kInexact = -3000;

__device__ __forceinline__ Weighed operator+(Weighed a, Weighed b) {
  return {a.sum + b.sum, a.lowest < b.lowest ? a.lowest : b.lowest};
}

__device__ __forceinline__ Weighed from_lane_across(Weighed x, int bits) {
  return {from_lane_across(x.sum, bits), from_lane_across(x.lowest, bits)};
}

__device__ __forceinline__ Weighed weighed(double w) {
  if (w == 0.0) return {w, kNoBits};
  if (!(w > 0.0 && w < __builtin_inf())) return {w, kInexact};
  const long long bits = __double_as_longlong(w), fraction = bits & ((1LL << 52) - 1);
  const int exponent = static_cast<int>(bits >> 52);
  if (exponent == 0) return {w, -1074 + __ffsll(fraction) - 1};
  return {w, exponent - 1075 + __ffsll(fraction | (1LL << 52)) - 1};
}

// sum_i w[i] in float64 as it comes out row after row, in every thread of the block.
template <class T> __device__ double sum_of_weights(const T* w, int64_t rows, void* shared) {
  Weighed all{0.0, kNoBits};
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) all = all + weighed(static_cast<double>(w[i]));
  all = WholeBlock{shared}.fold(all, AddUp{});
  if (all.lowest != kInexact && all.sum < ::scalbn(1.0, all.lowest + 53)) return all.sum;
  double* const sum = static_cast<double*>(shared);
  if (threadIdx.x == 0) {
    double total = 0.0;
#pragma unroll 8
    for (int64_t i = 0; i < rows; ++i) total += static_cast<double>(w[i]);
    *sum = total;
  }
  __syncthreads();
  const double total = *sum;
  __syncthreads();
  return total;
}

template <class T> __global__ void __launch_bounds__(1024) sum_weights(const T* w, int64_t rows, double* sum) {
  DELTARULE_SHARED(Weighed, shared);
  const double total = sum_of_weights(w, rows, shared);
  if (threadIdx.x == 0) *sum = total;
}

// LossArgs and how the rows are dealt out.
struct Problem {
  LossArgs args;
  int width;              // lanes of a row
  int64_t rows_of_block;  // a multiple of the rows a block takes at a time
  Part* parts;            // [blocks], where there are several
  double* weight;         // the sum of the weights, where it is known by then
};

// The block's sums, by thread 0, to where they belong.
__device__ __forceinline__ void finish(const LossArgs& args, Part sum, double weight, double scale) {
  const double value = scale * sum.value;
  int64_t slot = 0;
  if (args.state != nullptr) {
    if (args.state->stopped != 0) return;
    slot = args.state->slot;
    sum.errors += *args.errors;
    if (!(::fabs(value) < __builtin_inf())) args.state->stopped = 1;
  }
  args.value[slot] = value;
  args.weight[slot] = weight;
  *args.errors = sum.errors;
}

template <class Team> __device__ __forceinline__ Team team_of(const Problem& problem, void* shared) {
  if constexpr (std::is_same_v<Team, Lanes>) return {problem.width};
  else return {shared};
}

// `L` is a loss over elements, or void for the softmax cross-entropy.
template <class V, class L, int Held, class Team>
__device__ __forceinline__ RowLoss loss_of_row(const LossArgs& args, int64_t row, double factor, bool gradient,
                                               const Team& team, int step) {
  using T = typename V::scalar;
  LossRow<V, Held, Team> elements;
  elements.team = team;
  elements.cols = args.cols;
  elements.label = args.labels != nullptr ? args.labels[row] : 0;
  elements.y = static_cast<const T*>(args.y) + row * args.cols;
  elements.targets = args.labels == nullptr ? static_cast<const T*>(args.targets) + row * args.cols : nullptr;
  elements.dy = gradient ? static_cast<T*>(args.dy) + row * args.cols : nullptr;
  elements.first = team.rank();
  elements.step = step;
  elements.hold();
  if constexpr (std::is_void_v<L>) return elements.softmax(factor);
  else return elements.template elementwise<L>(factor);
}

template <class V, class L, int Held, class Team>
__global__ void __launch_bounds__(kAlone, 1) loss_of_rows(const __grid_constant__ Problem problem) {
  using T = typename V::scalar;
  DELTARULE_SHARED(Part, shared);
  const LossArgs& args = problem.args;
  const T* const weights = static_cast<const T*>(args.weights);
  const Team team = team_of<Team>(problem, shared);
  const int step = std::is_same_v<Team, Lanes> ? problem.width : static_cast<int>(blockDim.x);
  const int teams = static_cast<int>(blockDim.x) / step, own = static_cast<int>(threadIdx.x) / step;
  // Looked at late, so that reading it delays nothing.
  const bool stopped = args.state != nullptr && args.state->stopped != 0;

  double weight = static_cast<double>(args.rows), scale = args.scale;
  if (weights != nullptr)
    weight = problem.weight != nullptr ? *problem.weight : sum_of_weights(weights, args.rows, shared);
  if (args.mean) scale = weight > 0.0 ? scale / weight : 0.0;

  const int64_t begin = blockIdx.x * problem.rows_of_block, above = begin + problem.rows_of_block;
  const int64_t end = args.cols == 0 ? begin : above < args.rows ? above : args.rows;
  Part sum{0.0, 0};
  for (int64_t at = begin; at < end; at += teams) {  // as often in every thread: teams without a row repeat one
    const bool mine = at + own < end;
    const int64_t row = mine ? at + own : end - 1;
    const double w = weights != nullptr ? static_cast<double>(weights[row]) : 1.0;
    const bool gradient = args.dy != nullptr && mine && !stopped;
    const RowLoss loss = loss_of_row<V, L, Held>(args, row, scale * w, gradient, team, step);
    if (mine && team.rank() == 0) sum = sum + Part{w * loss.value, loss.wrong};
  }

  const WholeBlock block{shared};
  sum = block.fold(sum, AddUp{});
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) problem.parts[blockIdx.x] = sum;
    if (!last_to_come(&ticket, gridDim.x)) return;
    sum = {0.0, 0};
    for (unsigned b = threadIdx.x; b < gridDim.x; b += blockDim.x) sum = sum + problem.parts[b];
    sum = block.fold(sum, AddUp{});
  }
  if (threadIdx.x == 0) finish(args, sum, weight, scale);
}

template <class V, class L> void loss_by(const LossArgs& args) {
  using T = typename V::scalar;
  const bool in_lanes = args.cols <= kShortRow;
  Problem problem{args, in_lanes ? power_of_two(ceil_div<int64_t>(args.cols, kHeld)) : 0, args.rows, nullptr, nullptr};
  const int64_t wanted = in_lanes ? args.rows * problem.width : args.rows == 1 ? 1 : kAlone + 1;
  const bool alone = wanted <= kAlone;
  int64_t blocks = 1;
  int threads = in_lanes ? kThreads : args.cols <= kMiddleRow ? kThreads : kAlone;
  if (alone && in_lanes) threads = power_of_two(wanted < kWarp ? kWarp : wanted);
  if (!alone) {
    const int64_t at_a_time = in_lanes ? kThreads / problem.width : 1, turns = ceil_div(args.rows, at_a_time);
    problem.rows_of_block = at_a_time * ceil_div(turns, turns < kBlocks ? turns : kBlocks);
    blocks = ceil_div(args.rows, problem.rows_of_block);
    problem.parts = static_cast<Part*>(scratch((blocks + 1) * static_cast<int64_t>(sizeof(Part))));
    if (problem.parts == nullptr) return;
    if (args.weights != nullptr) {
      problem.weight = reinterpret_cast<double*>(problem.parts + blocks);
      run(DELTARULE_HERE("loss_weights"), 1, 1024, kWarp * sizeof(Weighed), sum_weights<T>,
          static_cast<const T*>(args.weights), args.rows, problem.weight);
    }
  }
  const auto kernel = in_lanes ? loss_of_rows<V, L, kHeld, Lanes> : loss_of_rows<V, L, 0, WholeBlock>;
  run(DELTARULE_HERE("loss"), static_cast<unsigned>(blocks), threads, kWarp * sizeof(Part), kernel, problem);
}

template <class V> void loss_of(const LossArgs& args) {
  switch (args.loss) {
    case Loss::squared_error:
      return loss_by<V, SquaredError>(args);
    case Loss::binary_cross_entropy:
      return loss_by<V, BinaryCrossEntropy>(args);
    case Loss::softmax_cross_entropy:
      return loss_by<V, void>(args);
  }
}

}  // namespace

void loss(const LossArgs& args) noexcept { args.dtype == DType::float32 ? loss_of<F32>(args) : loss_of<F64>(args); }

}  // namespace deltarule::cuda
