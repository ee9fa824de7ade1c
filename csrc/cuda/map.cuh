// map: y = op(x...) element by element, the one kernel behind unary, binary, copy and the activations.
//
// Computes   y[i] = op(x0[i], x1[i], ...), an Op being a struct with `inputs` and operator()(const In (&)[inputs]).
// Layout     grid.cuh's: groups of 16 bytes where all operands lie so, else single elements. The threads of a warp do
//            neighbouring groups; a thread does a few groups a block's width apart, all loads before the first store.
// Arithmetic bound by memory. A multiprocessor has 32 KB an operand in flight (2048 threads of 16 bytes).
// Measured   not run on hardware yet.
#pragma once

#include <cstdint>

#include "cuda/grid.cuh"
#include "cuda/run.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kMapThreads = 128;
constexpr int map_items(int width) { return width == 1 ? 4 : 2; }  // groups of a thread

template <class T, int Inputs> struct Sources {
  const T* pointer[Inputs];
};

// `count` elements from p on; with `whole` they are all of a group and aligned. `still`: the same one each time.
template <int Width, class T>
__device__ __forceinline__ Group<T, Width> load_group(const T* p, bool still, bool whole, int count) {
  Group<T, Width> group;
  if constexpr (Width == 1) {
    group.lane[0] = *p;
  } else if (still) {
    const T value = *p;
#pragma unroll
    for (int i = 0; i < Width; ++i) group.lane[i] = value;
  } else if (whole) {
    group = *reinterpret_cast<const Group<T, Width>*>(p);
  } else {
#pragma unroll
    for (int i = 0; i < Width; ++i) group.lane[i] = i < count ? p[i] : T(0);
  }
  return group;
}

template <int Width, class T>
__device__ __forceinline__ void store_group(T* p, const Group<T, Width>& group, bool whole, int count) {
  if constexpr (Width == 1) {
    *p = group.lane[0];
  } else if (whole) {
    *reinterpret_cast<Group<T, Width>*>(p) = group;
  } else {
#pragma unroll
    for (int i = 0; i < Width; ++i)
      if (i < count) p[i] = group.lane[i];
  }
}

template <int Width, class In, class Out, class Op>
__device__ __forceinline__ Group<Out, Width> apply(const Op& op, const Group<In, Width> (&x)[Op::inputs]) {
  Group<Out, Width> y;
#pragma unroll
  for (int i = 0; i < Width; ++i) {
    In lane[Op::inputs];
#pragma unroll
    for (int k = 0; k < Op::inputs; ++k) lane[k] = x[k].lane[i];
    y.lane[i] = op(lane);
  }
  return y;
}

template <int Width, class Op, class In, class Out>
__global__ void __launch_bounds__(kMapThreads)
    map_kernel(const __grid_constant__ Op op, const __grid_constant__ Grid<Op::inputs + 1> grid, bool aligned,
               const __grid_constant__ Sources<In, Op::inputs> x, Out* y) {
  constexpr int kItems = map_items(Width), kInputs = Op::inputs;
  const uint32_t first = blockIdx.x * (kMapThreads * kItems) + threadIdx.x;
  Group<In, Width> in[kItems][kInputs];
  int64_t at[kItems][kInputs + 1];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const uint32_t group = first + item * kMapThreads;
    if (group >= grid.groups) continue;
    locate(grid, group, at[item]);
    const int count = group == grid.groups - 1 ? grid.last : Width;
#pragma unroll
    for (int k = 0; k < kInputs; ++k)
      in[item][k] =
          load_group<Width>(x.pointer[k] + at[item][k + 1], grid.still[k + 1], aligned && count == Width, count);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const uint32_t group = first + item * kMapThreads;
    if (group >= grid.groups) continue;
    const int count = group == grid.groups - 1 ? grid.last : Width;
    store_group<Width>(y + at[item][0], apply<Width, In, Out>(op, in[item]), aligned && count == Width, count);
  }
}

template <int Width, class Op, class In, class Out>
void run_map(const Place& place, const Op& op, const Axes<Op::inputs + 1>& piece, bool aligned,
             Sources<In, Op::inputs> x, Out* y) {
  const Grid<Op::inputs + 1> grid = make_grid(piece, Width);
  for (int k = 0; k < Op::inputs; ++k) x.pointer[k] += piece.start[k + 1];
  const unsigned blocks = ceil_div(grid.groups, static_cast<uint32_t>(kMapThreads * map_items(Width)));
  run(place, dim3(blocks), dim3(kMapThreads), 0, map_kernel<Width, Op, In, Out>, op, grid, aligned, x,
      y + piece.start[0]);
}

// Elements of a group: 16 bytes of the larger dtype.
template <class In, class Out>
constexpr int group_width = 16 / static_cast<int>(sizeof(In) > sizeof(Out) ? sizeof(In) : sizeof(Out));

template <class In, class Out, int Inputs>
bool in_groups(const Axes<Inputs + 1>& piece, const Sources<In, Inputs>& x, const Out* y) {
  const void* pointers[Inputs + 1] = {y};
  int64_t bytes[Inputs + 1] = {sizeof(Out)};
  for (int k = 0; k < Inputs; ++k) {
    pointers[k + 1] = x.pointer[k];
    bytes[k + 1] = sizeof(In);
  }
  return in_groups(piece, group_width<In, Out>, pointers, bytes);
}

// Over a strided grid: a kernel for groups and one for single elements.
template <class Op, class In, class Out>
void map_grid(const Place& place, const Op& op, const Axes<Op::inputs + 1>& axes, const Sources<In, Op::inputs>& x,
              Out* y) {
  for_pieces(axes, [&](const Axes<Op::inputs + 1>& piece) {
    if (in_groups(piece, x, y)) run_map<group_width<In, Out>>(place, op, piece, true, x, y);
    else run_map<1>(place, op, piece, false, x, y);
  });
}

// Over n contiguous elements: one kernel, which moves misaligned groups element by element.
template <class Op, class T>
void map_run(const Place& place, const Op& op, int64_t n, const Sources<T, Op::inputs>& x, T* y) {
  Axes<Op::inputs + 1> axes;
  axes.rank = 1;
  axes.total = axes.shape[0] = n;
  for (int k = 0; k <= Op::inputs; ++k) axes.stride[k][0] = 1;
  for_pieces(axes, [&](const Axes<Op::inputs + 1>& piece) {
    run_map<group_width<T, T>>(place, op, piece, in_groups(piece, x, y), x, y);
  });
}

}  // namespace
}  // namespace deltarule::cuda
