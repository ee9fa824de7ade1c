// train_rows: on-line training of a dense network, row after row, in one kernel that stays on the GPU.
//
// Computes   for each row: x = (row - shift) scale; y_l = f(W_l^T y_(l-1) + b_l); the loss; dz_l; W -= lr (y dz^T +
//            decay W), b -= lr dz, dx_l = W_l dz_l by W as it was. A loss that is not finite ends it, before its row's
//            update.
// Layout     One block per multiprocessor, as many as pay (train_rows_plan.h). A block has a slice of each layer's
//            units and keeps its weights where it runs, in registers, shared memory and L2, for the whole call:
//
//              W_l [ | | | | ]   columns of block 0, 1, 2 ...
//
//            forward   y_(l-1), all of it, from the other blocks -> products -> own units' y, stamped, to the others
//            backward  own units' dz -> partial sums of dx for all inputs -> L2; barrier of the grid, the update of the
//                      weights meanwhile; own units' dx = the sum over blocks
//
//            Small layers near the outputs are computed by every block, whole, and so is the loss: then a
//            network of L layers has 2 L - 3 exchanges a row, one of two layers has one, and a small one no other block
//            to talk to.
//            What is written while others may still read it has two places, taken in turn: stamped outputs by the row
//            (a block two rows on has heard from all others about the row between), partial sums by the barrier.
// Arithmetic 3 passes over the weights a row: shared memory gives 128 bytes a cycle, an exchange takes 0.5 to 1 us. The
//            largest net of 2010 (12.1 M weights, 9 exchanges) is bound by both about equally, small ones by exchanges.
// Measured   not run on hardware yet. Threads of 255 registers where weights are in them (144), else 122 to 146, no
//            spills from sm_75 to sm_120. 841-2500-2000-1500-1000-500-10 on 132 multiprocessors: 125 blocks of 225 KB
//            of shared memory, 66 KB a block are left to L2; the smaller nets of 2010 are on chip whole. By the figures
//            of cost_of: 32, 17, 10 and 5.5 thousand cycles a row for 6, 5, 4 and 3 layers, 1300 for 784-100-10.
// Refs       PERFORMANCE.md; Ciresan, Meier, Gambardella, Schmidhuber, "Deep, big, simple neural nets for handwritten
//            digit recognition", Neural Computation 22 (2010): the nets. Xiao and Feng, "Inter-block GPU communication
//            via fast barrier synchronization", IPDPS 2010.
#include <limits>

#include "cuda/context.h"
#include "cuda/exchange.cuh"
#include "cuda/loss_row.cuh"
#include "cuda/run.cuh"
#include "cuda/slots.h"
#include "cuda/train_rows_input.cuh"
#include "cuda/train_rows_layer.cuh"
#include "cuda/train_rows_plan.h"

namespace deltarule::cuda {
namespace {

namespace rows {

template <class T, int Tiles> struct Trainer {
  using V = Lane<T>;
  static constexpr int kAllTiles = Tiles > 0 ? Tiles : 1;

  const Run& run;
  Block<T> block;

  __device__ __forceinline__ T* near(int64_t at) const { return block.memory + at; }
  __device__ __forceinline__ const Front& front() const { return run.plan.front; }
  __device__ __forceinline__ const Layer& layer(int l) const { return run.plan.layer[l]; }
  __device__ __forceinline__ uint64_t* words(int l, int row) const {
    return run.words + ((row & 1) * run.plan.exchanged + layer(l).exchange_at) * kWords<T>;
  }
  __device__ __forceinline__ static uint32_t stamp(int row) { return static_cast<uint32_t>(row) + 1; }

  // The input of layer l: this thread's elements are there, the others' where it comes from this block. One that comes
  // from others is received unless `there`: there is room for one.
  __device__ __forceinline__ const T* input(int l, int row, bool there) const {
    if (l == 0) return near(front().input[row & 1]);
    if (layer(l - 1).whole) return near(front().y) + layer(l - 1).unit_at;
    T* const to = near(front().received);
    if (!there) receive<kThreads>(words(l - 1, row), layer(l).inputs, stamp(row), to);
    return to;
  }

  // Outputs of layer l, to the other blocks where it is split.
  __device__ __forceinline__ void forward(int l, int row, const Cells<T>* tiles) {
    const Layer& layer = this->layer(l);
    // Another warp may be reading the last layer's sums.
    T* const sums = near(front().sums) + (l & 1) * kSums * run.plan.most_units;
    block.template products<Tiles>(l, input(l, row, false), sums, tiles);
    __syncthreads();
    const TrainRowsLayer& given = run.args.layer[l];
    const int own = block.own_units(layer), first = block.first_unit(layer);
    for (int u = block.thread; u < own; u += kThreads) {
      const int at = layer.unit_at + u;
      const V z{block.total(sums, u) + near(front().bias)[at]};
      V y = z;
      with_activation(given.activation, [&](auto f) { y = f.f(z, lanes<V>(given.slope)); });
      near(front().z)[at] = z.v;
      near(front().y)[at] = y.v;
      if (!layer.whole) put(words(l, row) + (first + u) * kWords<T>, y.v, stamp(row));
    }
    if (layer.whole) __syncthreads();
    else __syncwarp();  // what is waited for next may be what other lanes have just put
  }

  // All outputs of the network.
  __device__ __forceinline__ const T* outputs(int row) {
    const int top = run.plan.layers - 1;
    if (layer(top).whole) return near(front().y) + layer(top).unit_at;
    T* const to = near(front().outputs);
    receive<kThreads>(words(top, row), layer(top).outputs, stamp(row), to);
    __syncthreads();
    return to;
  }

  // The loss of outputs y and its gradient, by one warp; every block finds the same.
  __device__ __forceinline__ void judge(const T* y, int row, Head& head) const {
    const bool labels = run.args.labels != nullptr;
    LossRow<V, 0, Lanes> elements;
    elements.team = Lanes{32};
    elements.cols = layer(run.plan.layers - 1).outputs;
    elements.label = head.label[row & 1];
    elements.y = y;
    elements.targets = labels ? nullptr : near(front().target[row & 1]);
    elements.dy = near(front().gradient);
    elements.first = block.thread;
    elements.step = 32;
    const RowLoss loss = run.args.loss == Loss::softmax_cross_entropy ? elements.softmax(1.0)
                         : run.args.loss == Loss::squared_error
                             ? elements.template elementwise<SquaredError>(1.0)
                             : elements.template elementwise<BinaryCrossEntropy>(1.0);
    if (block.thread != 0) return;
    head.finite = loss.value - loss.value == 0.0;
    if (!reports()) return;
    run.args.value[head.slot + row] = loss.value;
    head.errors += loss.wrong;
  }

  // Own units' dz of layer l from their dy: in the loss's gradient, in sums, or in dz's place already; and their
  // biases.
  __device__ __forceinline__ void through_activation(int l, bool summed, T rate) const {
    const Layer& layer = this->layer(l);
    const TrainRowsLayer& given = run.args.layer[l];
    const int own = block.own_units(layer);
    const T* const dy =
        l + 1 == run.plan.layers ? near(front().gradient) + block.first_unit(layer) : near(front().dz) + layer.unit_at;
    for (int u = block.thread; u < own; u += kThreads) {
      const int at = layer.unit_at + u;
      const V error{summed ? block.total(near(front().sums), u) : dy[u]};
      const V z{near(front().z)[at]}, y{near(front().y)[at]};
      V slope = y;
      with_activation(given.activation, [&](auto f) { slope = f.df(z, y, lanes<V>(given.slope)); });
      const T dz = (error * slope).v;
      near(front().dz)[at] = dz;
      if (given.bias != nullptr) near(front().bias)[at] = ::fma(-rate, dz, near(front().bias)[at]);
    }
    __syncthreads();
  }

  // Own units' dz of layer l -> dy of those of the layer below, if there is one, and the update of own weights. Returns
  // whether dy is in sums.
  __device__ __forceinline__ bool backward(int l, int row, const Rule<T>& rule, Cells<T>* tiles) {
    const Layer &layer = this->layer(l), &below = this->layer(max(0, l - 1));
    const bool exchange = l > 0 && !layer.whole;
    const unsigned arrivals = row * run.plan.exchanges + run.plan.exchanges - l;
    T* const partial = static_cast<T*>(run.partial) + (arrivals & 1) * int64_t{run.plan.blocks} * run.partial_stride;
    const int vectors = block.own_vectors(layer);
    // What is far is updated at once, so as to pass but once.
    const bool far = layer.whole || vectors > layer.in_registers + layer.shared, there = l == run.plan.last_received;
    if (l > 0 && vectors > 0) {
      const T* const x = far ? input(l, row, there) : nullptr;
      T* const mine = partial + block.index * run.partial_stride;
      T* const dy = near(front().dz) + below.unit_at;
      const int first = block.first_unit(below), own = block.own_units(below);
      block.template walk<true, Tiles>(l, x, layer.whole, far, rule, tiles, [&](int i, T dx) {
        if (exchange) __stcg(mine + i, dx);
        else if (i >= first && i < first + own) dy[i - first] = dx;
      });
    }
    if (exchange) grid_arrive(run.counter);
    if ((l == 0 || exchange) && vectors > 0)
      block.template walk<false, Tiles>(l, input(l, row, there || far), true, l == 0, rule, tiles, [](int, T) {});
    if (exchange) {
      grid_wait(run.counter, arrivals + 1);
      block.sum_partial(below, layer, partial, near(front().sums));
    }
    __syncthreads();
    return exchange;
  }

  // False if the loss is not finite; then nothing has changed.
  __device__ __forceinline__ bool step(int row, Head& head, Cells<T>* tiles) {
    const int top = run.plan.layers - 1;
    const int half = (row + 1) & 1;
    for (int l = 0; l <= top; ++l) {
      // The next row is loaded meanwhile, and has come when the other blocks' outputs are still on their way.
      Incoming<T> next(run.args, layer(0).inputs, layer(top).outputs);
      if (l == 0) next.begin(head, row + 1, head.row);
      forward(l, row, tiles);
      if (l == 0) next.finish(head, row + 1, near(front().input[half]), near(front().target[half]));
    }

    const T* const y = outputs(row);
    if (block.thread < 32) judge(y, row, head);
    __syncthreads();
    if (head.finite == 0) return false;

    const Rule<T> rule{static_cast<T>(head.rate[row & 1]), static_cast<T>(run.args.weight_decay)};
    bool summed = false;
    for (int l = top; l >= 0; --l) {
      through_activation(l, summed, rule.rate);
      summed = backward(l, row, rule, tiles);
    }
    return true;
  }

  template <bool Load> __device__ __forceinline__ void copy_parameters(Cells<T>* tiles) const {
    for (int l = 0; l < run.plan.layers; ++l) {
      const Layer& layer = this->layer(l);
      if (!Load && layer.whole && block.index > 0) continue;
      block.template copy_weights<Load, Tiles>(l, tiles);
      T* const bias = static_cast<T*>(run.args.layer[l].bias);
      const int own = block.own_units(layer), first = block.first_unit(layer);
      for (int u = block.thread; u < layer.units; u += kThreads) {
        T* const kept = near(front().bias) + layer.unit_at + u;
        if constexpr (Load) {
          *kept = bias != nullptr && u < own ? bias[first + u] : T(0);
          near(front().dz)[layer.unit_at + u] = T(0);
        } else if (bias != nullptr && u < own) {
          bias[first + u] = *kept;
        }
      }
    }
    __syncthreads();
  }

  // The thread that writes what there is one of; the last block has the fewest units.
  __device__ __forceinline__ bool reports() const { return block.index == run.plan.blocks - 1 && block.thread == 0; }

  __device__ __forceinline__ void finish(int done, const Head& head) const {
    if (!reports()) return;
    StepState& state = *run.args.state;
    state.start += done;
    state.slot += done;
    state.step += done;
    state.updates += done;
    state.stopped = done < run.args.steps;
    const int64_t known = max(run.args.known_rates, head.slot + run.args.steps);
    if (done > 0) state.lr = run.args.rates[min(state.slot, known - 1)];
    *run.args.errors += head.errors;
  }
};

template <class T, int Tiles>
__global__ void __launch_bounds__(kThreads, 1) train_rows_kernel(const __grid_constant__ Run run) {
  DELTARULE_SHARED(T, memory);
  Head& head = *reinterpret_cast<Head*>(memory);
  if (threadIdx.x == 0)
    head = {run.args.state->start, run.args.state->slot, run.args.state->stopped, 0, {0, 0}, {0.0, 0.0}, 0, 0};
  __syncthreads();
  if (head.stopped != 0) return;

  Trainer<T, Tiles> trainer{run, {run, memory, static_cast<int>(blockIdx.x), static_cast<int>(threadIdx.x)}};
  Cells<T> tiles[Trainer<T, Tiles>::kAllTiles];
  const Front& front = run.plan.front;
  Incoming<T> first(run.args, run.plan.layer[0].inputs, run.plan.layer[run.plan.layers - 1].outputs);
  first.begin(head, 0, first.row_of(head, 0));
  trainer.template copy_parameters<true>(tiles);
  first.finish(head, 0, memory + front.input[0], memory + front.target[0]);
  __syncthreads();

  int done = 0;
  while (done < run.args.steps && trainer.step(done, head, tiles)) ++done;

  // Now all blocks have read what is written next.
  if (run.plan.blocks > 1) {
    grid_arrive(run.counter);
    grid_wait(run.counter, done * run.plan.exchanges + 1);
  }
  if (done > 0) trainer.template copy_parameters<false>(tiles);
  trainer.finish(done, head);
}

template <class T> Plan plan_of(const TrainRowsArgs& args) {
  return best_plan<T>(args, here().multiprocessors, here().shared_bytes);
}

template <class T> void launch_rows(const TrainRowsArgs& args) {
  const Place place = DELTARULE_HERE("train_rows");
  Run run{args, plan_of<T>(args), nullptr, nullptr, nullptr, 0, nullptr};
  const Plan& plan = run.plan;
  if (!plan.possible) return report(cudaErrorInvalidConfiguration, place);
  run.partial_stride = round_up(plan.partial, 32);
  constexpr int64_t kElement = sizeof(T);
  const int64_t clear = round_up(256 + int64_t{2} * plan.exchanged * kWords<T> * 8, 256);
  const int64_t partial = round_up(2 * plan.blocks * run.partial_stride * kElement, 256);
  char* const memory = static_cast<char*>(scratch(clear + partial + plan.blocks * plan.scratch_elements * kElement));
  if (memory == nullptr) return;
  run.counter = reinterpret_cast<unsigned*>(memory);
  run.words = reinterpret_cast<uint64_t*>(memory + 256);
  run.partial = memory + clear;
  run.scratch = memory + clear + partial;

  const auto kernel = plan.tiles > 0 ? train_rows_kernel<T, kTiles> : train_rows_kernel<T, 0>;
  const auto shared = static_cast<size_t>(plan.shared_bytes);
  const cudaStream_t stream = here().stream;
  if (plan.exchanged == 0) return report(launch(stream, 1, kThreads, shared, kernel, run), place);
  report(cudaMemsetAsync(memory, 0, static_cast<size_t>(clear), stream), place);
  report(launch_cooperative(stream, plan.blocks, kThreads, shared, kernel, run), place);
}

bool fits_together(const TrainRowsArgs& args) {
  if (args.layers < 1 || args.layers > TrainRowsArgs::kMaxLayers) return false;
  if (args.steps < 0 || args.steps > std::numeric_limits<int>::max()) return false;
  for (int l = 1; l < args.layers; ++l)
    if (args.layer[l].inputs != args.layer[l - 1].outputs) return false;
  const bool known = args.x.from == DType::uint8 || args.x.from == DType::float32 || args.x.from == DType::float64;
  return known && args.x.to == args.dtype && args.x.cols == args.layer[0].inputs &&
         (args.labels == nullptr) != (args.targets == nullptr);
}

}  // namespace rows
}  // namespace

bool trains_rows(const TrainRowsArgs& args) noexcept {
  if (!rows::fits_together(args)) return false;
  if (args.dtype == DType::float32) return rows::plan_of<float>(args).possible;
  return rows::plan_of<double>(args).possible;
}

void train_rows(const TrainRowsArgs& args) noexcept {
  if (args.steps == 0) return;
  if (args.dtype == DType::float32) rows::launch_rows<float>(args);
  else rows::launch_rows<double>(args);
}

}  // namespace deltarule::cuda
