// copy: strided copies with conversion between any two dtypes; one body for every table.
//
// Computes   y = x converted. Same dtype: bytes moved. Float to integer truncates, and what does not fit becomes the
//            smallest int32 or int64 (as x86 does it), whose low byte uint8 takes.
// Layout     the innermost axis is the output's closest; strided operands pass through buffers in L1.
#include <cstring>

#include "base/parallel.h"
#include "cpu/isa/scalar.h"
#include "cpu/tables.h"

namespace deltarule::cpu {
namespace {

#include "cpu/loops.inl"

template <class To, class From> To converted(From x) {
  constexpr bool floating = From(0.5) != From(0);
  if constexpr (!floating || To(0.5) != To(0)) {
    return static_cast<To>(x);
  } else if constexpr (sizeof(To) == 4) {
    return x >= From(-0x1p31) && x < From(0x1p31) ? static_cast<To>(x) : INT32_MIN;
  } else {
    return static_cast<To>(x >= From(-0x1p63) && x < From(0x1p63) ? static_cast<int64_t>(x) : INT64_MIN);
  }
}

template <class From, class To> void convert(const void* from, void* to, int64_t n) {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) y[i] = converted<To>(x[i]);
}

template <class From> void to_bool(const void* from, void* to, int64_t n) {
  const From* x = static_cast<const From*>(from);
  uint8_t* y = static_cast<uint8_t*>(to);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] != From(0);
}

template <class To> void from_bool(const void* from, void* to, int64_t n) {
  const uint8_t* x = static_cast<const uint8_t*>(from);
  To* y = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i] != 0);
}

using Loop = void (*)(const void*, void*, int64_t);

template <class From> Loop loop_from(DType to) {
  switch (to) {
    case DType::float32:
      return convert<From, float>;
    case DType::float64:
      return convert<From, double>;
    case DType::int32:
      return convert<From, int32_t>;
    case DType::int64:
      return convert<From, int64_t>;
    case DType::uint8:
      return convert<From, uint8_t>;
    default:
      return to_bool<From>;
  }
}

Loop loop_from_bool(DType to) {
  switch (to) {
    case DType::float32:
      return from_bool<float>;
    case DType::float64:
      return from_bool<double>;
    case DType::int32:
      return from_bool<int32_t>;
    case DType::int64:
      return from_bool<int64_t>;
    default:
      return from_bool<uint8_t>;
  }
}

Loop loop_of(DType from, DType to) {
  switch (from) {
    case DType::float32:
      return loop_from<float>(to);
    case DType::float64:
      return loop_from<double>(to);
    case DType::int32:
      return loop_from<int32_t>(to);
    case DType::int64:
      return loop_from<int64_t>(to);
    case DType::uint8:
      return loop_from<uint8_t>(to);
    default:
      return loop_from_bool(to);
  }
}

// From and To are unsigned integers of the dtypes' sizes: gathering and scattering only move bits.
template <class From, class To> void copy_grid(const CopyArgs& args, const Grid<2>& grid, Loop loop) {
  const int64_t stride_y = grid.stride[0][grid.rank - 1], stride_x = grid.stride[1][grid.rank - 1];
  for_blocks(grid.total, kBlock, grid.total >= kCheapParallel, [&](int64_t begin, int64_t end) {
    alignas(64) From in[kChunk];
    alignas(64) To out[kChunk];
    walk(grid, begin, end, [&](const int64_t* offset, int64_t n) {
      To* y = static_cast<To*>(args.y) + offset[0];
      const From* x = static_cast<const From*>(args.x) + offset[1];
      if (stride_x == 1 && stride_y == 1) return loop(x, y, n);
      if constexpr (sizeof(From) == sizeof(To)) {
        if (args.from == args.to) {
          for (int64_t i = 0; i < n; ++i) y[i * stride_y] = static_cast<To>(x[i * stride_x]);
          return;
        }
      }
      for (int64_t i = 0; i < n; i += kChunk) {
        const int64_t count = least(kChunk, n - i);
        const From* from = contiguous(x, stride_x, i, count, in);
        if (stride_y == 1) {
          loop(from, y + i, count);
        } else {
          loop(from, out, count);
          scatter(out, count, y + i * stride_y, stride_y);
        }
      }
    });
  });
}

template <class From> void copy_from(const CopyArgs& args, const Grid<2>& grid, Loop loop) {
  switch (size_of(args.to)) {
    case 1:
      return copy_grid<From, uint8_t>(args, grid, loop);
    case 4:
      return copy_grid<From, uint32_t>(args, grid, loop);
    default:
      return copy_grid<From, uint64_t>(args, grid, loop);
  }
}

}  // namespace

void copy(const CopyArgs& args) noexcept {
  const Grid<2> grid = make_grid<2>(args.rank, args.shape, {args.stride_y, args.stride_x});
  const Loop loop = loop_of(args.from, args.to);
  switch (size_of(args.from)) {
    case 1:
      return copy_from<uint8_t>(args, grid, loop);
    case 4:
      return copy_from<uint32_t>(args, grid, loop);
    default:
      return copy_from<uint64_t>(args, grid, loop);
  }
}

}  // namespace deltarule::cpu
