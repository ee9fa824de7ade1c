// copy: strided copies with conversion between any two dtypes.
//
// Computes   y = x converted, as csrc/cpu/copy.cpp has it: float to integer truncates, and what does not fit becomes
//            the smallest int32 or int64, whose low byte uint8 takes. Same dtype: bytes moved, whatever they mean.
// Layout     map.cuh's. Where x lies close along another axis than y (a transpose), tiles of 32 x 32 pass through
//            shared memory, rows of 33 elements, so that columns fall into different banks:
//
//              x, 32 neighbours a warp ->  tile[c][r]  -> y, 32 neighbours a warp
//
// Arithmetic bound by memory.
// Measured   not run on hardware yet. sm_90a: 29 to 48 registers, no spill.
// Refs       M. Harris, "An efficient matrix transpose in CUDA C/C++" (2013).
#include <cstdint>
#include <type_traits>

#include "cuda/map.cuh"
#include "cuda/slots.h"

namespace deltarule::cuda {
namespace {

struct Boolean {  // of a bool array: any byte but 0 is true
  uint8_t byte;
};

template <class T> constexpr bool is_float = T(0.5) != T(0);
template <> constexpr bool is_float<Boolean> = false;

template <class From, class To> struct Convert {
  static constexpr int inputs = 1;
  __device__ __forceinline__ To operator()(const From (&x)[1]) const { return converted(x[0]); }

  static __device__ __forceinline__ To converted(From x) {
    if constexpr (!is_float<From> || is_float<To>) {
      return static_cast<To>(x);
    } else if constexpr (sizeof(To) == 4) {
      return x >= From(-0x1p31) && x < From(0x1p31) ? static_cast<To>(x) : INT32_MIN;
    } else {
      return static_cast<To>(x >= From(-0x1p63) && x < From(0x1p63) ? static_cast<int64_t>(x) : INT64_MIN);
    }
  }
};

template <class From> struct Convert<From, Boolean> {
  static constexpr int inputs = 1;
  __device__ __forceinline__ uint8_t operator()(const From (&x)[1]) const { return x[0] != From(0); }
};

template <class To> struct Convert<Boolean, To> {
  static constexpr int inputs = 1;
  __device__ __forceinline__ To operator()(const uint8_t (&x)[1]) const { return static_cast<To>(x[0] != 0); }
};

// T an unsigned integer of the dtype's size.
template <class T> struct Move {
  static constexpr int inputs = 1;
  __device__ __forceinline__ T operator()(const T (&x)[1]) const { return x[0]; }
};

template <class T> struct Stored {
  using type = T;
};
template <> struct Stored<Boolean> {
  using type = uint8_t;
};

// visit(float{}) and so on
template <class Visitor> void with_dtype(DType dtype, const Visitor& visit) {
  switch (dtype) {
    case DType::float32:
      return visit(float{});
    case DType::float64:
      return visit(double{});
    case DType::int32:
      return visit(int32_t{});
    case DType::int64:
      return visit(int64_t{});
    case DType::uint8:
      return visit(uint8_t{});
    case DType::boolean:
      return visit(Boolean{});
  }
}

constexpr int kTile = 32, kTileThreads = 8;  // rows of threads
constexpr int64_t kWorthTiles = 16;          // smaller extents run through memory by whole sectors anyway

// Tiles of the axes `rows` (along which x lies close) and 0 (along which y does), times the other axes.
struct Tiles {
  uint32_t rows, cols;
  Divider across, down;  // numbers of tiles
  int64_t x_stride, y_stride;
  Grid<2> others;
};

template <class T>
__global__ void __launch_bounds__(kTile* kTileThreads)
    transpose_kernel(const __grid_constant__ Tiles tiles, const T* x, T* y) {
  DELTARULE_SHARED(T, tile);
  constexpr int kRow = kTile + 1;
  const uint32_t band = tiles.across.quotient(blockIdx.x), other = tiles.down.quotient(band);
  const uint32_t first_col = (blockIdx.x - band * tiles.across.divisor) * kTile;
  const uint32_t first_row = (band - other * tiles.down.divisor) * kTile;
  int64_t at[2];
  locate(tiles.others, other, at);
  const uint32_t i = threadIdx.x % kTile, j = threadIdx.x / kTile;
  x += at[1] + first_row + i;
  y += at[0] + first_col + i;
  constexpr uint32_t kSteps = kTile / kTileThreads;
  T column[kSteps];
#pragma unroll
  for (uint32_t step = 0; step < kSteps; ++step) {
    const uint32_t col = first_col + j + step * kTileThreads;
    column[step] = first_row + i < tiles.rows && col < tiles.cols ? x[col * tiles.x_stride] : T(0);
  }
#pragma unroll
  for (uint32_t step = 0; step < kSteps; ++step) tile[(j + step * kTileThreads) * kRow + i] = column[step];
  __syncthreads();
#pragma unroll
  for (uint32_t step = 0; step < kSteps; ++step) {
    const uint32_t row = first_row + j + step * kTileThreads;
    if (row < tiles.rows && first_col + i < tiles.cols) y[row * tiles.y_stride] = tile[i * kRow + row - first_row];
  }
}

// The axis along which x lies close while y does so along axis 0, or -1.
int transposed_axis(const Axes<2>& axes) {
  if (axes.stride[0][0] != 1 || axes.stride[1][0] == 1 || axes.shape[0] < kWorthTiles) return -1;
  for (int axis = 1; axis < axes.rank; ++axis)
    if (axes.stride[1][axis] == 1) return axes.shape[axis] >= kWorthTiles ? axis : -1;
  return -1;
}

template <class T> void transpose(const Axes<2>& axes, int axis, const T* x, T* y) {
  Axes<2> others;
  for (int from = 1; from < axes.rank; ++from) {
    if (from == axis) continue;
    others.total *= others.shape[others.rank] = axes.shape[from];
    for (int k = 0; k < 2; ++k) others.stride[k][others.rank] = axes.stride[k][from];
    ++others.rank;
  }
  if (others.rank == 0) {
    others.rank = 1;
    others.shape[0] = 1;
    for (int k = 0; k < 2; ++k) others.stride[k][0] = 0;
  }
  const int64_t across = ceil_div<int64_t>(axes.shape[0], kTile), down = ceil_div<int64_t>(axes.shape[axis], kTile);
  const Tiles tiles{static_cast<uint32_t>(axes.shape[axis]),
                    static_cast<uint32_t>(axes.shape[0]),
                    Divider::of(across),
                    Divider::of(down),
                    axes.stride[1][0],
                    axes.stride[0][axis],
                    make_grid(others, 1)};
  run(DELTARULE_HERE("transpose"), dim3(static_cast<unsigned>(across * down * others.total)),
      dim3(kTile * kTileThreads), kTile * (kTile + 1) * sizeof(T), transpose_kernel<T>, tiles, x + axes.start[1],
      y + axes.start[0]);
}

template <class T> void move(const CopyArgs& args, const Axes<2>& axes) {
  const T* const x = static_cast<const T*>(args.x);
  T* const y = static_cast<T*>(args.y);
  const int axis = transposed_axis(axes);
  if (axis < 0) return map_grid(DELTARULE_HERE("copy"), Move<T>{}, axes, Sources<T, 1>{{x}}, y);
  for_pieces(axes, [&](const Axes<2>& piece) { transpose(piece, axis, x, y); });
}

template <class From, class To> void convert(const CopyArgs& args, const Axes<2>& axes) {
  using In = typename Stored<From>::type;
  using Out = typename Stored<To>::type;
  if constexpr (!std::is_same_v<From, To>)
    map_grid(DELTARULE_HERE("convert"), Convert<From, To>{}, axes, Sources<In, 1>{{static_cast<const In*>(args.x)}},
             static_cast<Out*>(args.y));
}

}  // namespace

void copy(const CopyArgs& args) noexcept {
  const Axes<2> axes = make_axes<2>(args.rank, args.shape, {args.stride_y, args.stride_x});
  if (args.from == args.to) {
    switch (size_of(args.to)) {
      case 1:
        return move<uint8_t>(args, axes);
      case 4:
        return move<uint32_t>(args, axes);
      default:
        return move<uint64_t>(args, axes);
    }
  }
  with_dtype(args.from, [&](auto from) {
    with_dtype(args.to, [&](auto to) { convert<decltype(from), decltype(to)>(args, axes); });
  });
}

}  // namespace deltarule::cuda
