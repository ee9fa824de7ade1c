// Operands of gemm_mma.cuh on their way from float32 in global memory to the tensor cores' registers.
//
//   Panel   rows of op(A), or columns of op(B), and kDepth of k: loaded to registers, split into planes of bfloat16 and
//           stored to shared memory. "Rows" are rows of A or columns of B here.
//   Plane   one plane of a panel in shared memory, in the order of its source: lines along k (32 numbers) or across.
//
// A line of a plane is cut into pieces of 16 bytes, which is what a row of an 8 x 8 matrix of ldmatrix is. Piece p of
// line l lies at p ^ (l / 2 % 4) (lines along k, two of them in 128 bytes) or p ^ (l % 8) (lines across): the eight
// rows of a matrix are eight lines, and so fall into the 32 banks once. Stores of 8 bytes a thread fill 128 bytes in a
// row with 16 threads, permuted by pieces.
#pragma once

#include "cuda/launch.cuh"
#include "cuda/ptx_mma.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kDepth = 32;  // of k, between two barriers

// Operands are multiplied by this first, so that the last bit of the smallest subnormal float32 is one that a bfloat16
// can hold: planes then lose nothing at the lower end. What becomes too large there is not finite in the end and is
// done again in float32 (gemm_mma.cuh).
constexpr float kOperandScale = 0x1p16f, kProductScale = 0x1p-32f;

template <int Rows, bool Along> struct Plane {
  static constexpr int kBytes = Rows * kDepth * 2;
  static constexpr int kLine = Along ? kDepth * 2 : Rows * 2;

  static __device__ __forceinline__ int offset(int row, int k) {
    const int line = Along ? row : k, at = Along ? k : row;
    const int piece = (at >> 3) ^ (Along ? line >> 1 & 3 : line & 7);
    return line * kLine + piece * 16 + (at & 7) * 2;
  }

  // Where this lane points ldmatrix for 16 rows from `row` on and 16 of k from 0 on: matrix 1 is 8 rows (RowsFirst) or
  // 8 of k further, matrix 2 the other of the two, matrix 3 both.
  template <bool RowsFirst> static __device__ __forceinline__ int start(int row, int lane) {
    const int second = lane >> 3 & 1, third = lane >> 4;
    const int rows = RowsFirst ? second : third, depth = RowsFirst ? third : second;
    return Along ? offset(row + (lane & 7) + 8 * rows, 8 * depth) : offset(row + 8 * rows, (lane & 7) + 8 * depth);
  }

  // The same for 16 i rows and 16 step of k further: pieces change places within their 128 bytes, lines are counted on.
  static __device__ __forceinline__ uint32_t at(uint32_t start, int i, int step) {
    return Along ? (start ^ (32 * step)) + 16 * kLine * i : (start ^ (32 * i)) + 16 * kLine * step;
  }

  static __device__ __forceinline__ void load(uint32_t (&part)[4], uint32_t address) {
    if constexpr (Along) load_matrices(part, address);
    else load_matrices_transposed(part, address);
  }
};

template <int Rows, bool Along, int Threads> struct Panel {
  static constexpr int kInLine = (Along ? kDepth : Rows) / 4;      // quads of numbers
  static constexpr int kLines = Threads / kInLine;                 // that the block loads at a time
  static constexpr int kQuads = (Along ? Rows : kDepth) / kLines;  // of a thread
  static_assert(Threads % kInLine == 0 && kQuads * Threads * 4 == Rows * kDepth);

  float4 quad[kQuads];

  // op(A) from row `first` on (or columns of op(B)) of which `rows` are there, k from `k` on, of which `depth` are
  // there; the others count as 0. aligned: source and ld, to four numbers.
  __device__ __forceinline__ void load(const float* source, int64_t ld, bool aligned, int64_t first, int64_t rows,
                                       int64_t k, int64_t depth) {
    const int line = threadIdx.x / kInLine, at = threadIdx.x % kInLine * 4;
    const float* const from = source + (Along ? (first + line) * ld + k + at : (k + line) * ld + first + at);
    if (aligned && rows >= Rows && depth >= kDepth) {
#pragma unroll
      for (int q = 0; q < kQuads; ++q) quad[q] = *reinterpret_cast<const float4*>(from + q * kLines * ld);
      return;
    }
    const int64_t lines = Along ? rows : depth, in_line = Along ? depth : rows;
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      const float* p = from + q * kLines * ld;
      const int n = line + q * kLines < lines ? static_cast<int>(min(in_line - at, int64_t{4})) : 0;
      if (aligned && n == 4) {
        quad[q] = *reinterpret_cast<const float4*>(p);
      } else {
        quad[q] = {n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, n > 3 ? p[3] : 0.0f};
      }
    }
    __syncwarp();  // what follows is for whole warps
  }

  template <int Planes> __device__ __forceinline__ void store(unsigned char* planes) const {
    using In = Plane<Rows, Along>;
    const int line = threadIdx.x / kInLine, at = threadIdx.x % kInLine * 4;
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      unsigned char* to = planes + (Along ? In::offset(line + q * kLines, at) : In::offset(at, line + q * kLines));
      float x[4] = {quad[q].x * kOperandScale, quad[q].y * kOperandScale, quad[q].z * kOperandScale,
                    quad[q].w * kOperandScale};
#pragma unroll
      for (int p = 0; p < Planes; ++p) {
        const uint2 pairs = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3])};
        *reinterpret_cast<uint2*>(to + p * In::kBytes) = pairs;
        x[0] -= __uint_as_float(pairs.x << 16);
        x[1] -= __uint_as_float(pairs.x & 0xFFFF0000u);
        x[2] -= __uint_as_float(pairs.y << 16);
        x[3] -= __uint_as_float(pairs.y & 0xFFFF0000u);
      }
    }
  }
};

}  // namespace
}  // namespace deltarule::cuda
