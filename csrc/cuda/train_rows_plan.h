// How a network is spread over the GPU for train_rows: which block has which units, and where its weights are.
//
// A layer is `split` (each block has a slice of its units, that is columns of W) or `whole` (every block has all of it
// and computes the same: what is small and near the outputs, so that nothing has to be exchanged there). Split layers
// come first. The weights of a block lie in vectors, kLanes units wide and as long as the layer has inputs; a thread
// has the inputs i = step * kThreads + thread of every vector, so that it updates what it alone reads, and its share
// of dx needs no other thread. Vectors are in registers (in tiles of kSteps inputs a thread), in shared memory, or in
// scratch memory, where L2 holds them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace deltarule::cuda {
namespace {

namespace rows {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kSteps = 4;                           // inputs of a thread that are worked on at a time
constexpr int kMostBlocks = 128;                    // so that sums over blocks are those of every large GPU
constexpr int64_t kMostWeights = int64_t{1} << 26;  // beyond, training is bound by memory here and elsewhere

template <class T> constexpr int kLanes = 16 / sizeof(T);  // units of a vector
constexpr int kTiles = 9;  // in the registers of a thread: 16 each, of the 255 there are

struct Layer {
  int inputs, outputs;
  bool whole;
  int units;                 // of a block, whole vectors
  int owners;                // blocks that have any
  int in_registers, shared;  // the first vectors, and those that follow; the others are in scratch memory
  int unit_at;               // of its units among all of a block's
  int exchange_at;           // of its outputs among all that are exchanged
  int shared_at;             // elements
  int64_t scratch_at;        // elements in the block's part
};

struct Tile {
  int key = -1;  // layer and first step in one number: key_of
  int vector = 0;
  bool opens = false, closes = false;  // first and last of its vector
};

constexpr int key_of(int layer, int step) { return step << 5 | layer; }
static_assert(TrainRowsArgs::kMaxLayers <= 32 && kMostWeights / kThreads < (1 << 26));

// Sums of a vector of units, one for each warp and one place left free: a warp's accesses meet in no bank then.
constexpr int kSums = kWarps + 1;

constexpr int kHeadBytes = 128;  // of shared memory, for what is common to a block's threads

// Elements of shared memory in front of the weights; each part is on 16 bytes.
struct Front {
  int sums, dz, z, y, bias, input[2], target[2], received, outputs, gradient, end;
};

struct Plan {
  bool possible = false;
  int blocks = 0, layers = 0;
  int tiles = 0;
  Layer layer[TrainRowsArgs::kMaxLayers];
  Tile tile[kTiles];
  int units;          // of all layers of a block
  int most_units;     // of one layer of a block
  int received;       // the longest input that comes from other blocks
  int last_received;  // the last layer with such an input, or 0
  int exchanges;      // through the barrier in a row: the number of split layers above the lowest
  int exchanged;      // outputs that are exchanged in a row
  int partial;        // the longest dx that is exchanged, 0 if none is
  Front front;
  int64_t shared_bytes, scratch_elements;  // scratch: of a block
  double cost = 0.0;                       // in clock cycles a row, as far as it depends on the plan
};

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T> Front front_of(const Plan& plan) {
  int64_t at = kHeadBytes / sizeof(T);
  bool fits = true;
  const auto place = [&](int64_t n) {
    const int64_t here = at;
    at += round_up(n, kLanes<T>);
    fits = fits && at < kMostWeights;
    return static_cast<int>(fits ? here : kMostWeights);
  };
  const Layer& top = plan.layer[plan.layers - 1];
  Front front;
  front.sums = place(int64_t{2} * kSums * plan.most_units);
  front.dz = place(plan.units);
  front.z = place(plan.units);
  front.y = place(plan.units);
  front.bias = place(plan.units);
  front.input[0] = place(plan.layer[0].inputs);
  front.input[1] = place(plan.layer[0].inputs);
  front.target[0] = place(top.outputs);
  front.target[1] = place(top.outputs);
  front.received = place(plan.received);
  front.outputs = place(top.whole ? 0 : top.outputs);
  front.gradient = place(top.outputs);
  front.end = place(0);
  return front;
}

// Vectors go to registers whole, first those that waste least.
template <class T> void fill_registers(Plan& plan) {
  while (plan.tiles < kTiles) {
    int best = -1, best_tiles = 0;
    double best_share = 0.0;
    for (int l = 0; l < plan.layers; ++l) {
      const Layer& layer = plan.layer[l];
      const int tiles = (layer.inputs + kThreads * kSteps - 1) / (kThreads * kSteps);
      if ((layer.in_registers + 1) * kLanes<T> > layer.units || tiles > kTiles - plan.tiles) continue;
      const double share = static_cast<double>(layer.inputs) / (tiles * kThreads * kSteps);
      if (share > best_share) best = l, best_tiles = tiles, best_share = share;
    }
    if (best < 0) return;
    const int vector = plan.layer[best].in_registers++;
    for (int i = 0; i < best_tiles; ++i)
      plan.tile[plan.tiles++] = {key_of(best, i * kSteps), vector, i == 0, i + 1 == best_tiles};
  }
}

// Vectors into shared memory, those of the upper layers first: the lowest layer has no dx, and misses it least.
template <class T> void fill_shared(Plan& plan, int64_t room) {
  int64_t at = plan.front.end;
  for (int l = plan.layers - 1; l >= 0; --l) {
    Layer& layer = plan.layer[l];
    const int64_t vector = int64_t{kLanes<T>} * layer.inputs, left = layer.units / kLanes<T> - layer.in_registers;
    layer.shared = static_cast<int>(std::min(left, (room - at) / vector));
    layer.shared_at = static_cast<int>(at);
    layer.scratch_at = plan.scratch_elements;
    at += layer.shared * vector;
    plan.scratch_elements += (left - layer.shared) * vector;
  }
  plan.shared_bytes = at * static_cast<int64_t>(sizeof(T));
}

// What a row costs, roughly, in clock cycles; only differences between plans matter. Not measured yet.
template <class T> double cost_of(const Plan& plan) {
  constexpr double kForwardExchange = 700, kBackwardExchange = 1200;  // without what depends on sizes
  constexpr double kBytesShared = 128, kBytesL2 = 24;                 // a cycle and multiprocessor
  double cost = 0.0;
  for (int l = 0; l < plan.layers; ++l) {
    const Layer& layer = plan.layer[l];
    const double near = (layer.in_registers + layer.shared) * kLanes<T>, far = layer.units - near;
    cost += near * layer.inputs * 4 * sizeof(T) / kBytesShared + far * layer.inputs * 3 * sizeof(T) / kBytesL2;
    if (layer.whole) continue;
    cost += kForwardExchange + layer.outputs * 2.0 * sizeof(T) / kBytesL2;
    if (l == 0) continue;
    cost += kBackwardExchange + layer.inputs * 1.0 * sizeof(T) / kBytesL2;
    cost += plan.layer[l - 1].units * 1.0 * layer.owners * sizeof(T) / kBytesL2;
  }
  return cost;
}

// With at most so many blocks, and the layers from `whole` on whole. Every block has units of some split layer:
// where there is one such layer and so no barrier, a block that nobody waits for could fall behind and miss what it
// should have read.
template <class T> Plan plan_for(const TrainRowsArgs& args, int blocks, int whole, int64_t shared_bytes) {
  Plan plan;
  plan.blocks = 1;
  plan.layers = args.layers;
  plan.units = plan.most_units = plan.received = plan.exchanged = plan.partial = 0;
  plan.last_received = std::min(whole, args.layers - 1);
  plan.exchanges = std::max(0, whole - 1);
  plan.shared_bytes = plan.scratch_elements = 0;
  int64_t needed = 0;
  for (int l = 0; l < args.layers; ++l) {
    Layer& layer = plan.layer[l];
    layer = {};
    layer.inputs = static_cast<int>(args.layer[l].inputs);
    layer.outputs = static_cast<int>(args.layer[l].outputs);
    layer.whole = l >= whole;
    const int64_t share = layer.whole ? layer.outputs : (layer.outputs + blocks - 1) / blocks;
    layer.units = static_cast<int>(round_up(share, kLanes<T>));
    layer.owners = (layer.outputs + layer.units - 1) / layer.units;
    layer.unit_at = plan.units;
    layer.exchange_at = plan.exchanged;
    plan.units += layer.units;
    plan.most_units = std::max(plan.most_units, layer.units);
    if (!layer.whole) {
      plan.exchanged += layer.outputs;
      plan.blocks = std::max(plan.blocks, layer.owners);
    }
    if (l > 0 && l <= whole) plan.received = std::max(plan.received, layer.inputs);
    if (l > 0 && !layer.whole) plan.partial = std::max(plan.partial, layer.inputs);
    needed += int64_t{layer.units} * layer.inputs;
  }
  plan.front = front_of<T>(plan);
  const int64_t room = shared_bytes / static_cast<int64_t>(sizeof(T));
  if (plan.front.end > room) return plan;
  if (plan.front.end + needed > room) fill_registers<T>(plan);
  fill_shared<T>(plan, room);
  plan.possible = true;
  plan.cost = cost_of<T>(plan);
  return plan;
}

// The plan for a network on a GPU of so many multiprocessors, chosen by shapes and these two numbers alone.
template <class T> Plan best_plan(const TrainRowsArgs& args, int multiprocessors, int64_t shared_bytes) {
  Plan best;
  if (args.layers < 1 || args.layers > TrainRowsArgs::kMaxLayers) return best;
  int64_t weights = 0;
  for (int l = 0; l < args.layers; ++l) {
    const int64_t inputs = args.layer[l].inputs, outputs = args.layer[l].outputs;
    if (inputs < 1 || outputs < 1 || inputs > kMostWeights || outputs > kMostWeights) return best;
    weights += inputs * outputs;
    if (weights > kMostWeights) return best;
  }
  const int most = std::min({multiprocessors, kMostBlocks, args.blocks > 0 ? args.blocks : kMostBlocks});
  for (int blocks = args.blocks > 0 ? most : 1; blocks <= most;
       blocks = blocks < most ? std::min(2 * blocks, most) : most + 1) {
    for (int whole = blocks == 1 ? 0 : 1; whole <= (blocks == 1 ? 0 : args.layers); ++whole) {
      const Plan plan = plan_for<T>(args, blocks, whole, shared_bytes);
      if (plan.possible && (!best.possible || plan.cost < best.cost)) best = plan;
    }
  }
  return best;
}

}  // namespace rows
}  // namespace
}  // namespace deltarule::cuda
