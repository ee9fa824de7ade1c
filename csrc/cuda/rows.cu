// gather_rows, find.
//
// Computes   y[r,:] = (x[index[r],:] - shift) * scale, converted; the first bad element of a matrix.
// Layout     elements are numbered row after row; a thread takes a few groups a block's width apart. A group is 16
//            bytes of y (gather_rows) or x (find) where rows begin and end at such groups, else one element: then the
//            rows of a byte matrix are read 32 bytes a warp, one sector.
// Arithmetic bound by memory. Subtraction and multiplication are rounded each by itself, as on the CPU. find: threads
//            that found something write the smallest place by an integer atomicMin, whatever the order.
// Measured   not run on hardware yet. sm_90a: REGISTERS
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda/map.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float scaled(float x, float shift, float scale) {
  return __fmul_rn(__fsub_rn(x, shift), scale);
}
__device__ __forceinline__ double scaled(double x, double shift, double scale) {
  return __dmul_rn(__dsub_rn(x, shift), scale);
}

template <class From, class To> struct Gather {
  const From* x;
  int64_t ldx, cols, first;  // the first row's number
  const int64_t* index;
  const To* shift;
  const To* scale;
  To* y;
  const StepState* state;
  uint32_t groups;
  Divider in_row;  // groups of a row
};

template <int Width, class From, class To>
__global__ void __launch_bounds__(kThreads) gather_kernel(const __grid_constant__ Gather<From, To> args) {
  constexpr int kItems = map_items(Width);
  const uint32_t thread = blockIdx.x * (kThreads * kItems) + threadIdx.x;
  const int64_t start = args.first + (args.state != nullptr ? args.state->start : 0);
  Pack<From, Width> in[kItems];
  uint32_t row[kItems], col[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const uint32_t group = thread + item * kThreads;
    if (group >= args.groups) continue;
    row[item] = args.in_row.quotient(group);
    col[item] = (group - row[item] * args.in_row.divisor) * Width;
    const int64_t from = args.index != nullptr ? args.index[start + row[item]] : start + row[item];
    in[item] = load_group<Width>(args.x + from * args.ldx + col[item], false, true, Width);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    if (thread + item * kThreads >= args.groups) continue;
    Pack<To, Width> out;
#pragma unroll
    for (int i = 0; i < Width; ++i) out.lane[i] = static_cast<To>(in[item].lane[i]);
    if constexpr (!std::is_integral_v<To>) {
      if (args.shift != nullptr) {
        const Pack<To, Width> shift = load_group<Width>(args.shift + col[item], false, true, Width);
        const Pack<To, Width> scale = load_group<Width>(args.scale + col[item], false, true, Width);
#pragma unroll
        for (int i = 0; i < Width; ++i) out.lane[i] = scaled(out.lane[i], shift.lane[i], scale.lane[i]);
      }
    }
    store_group<Width>(args.y + row[item] * args.cols + col[item], out, true, Width);
  }
}

template <int Width, class From, class To> void gather_pieces(const GatherArgs& given, Gather<From, To> args) {
  const int64_t widest = given.cols < kMostElements ? given.cols : kMostElements, most = kMostElements / widest;
  for (int64_t col = 0; col < given.cols; col += widest) {
    const int64_t in_row = (given.cols - col < widest ? given.cols - col : widest) / Width;
    args.in_row = Divider::of(in_row);
    args.x = static_cast<const From*>(given.x) + col;
    if (given.shift != nullptr) {
      args.shift = static_cast<const To*>(given.shift) + col;
      args.scale = static_cast<const To*>(given.scale) + col;
    }
    for (int64_t row = 0; row < given.rows; row += most) {
      args.first = row;
      args.y = static_cast<To*>(given.y) + row * given.cols + col;
      args.groups = static_cast<uint32_t>((given.rows - row < most ? given.rows - row : most) * in_row);
      const unsigned blocks = ceil_div(args.groups, static_cast<uint32_t>(kThreads * map_items(Width)));
      run(DELTARULE_HERE("gather_rows"), dim3(blocks), dim3(kThreads), 0, gather_kernel<Width, From, To>, args);
    }
  }
}

template <class From, class To> void gather(const GatherArgs& given) {
  constexpr int kWidth = group_width<From, To>;
  Gather<From, To> args{};
  args.ldx = given.ldx;
  args.cols = given.cols;
  args.index = given.index;
  args.state = given.state;
  const bool groups = given.cols % kWidth == 0 && given.ldx % kWidth == 0 &&
                      is_aligned(given.x, kWidth * sizeof(From)) && is_aligned(given.y, kWidth * sizeof(To)) &&
                      is_aligned(given.shift, kWidth * sizeof(To)) && is_aligned(given.scale, kWidth * sizeof(To));
  if (groups) gather_pieces<kWidth>(given, args);
  else gather_pieces<1>(given, args);
}

template <class To> void gather_to(const GatherArgs& args) {
  switch (args.from) {
    case DType::uint8:
      return gather<uint8_t, To>(args);
    case DType::float32:
      return gather<float, To>(args);
    default:
      return gather<double, To>(args);
  }
}

template <class T> __device__ __forceinline__ bool is_bad(T x, T least, T below) {
  if constexpr (std::is_integral_v<T>) return x < least || x >= below;
  else return !(x >= least && x < T(__builtin_inf()) && x > T(-__builtin_inf()));
}

// grid: operand 0 is an element's number, `first` that of the first one, operand 1 is x. *at has all bits set before.
template <int Width, class T>
__global__ void __launch_bounds__(kThreads)
    find_kernel(const __grid_constant__ Grid<2> grid, int64_t first, bool aligned, const T* x, T least, T below,
                unsigned long long* at) {
  constexpr int kItems = map_items(Width);
  const uint32_t thread = blockIdx.x * (kThreads * kItems) + threadIdx.x;
  Pack<T, Width> in[kItems];
  int64_t place[kItems][2];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const uint32_t group = thread + item * kThreads;
    if (group >= grid.groups) continue;
    locate(grid, group, place[item]);
    const int count = group == grid.groups - 1 ? grid.last : Width;
    in[item] = load_group<Width>(x + place[item][1], false, aligned && count == Width, count);
  }
  unsigned long long found = ~0ull;
#pragma unroll
  for (int item = kItems - 1; item >= 0; --item) {
    const uint32_t group = thread + item * kThreads;
    if (group >= grid.groups) continue;
    const int count = group == grid.groups - 1 ? grid.last : Width;
#pragma unroll
    for (int i = Width - 1; i >= 0; --i)
      if (i < count && is_bad(in[item].lane[i], least, below))
        found = static_cast<unsigned long long>(first + place[item][0] + i);
  }
  if (!__any_sync(~0u, found != ~0ull)) return;
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const unsigned long long other = __shfl_xor_sync(~0u, found, lanes);
    found = other < found ? other : found;
  }
  if (threadIdx.x % 32 == 0) atomicMin(at, found);
}

template <int Width, class T>
void find_piece(const FindArgs& args, const Axes<2>& piece, bool aligned, T least, T below) {
  const Grid<2> grid = make_grid(piece, Width);
  const unsigned blocks = ceil_div(grid.groups, static_cast<uint32_t>(kThreads * map_items(Width)));
  run(DELTARULE_HERE("find"), dim3(blocks), dim3(kThreads), 0, find_kernel<Width, T>, grid, piece.start[0], aligned,
      static_cast<const T*>(args.x) + piece.start[1], least, below, reinterpret_cast<unsigned long long*>(args.at));
}

template <class T> void find_typed(const FindArgs& args, T least, T below) {
  const int64_t shape[] = {args.rows, args.cols}, numbers[] = {args.cols, 1}, strides[] = {args.ldx, 1};
  const Axes<2> axes = make_axes<2>(2, shape, {numbers, strides});
  for_pieces(axes, [&](const Axes<2>& piece) {
    constexpr int kWidth = 16 / sizeof(T);
    const bool groups = in_groups<2>(piece, kWidth, {nullptr, args.x}, {sizeof(T), sizeof(T)});
    if (groups || (piece.rank == 1 && piece.stride[1][0] == 1)) find_piece<kWidth>(args, piece, groups, least, below);
    else find_piece<1>(args, piece, false, least, below);
  });
}

}  // namespace

void gather_rows(const GatherArgs& args) noexcept {
  if (args.rows == 0 || args.cols == 0) return;
  if (args.to == DType::int64) gather<int64_t, int64_t>(args);
  else if (args.to == DType::float32) gather_to<float>(args);
  else gather_to<double>(args);
}

void find(const FindArgs& args) noexcept {
  report(cudaMemsetAsync(args.at, 0xFF, sizeof *args.at, here().stream), DELTARULE_HERE("find"));  // -1
  switch (args.dtype) {
    case DType::float32: {
      float least = static_cast<float>(args.least);  // the smallest float32 that is not below args.least
      if (static_cast<double>(least) < args.least)
        least = std::nextafter(least, std::numeric_limits<float>::infinity());
      return find_typed<float>(args, least, 0.0f);
    }
    case DType::float64:
      return find_typed<double>(args, args.least, 0.0);
    default:
      return find_typed<int64_t>(args, static_cast<int64_t>(args.least), args.below);
  }
}

}  // namespace deltarule::cuda
