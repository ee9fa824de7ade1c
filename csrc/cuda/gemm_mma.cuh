// C = epilogue(alpha op(A) op(B)) of float32 operands on tensor cores: warps multiply planes of bfloat16.
//
// Computes   gemm of kernels.h for float32. Each number is the sum of 1 to 3 planes of bfloat16 (8 bits of significand
//            each): x = hi + mid + lo. One plane ("medium") is one product, two ("high") are three, three ("highest")
//            are six; the products left out are below the last plane.
// Layout     A block makes one tile of C from panels of kDepth = 32 of k, two of each in turn: while one is multiplied,
//            the next is on its way from global memory to registers; it is split into planes there (mma_panel.cuh).
//
//                             columns                       Tile         block       warp      warps
//                    +-----+-----+-----+-----+              wide         128 x 256   64 x 64   2 x 4   one plane
//              rows  |warp | ..  | ..  | ..  |              large        128 x 128   64 x 32   2 x 4
//                    +-----+-----+-----+-----+              small         64 x  64   32 x 32   2 x 2
//                    |     |     |     |     |
//                    +-----+-----+-----+-----+
//
//            Tiles are taken in bands of 8 rows of tiles, so that blocks that run together share panels in L2. Small
//            tiles may have K split over blocks (gemm_epilogue.cuh adds the shares).
// Arithmetic With more than one plane the products of 16 of k are summed by the tensor cores in registers of their own,
//            small ones first, and then added to the float32 sums ("promoted"): tensor cores cut off what float32
//            cannot hold instead of rounding, and always towards zero, which would add up over K. This way a sum of
//            full size is cut once (or twice, where the unit takes 8 of k) for each addition that rounds, and there are
//            K / 16 of these. 32 of k at a time would save half of the additions; the planes of B for both halves made
//            kernels spill at 255 registers.
//
//            A warp of the large tile, 32 of k, three planes: 192 mma, 36 ldmatrix, 128 additions; and 16 numbers
//            loaded of each operand, 11 instructions for two of them.
//
//            Whatever is not finite, or becomes so on the way (planes of inf are inf and NaN; numbers above bfloat16's
//            largest and sums above 2^95 become inf, see kOperandScale), makes sums that are not finite. A thread that
//            has one at the end makes all of its elements again in float32, each a chain of fma: finite results cost
//            nothing for it, and the others are what float32 gives.
// Measured   Not run on hardware yet. Registers for sm_80 and sm_90a, no spills (a few bytes in 3 of 28 kernels for
//            sm_100), and shared memory:
//
//              Tile    three planes       two planes         one plane
//              wide                                          239 to 250, 66 KiB
//              large   176 to 200, 96 KiB 178 to 196, 68 KiB 124 to 130, 68 KiB
//              small   130 to 136, 48 KiB 162 to 168, 32 KiB  89 to  96, 18 KiB
//
//            Relative error (root mean square) of "highest" on the emulated unit, K 2500 and 4096, normal data 2.3e-7
//            and 3.0e-7, uniform data 1.9e-7 and 2.1e-7, the same within 3 % where it cuts off; a chain of fma 8.8e-7,
//            1.2e-6, 7.6e-7, 8.5e-7. ldmatrix has no bank conflicts (all rows of each matrix looked at there).
// Refs       PTX ISA, mma.m16n8k16 and ldmatrix. Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor
//            cores", 2021. Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
//            Higher-Precision Computations", 2019. Ootomo, Yokota, "Recovering single precision accuracy from Tensor
//            Cores while surpassing the FP32 theoretical peak performance", 2022: adding outside of the tensor core.
#pragma once

#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_mma.h"
#include "cuda/mma_panel.cuh"

namespace deltarule::cuda {
namespace {

template <int BlockM, int BlockN, int WarpM, int WarpN, int Planes_, int Phases_> struct MmaTile {
  static constexpr int M = BlockM, N = BlockN, kPlanes = Planes_, kPhases = Phases_;
  static constexpr int kWarpM = WarpM, kWarpN = WarpN, kWarpsN = N / WarpN;
  static constexpr int kThreads = M / WarpM * kWarpsN * 32;
  // Of a multiprocessor, for ptxas; 0: as it likes. 3: 168 registers where it spills to stay at 128. 1 makes it use 255
  // and spill.
  static constexpr int kBlocks = kThreads == 128 && Planes_ == 2 ? 3 : 0;
  static constexpr int kI = WarpM / 16, kJ = WarpN / 8;  // products of 16 x 8 of a warp
  static constexpr int kStage = Planes_ * (M + N) * kDepth * 2;
  static constexpr int kStride = N + 8;  // of the staged tile: 8 bytes of 16 threads fall into 32 banks
  static constexpr int kStaged = M / Phases_ * kStride * 4;
  static constexpr int kShared = 2 * kStage > kStaged ? 2 * kStage : kStaged;
  static_assert(kShared <= 99 * 1024, "what a block may have from compute capability 8.6 on");
  static_assert(Phases_ == 1 || M / WarpM == Phases_, "a phase is a row of warps");
};

template <int Planes> using LargeTile = MmaTile<128, 128, 64, 32, Planes, 1>;
template <int Planes> using SmallTile = MmaTile<64, 64, 32, 32, Planes, 1>;
using WideTile = MmaTile<128, 256, 64, 64, 1, 2>;

struct MmaParams {
  EpilogueParams<float> epilogue;
  const float *a, *b;
  int64_t lda, ldb, K;
  int64_t depth;  // of a split, a multiple of kDepth
  bool aligned_a, aligned_b;
};

// One warp's part of a tile: sum[i][j] is a product of 16 x 8 as mma has it.
template <class Tile, bool AlongA, bool AlongB> struct WarpProduct {
  static constexpr int kI = Tile::kI, kJ = Tile::kJ, kPlanes = Tile::kPlanes;
  using A = Plane<Tile::M, AlongA>;
  using B = Plane<Tile::N, AlongB>;

  int row, column;       // of the tile, where this warp's part begins
  int start_a, start_b;  // Plane::start
  float sum[kI][kJ][4];

  __device__ __forceinline__ WarpProduct() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    row = warp / Tile::kWarpsN * Tile::kWarpM;
    column = warp % Tile::kWarpsN * Tile::kWarpN;
    start_a = A::template start<true>(row, lane);
    start_b = B::template start<false>(column, lane);
#pragma unroll
    for (int i = 0; i < kI; ++i)
#pragma unroll
      for (int j = 0; j < kJ; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][j][e] = 0.0f;
  }

  // kDepth of k from the stage of shared memory at this address.
  __device__ __forceinline__ void add(uint32_t stage) {
    const uint32_t a = stage + start_a, b = stage + kPlanes * A::kBytes + start_b;
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
      uint32_t columns[kPlanes][kJ / 2][4];
#pragma unroll
      for (int p = 0; p < kPlanes; ++p)
#pragma unroll
        for (int j = 0; j < kJ / 2; ++j) B::load(columns[p][j], B::at(b, j, step) + p * B::kBytes);
#pragma unroll
      for (int i = 0; i < kI; ++i) {
        if constexpr (kPlanes == 1) {
          add_products(A::at(a, i, step), columns, sum[i]);
        } else {
          float part[kJ][4] = {};
          add_products(A::at(a, i, step), columns, part);
#pragma unroll
          for (int j = 0; j < kJ; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[i][j][e] += part[j][e];
        }
      }
    }
  }

 private:
  // Of 16 rows and 16 of k: the planes of A from the last (and smallest) to the first, each times those of B that
  // matter, in the same order.
  static __device__ __forceinline__ void add_products(uint32_t rows_at, const uint32_t (&columns)[kPlanes][kJ / 2][4],
                                                      float (&part)[kJ][4]) {
#pragma unroll
    for (int p = kPlanes - 1; p >= 0; --p) {
      uint32_t rows[4];
      A::load(rows, rows_at + p * A::kBytes);
#pragma unroll
      for (int q = kPlanes - 1 - p; q >= 0; --q)
#pragma unroll
        for (int j = 0; j < kJ; ++j) {
          const uint32_t (&pair)[4] = columns[q][j / 2];
          multiply_matrices(part[j], rows, pair[j % 2 * 2], pair[j % 2 * 2 + 1], part[j]);
        }
    }
  }
};

// Takes the operands' scale out of a thread's sums; false if one is not finite, or so large that it may have been cut.
template <int I, int J> __device__ __forceinline__ bool unscale(float (&sum)[I][J][4]) {
  bool finite = true;
#pragma unroll
  for (int i = 0; i < I; ++i)
#pragma unroll
    for (int j = 0; j < J; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        finite = finite && fabsf(sum[i][j][e]) < 0x1p127f;
        sum[i][j][e] *= kProductScale;
      }
  return finite;
}

// A thread's sums in float32, each a chain of fma over k [begin, end). i0, j0: its first element of C.
template <bool AlongA, bool AlongB, int I, int J>
__device__ __forceinline__ void sum_in_float32(const MmaParams& p, int64_t i0, int64_t j0, int64_t begin, int64_t end,
                                               float (&sum)[I][J][4]) {
#pragma unroll
  for (int i = 0; i < I; ++i)
#pragma unroll
    for (int j = 0; j < J; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[i][j][e] = 0.0f;
  const int64_t rows = p.epilogue.M - i0, columns = p.epilogue.N - j0;
  const float* a = p.a + i0 * (AlongA ? p.lda : 1);
  const float* b = p.b + j0 * (AlongB ? p.ldb : 1);
#pragma unroll 1
  for (int64_t k = begin; k < end; ++k) {
    float y[J][2];
#pragma unroll
    for (int j = 0; j < J; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        y[j][e] = 8 * j + e < columns ? b[AlongB ? (8 * j + e) * p.ldb + k : k * p.ldb + 8 * j + e] : 0.0f;
#pragma unroll
    for (int i = 0; i < I; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * i + 8 * half;
        const float x = row < rows ? a[AlongA ? row * p.lda + k : k * p.lda + row] : 0.0f;
#pragma unroll
        for (int j = 0; j < J; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) sum[i][j][2 * half + e] = fmaf(x, y[j][e], sum[i][j][2 * half + e]);
      }
  }
}

// Whether a kernel is compiled for this GPU at all: where float32 is faster the host does not ask for it.
#if defined(__CUDA_ARCH__)
template <int Planes>
constexpr bool kCompiledFor = mma_per_fma(__CUDA_ARCH__ / 100, __CUDA_ARCH__ / 10 % 10) >= mma_products(Planes);
#else
template <int Planes> constexpr bool kCompiledFor = true;
#endif

// Row and column of the tile that block `index` makes: down the rows of a band, then to the next column.
__device__ __forceinline__ uint2 tile_of(uint32_t index, uint32_t row_tiles, uint32_t column_tiles) {
  constexpr uint32_t kBand = 8;
  const uint32_t band = index / (kBand * column_tiles) * kBand, within = index % (kBand * column_tiles);
  const uint32_t height = min(kBand, row_tiles - band);
  return {band + within % height, within / height};
}

// Block (x, y): tile x, split y of K. AlongA: A is not transposed; AlongB: B is.
template <class Tile, bool AlongA, bool AlongB>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) mma_product(const __grid_constant__ MmaParams p) {
  if constexpr (!kCompiledFor<Tile::kPlanes>) return;
  DELTARULE_SHARED(unsigned char, shared);
  if (p.epilogue.stopped()) return;
  const uint2 tile =
      tile_of(blockIdx.x, static_cast<uint32_t>(p.epilogue.row_tiles), static_cast<uint32_t>(p.epilogue.column_tiles));
  const int64_t i0 = static_cast<int64_t>(tile.x) * Tile::M, j0 = static_cast<int64_t>(tile.y) * Tile::N;
  const int64_t begin = blockIdx.y * p.depth, end = min(begin + p.depth, p.K);
  Panel<Tile::M, AlongA, Tile::kThreads> a;
  Panel<Tile::N, AlongB, Tile::kThreads> b;
  constexpr int kPanelB = Tile::kPlanes * Plane<Tile::M, AlongA>::kBytes;
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  WarpProduct<Tile, AlongA, AlongB> product;
  const auto load = [&](int64_t k) {
    a.load(p.a, p.lda, p.aligned_a, i0, p.epilogue.M - i0, k, end - k);
    b.load(p.b, p.ldb, p.aligned_b, j0, p.epilogue.N - j0, k, end - k);
  };
  int stage = 0;
  load(begin);
  a.template store<Tile::kPlanes>(shared);
  b.template store<Tile::kPlanes>(shared + kPanelB);
  __syncthreads();
#pragma unroll 1
  for (int64_t k = begin; k < end; k += kDepth) {
    const bool more = k + kDepth < end;
    if (more) load(k + kDepth);
    product.add(address + stage);
    stage = Tile::kStage - stage;
    if (more) {  // what was multiplied before the last barrier lies there
      a.template store<Tile::kPlanes>(shared + stage);
      b.template store<Tile::kPlanes>(shared + stage + kPanelB);
    }
    __syncthreads();
  }

  const int lane = threadIdx.x % 32, row = product.row + lane / 4, column = product.column + lane % 4 * 2;
  if (!unscale(product.sum)) sum_in_float32<AlongA, AlongB>(p, i0 + row, j0 + column, begin, end, product.sum);
  __syncwarp();

  float* const staged = reinterpret_cast<float*>(shared);
  TileFinish<float, Tile::N, Tile::kThreads> finish(p.epilogue, Team{static_cast<int>(threadIdx.x), Tile::kThreads, 0},
                                                    tile.x, tile.y);
  finish.run(staged, Tile::kStride, Tile::kPhases, blockIdx.y, [&](int phase) {
    if (Tile::kPhases > 1 && product.row != phase * (Tile::M / Tile::kPhases)) return;
    float* const to = staged + (row - phase * (Tile::M / Tile::kPhases)) * Tile::kStride + column;
#pragma unroll
    for (int i = 0; i < Tile::kI; ++i)
#pragma unroll
      for (int j = 0; j < Tile::kJ; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<float2*>(to + (16 * i + 8 * half) * Tile::kStride + 8 * j) = {
              product.sum[i][j][2 * half], product.sum[i][j][2 * half + 1]};
  });
}

template <class Tile, bool AlongA, bool AlongB> void launch_tiles(const GemmArgs& args, int splits) noexcept {
  MmaParams p{epilogue_params<float>(args),
              static_cast<const float*>(args.A),
              static_cast<const float*>(args.B),
              args.lda,
              args.ldb,
              args.K,
              ceil_div<int64_t>(ceil_div<int64_t>(args.K, kDepth), splits) * kDepth,
              is_wide(args.A, args.lda * 4),
              is_wide(args.B, args.ldb * 4)};
  EpilogueParams<float>& epilogue = p.epilogue;
  set_tiles(epilogue, Tile::M, Tile::N, static_cast<int>(ceil_div(args.K, p.depth)), true);
  const int64_t bytes = epilogue_bytes(epilogue);
  void* const memory = bytes > 0 ? scratch(bytes) : nullptr;
  if (bytes > 0 && memory == nullptr) return;
  set_memory(epilogue, memory);
  const dim3 grid(static_cast<unsigned>(epilogue.row_tiles * epilogue.column_tiles),
                  static_cast<unsigned>(epilogue.splits));
  run(DELTARULE_HERE("mma_product"), grid, Tile::kThreads, Tile::kShared, mma_product<Tile, AlongA, AlongB>, p);
  finish_column_sums(epilogue);
}

template <class Tile> void run_tile(const GemmArgs& args, int splits) noexcept {
  if (args.trans_a) {
    if (args.trans_b) launch_tiles<Tile, false, true>(args, splits);
    else launch_tiles<Tile, false, false>(args, splits);
  } else {
    if (args.trans_b) launch_tiles<Tile, true, true>(args, splits);
    else launch_tiles<Tile, true, false>(args, splits);
  }
}

}  // namespace

template <int Planes> void run_mma(const GemmArgs& args, const MmaPlan& plan) noexcept {
  if constexpr (Planes == 1) {
    if (plan.tile == MmaSize::wide) return run_tile<WideTile>(args, plan.splits);
  }
  if (plan.tile == MmaSize::small) return run_tile<SmallTile<Planes>>(args, plan.splits);
  run_tile<LargeTile<Planes>>(args, plan.splits);
}

}  // namespace deltarule::cuda
