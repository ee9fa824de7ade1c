// One block's part of the layers' products and updates; where weights lie: train_rows_plan.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/train_rows_plan.h"
#include "formulas/activations.h"

namespace deltarule::cuda {
namespace {

namespace rows {

// Everything a launch needs, as its one parameter.
struct Run {
  TrainRowsArgs args;
  Plan plan;
  unsigned* counter;       // of the grid's barrier, 0
  uint64_t* words;         // [2][plan.exchanged] numbers with stamps, 0: the outputs of split layers
  void* partial;           // [2][blocks][partial_stride]: dx by the units of one block
  int64_t partial_stride;  // elements
  void* scratch;           // [blocks][plan.scratch_elements]
};
static_assert(sizeof(Run) <= 4000, "kernel parameters are 4 KiB at most");

__device__ __forceinline__ void unpack(const float4& v, float (&w)[4]) {
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}
__device__ __forceinline__ void unpack(const double2& v, double (&w)[2]) { w[0] = v.x, w[1] = v.y; }
__device__ __forceinline__ float4 packed(const float (&w)[4]) { return make_float4(w[0], w[1], w[2], w[3]); }
__device__ __forceinline__ double2 packed(const double (&w)[2]) { return make_double2(w[0], w[1]); }

// Far: scratch memory, past L1, which is left to shared memory.
template <bool Far, class T, int N> __device__ __forceinline__ void load_vector(const T* from, T (&w)[N]) {
  using Packed = decltype(packed(w));
  const auto* address = reinterpret_cast<const Packed*>(from);
  if constexpr (Far) unpack(__ldcg(address), w);
  else unpack(*address, w);
}
template <bool Far, class T, int N> __device__ __forceinline__ void store_vector(T* to, const T (&w)[N]) {
  using Packed = decltype(packed(w));
  auto* address = reinterpret_cast<Packed*>(to);
  if constexpr (Far) __stcg(address, packed(w));
  else *address = packed(w);
}

// w -= rate (x dz + decay w)
template <class T> struct Rule {
  T rate, decay;

  __device__ __forceinline__ T operator()(T w, T x, T dz) const {
    return ::fma(-rate, ::fma(decay, decay != T(0) ? w : T(0), x * dz), w);
  }
};

// A tile of a thread: weights of kSteps inputs and one vector of units.
template <class T> using Cells = T[kSteps][kLanes<T>];

template <class T> struct Block {
  static constexpr int V = kLanes<T>;

  const Run& run;
  T* memory;  // shared
  int index, thread;

  __device__ __forceinline__ const Layer& layer(int l) const { return run.plan.layer[l]; }
  __device__ __forceinline__ int first_unit(const Layer& l) const { return l.whole ? 0 : index * l.units; }
  __device__ __forceinline__ int own_units(const Layer& l) const {
    return min(l.units, max(0, l.outputs - first_unit(l)));
  }
  __device__ __forceinline__ int own_vectors(const Layer& l) const { return (own_units(l) + V - 1) / V; }

  template <bool Far> __device__ __forceinline__ T* vector_at(const Layer& l, int vector) const {
    if constexpr (!Far) return memory + l.shared_at + (vector - l.in_registers) * l.inputs * V;
    T* const mine = static_cast<T*>(run.scratch) + index * run.plan.scratch_elements;
    return mine + l.scratch_at + int64_t{vector - l.in_registers - l.shared} * l.inputs * V;
  }

  // Whether the thread has an input in this step.
  __device__ __forceinline__ bool has(const Layer& l, int step) const { return thread < l.inputs - step * kThreads; }

  // The thread's weights of a vector, from its place of the first step on; 0 beyond the last input.
  template <bool Far>
  __device__ __forceinline__ void load_steps(const Layer& l, const T* from, int step, Cells<T>& w) const {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int v = 0; v < V; ++v) w[k][v] = T(0);
      if (has(l, step + k)) load_vector<Far>(from + k * kThreads * V, w[k]);
    }
  }

  // The thread's inputs of kSteps steps; 0 beyond the last.
  __device__ __forceinline__ void load_inputs(const T* x, int inputs, int step, T (&to)[kSteps]) const {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      const int i = (step + k) * kThreads + thread;
      to[k] = i < inputs ? x[i] : T(0);
    }
  }

  // --- Forward

  // The warp's sums of N / V vectors of units, from `vector` on, to sums[vector][kSums][V]. Half of the numbers change
  // place for half of the lanes until each lane has one; then what lanes have of the same unit is added.
  template <int N> __device__ __forceinline__ void add_lanes(T (&sum)[N], T* sums, int vector, int vectors) const {
    const int lane = thread % 32;
    int bit = 16;
#pragma unroll
    for (int half = N / 2; half > 0; half /= 2, bit /= 2) {
      const bool upper = (lane & bit) != 0;
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const T given = upper ? sum[i] : sum[i + half], kept = upper ? sum[i + half] : sum[i];
        sum[i] = kept + __shfl_xor_sync(~0u, given, bit);
      }
    }
#pragma unroll
    for (; bit > 0; bit /= 2) sum[0] += __shfl_xor_sync(~0u, sum[0], bit);
    const int unit = lane / (32 / N);
    if (lane % (32 / N) == 0 && unit < vectors * V)
      sums[((vector + unit / V) * kSums + thread / 32) * V + unit % V] = sum[0];
  }

  template <int N>
  __device__ __forceinline__ static void add_products(const Cells<T>& w, const T (&x)[kSteps], T (&sum)[N], int at) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int v = 0; v < V; ++v) sum[at + v] = ::fma(w[k][v], x[k], sum[at + v]);
  }

  // Vectors [begin, end) in memory, two at a time: their products with x[inputs].
  template <bool Far, bool InTurn>
  __device__ __forceinline__ void products_of(const Layer& l, const T* x, int begin, int end, T* sums) const {
#pragma unroll 1
    for (int vector = begin; vector < end; vector += 2) {
      const bool both = vector + 1 < end;
      const T* from = vector_at<Far>(l, vector) + thread * V;
      T in[kSteps], sum[2 * V] = {};
#pragma unroll 1
      for (int step = 0; step * kThreads < l.inputs; step += kSteps, from += kSteps * kThreads * V) {
        Cells<T> w;
        load_inputs(x, l.inputs, step, in);
        load_steps<Far>(l, from, step, w);
        add_products(w, in, sum, 0);
        if constexpr (InTurn) asm volatile("" ::: "memory");  // no registers for the next loads yet
        if (!both) continue;
        load_steps<Far>(l, from + l.inputs * V, step, w);
        add_products(w, in, sum, V);
      }
      add_lanes(sum, sums, vector, both ? 2 : 1);
    }
  }

  // sums[vector][kSums][V] = the products of the layer's own units with x[inputs].
  template <int Tiles>
  __device__ __forceinline__ void products(int l, const T* x, T* sums, const Cells<T>* tiles) const {
    const Layer& layer = this->layer(l);
    const int vectors = own_vectors(layer), far_from = layer.in_registers + layer.shared;
    if (vectors == 0) return;
    T in[kSteps], sum[V] = {};
#pragma unroll
    for (int p = 0; p < Tiles; ++p) {
      const Tile& tile = run.plan.tile[p];
      if ((tile.key & 31) != l || layer.in_registers == 0) continue;
      if (tile.opens) {
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] = T(0);
      }
      load_inputs(x, layer.inputs, tile.key >> 5, in);
      add_products(tiles[p], in, sum, 0);
      if (tile.closes) add_lanes(sum, sums, tile.vector, 1);
    }
    products_of<false, (Tiles > 0)>(layer, x, layer.in_registers, min(vectors, far_from), sums);
    products_of<true, (Tiles > 0)>(layer, x, far_from, vectors, sums);
  }

  // What all warps found for own unit u.
  __device__ __forceinline__ T total(const T* sums, int u) const {
    T sum = T(0);
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) sum += sums[(u / V * kSums + warp) * V + u % V];
    return sum;
  }

  // --- Backward

  __device__ __forceinline__ static void add_dx(const Cells<T>& w, const T (&dz)[V], T (&dx)[kSteps]) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int v = 0; v < V; ++v) dx[k] = ::fma(w[k][v], dz[v], dx[k]);
  }

  __device__ __forceinline__ static void update(Cells<T>& w, const T (&x)[kSteps], const T (&dz)[V],
                                                const Rule<T>& rule) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int v = 0; v < V; ++v) w[k][v] = rule(w[k][v], x[k], dz[v]);
  }

  template <bool Dx, bool Far>
  __device__ __forceinline__ void visit_memory(const Layer& l, int vector, int step, const T* dz, const T (&x)[kSteps],
                                               bool updates, const Rule<T>& rule, T (&dx)[kSteps]) const {
    T* const place = vector_at<Far>(l, vector) + (step * kThreads + thread) * V;
    Cells<T> w;
    T errors[V];
    load_vector<false>(dz + vector * V, errors);
    load_steps<Far>(l, place, step, w);
    if constexpr (Dx) add_dx(w, errors, dx);
    if (Dx && !updates) return;
    update(w, x, errors, rule);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      if (has(l, step + k)) store_vector<Far>(place + k * kThreads * V, w[k]);
    }
  }

  // Own units' dz and x[inputs] -> dx, told input by input to sink(i, dx) (Dx), and the update of own weights; `near`,
  // `far`: of those on chip, of those in scratch memory. Without Dx and `far` the latter are not looked at. x is read
  // for updates only.
  template <bool Dx, int Tiles, class Sink>
  __device__ __forceinline__ void walk(int l, const T* x, bool near, bool far, const Rule<T>& rule, Cells<T>* tiles,
                                       const Sink& sink) const {
    const Layer& layer = this->layer(l);
    const T* dz = memory + run.plan.front.dz + layer.unit_at;
    const int vectors = own_vectors(layer), far_from = layer.in_registers + layer.shared;
#pragma unroll 1
    for (int step = 0; step * kThreads < layer.inputs; step += kSteps) {
      T in[kSteps] = {}, dx[kSteps] = {};
      if (near || far) load_inputs(x, layer.inputs, step, in);
#pragma unroll
      for (int p = 0; p < Tiles; ++p) {
        const Tile& tile = run.plan.tile[p];
        if (tile.key != key_of(l, step)) continue;
        T errors[V];
        load_vector<false>(dz + tile.vector * V, errors);
        if constexpr (Dx) add_dx(tiles[p], errors, dx);
        if (!Dx || near) update(tiles[p], in, errors, rule);
      }
#pragma unroll 1
      for (int vector = layer.in_registers; vector < min(vectors, far_from); ++vector)
        visit_memory<Dx, false>(layer, vector, step, dz, in, near, rule, dx);
#pragma unroll 1
      for (int vector = far_from; (Dx || far) && vector < vectors; ++vector)
        visit_memory<Dx, true>(layer, vector, step, dz, in, far, rule, dx);
      if constexpr (Dx) {
#pragma unroll
        for (int k = 0; k < kSteps; ++k) {
          if (has(layer, step + k)) sink((step + k) * kThreads + thread, dx[k]);
        }
      }
    }
  }

  // sums[vector][kSums][V] = this block's units of `below`, summed over partial[block][stride] of the blocks that
  // have units of `above`, in an order fixed by shape.
  __device__ __forceinline__ void sum_partial(const Layer& below, const Layer& above, const T* partial, T* sums) const {
    const int vectors = (own_units(below) + V - 1) / V, lane = thread % 32, warp = thread / 32;
    int side = 1;  // lanes side by side, a vector each
    while (side < vectors && side < 32) side *= 2;
    const int q = lane % side, stacked = 32 / side;
    const T* const from = partial + first_unit(below);
    for (int first = 0; first < vectors; first += 32) {
      T sum[V] = {};
#pragma unroll 4
      for (int owner = warp * stacked + lane / side; owner < above.owners; owner += kWarps * stacked) {
        T w[V] = {};
        if (first + q < vectors) load_vector<true>(from + owner * run.partial_stride + (first + q) * V, w);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += w[v];
      }
      for (int bit = side; bit < 32; bit *= 2) {
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += __shfl_xor_sync(~0u, sum[v], bit);
      }
      if (lane < side && first + q < vectors) store_vector<false>(sums + ((first + q) * kSums + warp) * V, sum);
    }
  }

  // --- Weights between the network's arrays and here

  // All of a layer's own weights, to where they are kept (Load) or back.
  template <bool Load, int Tiles> __device__ __forceinline__ void copy_weights(int l, Cells<T>* tiles) const {
    const Layer& layer = this->layer(l);
    T* const weights = static_cast<T*>(run.args.layer[l].w);
    const int vectors = own_vectors(layer), own = own_units(layer), first = first_unit(layer);
    // Those of one input.
    const auto move = [&](int vector, int step, T(&w)[V]) {
      const int64_t i = step * kThreads + thread;
      const int count = has(layer, step) ? own - vector * V : 0;
      T* const place = weights + i * layer.outputs + first + vector * V;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if constexpr (Load) w[v] = v < count ? place[v] : T(0);
        else if (v < count) place[v] = w[v];
      }
    };
#pragma unroll
    for (int p = 0; p < Tiles; ++p) {
      const Tile& tile = run.plan.tile[p];
      if ((tile.key & 31) != l) continue;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) move(tile.vector, (tile.key >> 5) + k, tiles[p][k]);
    }
    const auto walk = [&](auto far, int begin, int end) {
      constexpr bool kFar = decltype(far)::value;
#pragma unroll 1
      for (int vector = begin; vector < end; ++vector) {
        T* const kept = vector_at<kFar>(layer, vector) + thread * V;
#pragma unroll 1
        for (int step = 0; has(layer, step); ++step) {
          T w[V];
          if constexpr (!Load) load_vector<kFar>(kept + step * kThreads * V, w);
          move(vector, step, w);
          if constexpr (Load) store_vector<kFar>(kept + step * kThreads * V, w);
        }
      }
    };
    const int far_from = layer.in_registers + layer.shared;
    walk(std::false_type{}, layer.in_registers, min(vectors, far_from));
    walk(std::true_type{}, far_from, vectors);
  }
};

}  // namespace rows
}  // namespace
}  // namespace deltarule::cuda
