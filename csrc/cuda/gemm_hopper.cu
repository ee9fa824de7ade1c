// C = epilogue(alpha op(A) op(B)) of float32 operands on Hopper's tensor cores (sm_90a).
//
// Computes   x = high + middle + low, each the rest rounded to bfloat16. "highest" takes three planes and six products
//            of them, small ones first, "high" two and three, "medium" one. What is left out is below the last plane.
//            Every 64 of K the tensor cores' sums, which are cut off and not rounded, are added to sums in float32
//            ("medium" leaves them where they are).
// Layout     make_planes (gemm_hopper_planes.cuh) writes the planes of both operands as they lie, no transposes:
//            bfloat16 is multiplied with either axis innermost. multiply_planes then has one block of threads a
//            multiprocessor, which takes its units (gemm_hopper.h) in turn:
//
//              producer, one thread    TMA: tensors of planes --> ring of pairs      (gemm_hopper_ring.cuh)
//              two consumers of 128    wgmma: rows 0..63 and 64..127 of the tile --> registers --> epilogue
//
//            The producer is ahead of the consumers by the ring, into the next unit while they finish this one. With K
//            split, shares go to scratch and finish_splits adds them.
//
//            Planes do not hold every float: inf and NaN, what rounds to inf, sums that may overflow on the way, and
//            magnitudes so small that a plane would lose bits. make_planes notes the extremes, multiply_planes looks at
//            them and then either multiplies planes or, with the same registers and the same epilogue, the operands
//            themselves in float32: no flag goes to the host, and C is written once.
// Arithmetic The ceiling is 990 TFLOP/s over 1, 3 or 6 products: 990, 330, 165. By the estimate in gemm_hopper.h
//            1000 x 2000 x 2500 takes 75 us for "highest" and 30 more for the planes, where float32 takes 250.
//            To measure first: the rate of make_planes, which with one plane takes as long as the products; two blocks
//            in a cluster that share B by multicast, for "high", which needs more from L2 than it gives.
// Measured   Not run on hardware yet; on the emulated GPU (tests/cuda/shim) every test of
//            tests/test_cuda_gemm_hopper.py. nvcc 13.0, sm_90a: 168 registers at the start (consumers go on with 232,
//            the producer with 40), make_planes 32, no spills, no serialised wgmma; 226 KB of shared memory.
// Refs       See gemm_hopper_ring.cuh and ptx_hopper.cuh; Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial
//            Intelligence Datatype For Higher-Precision Computations", 2019.
#include "cuda/gemm.h"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_hopper.h"
#include "cuda/gemm_hopper_planes.cuh"
#include "cuda/gemm_hopper_ring.cuh"
#include "cuda/ptx_hopper.cuh"

namespace deltarule::cuda {
namespace {

// The kernel's arguments besides the maps.
struct Job {
  EpilogueParams<float> epilogue;
  HopperUnits units;
  int64_t K;
  const Magnitudes* magnitudes;
  int magnitude_count;
  PlaneLimits limits;
  // The operands themselves, for values that planes cannot hold: element (row or column of C, k).
  const float *a, *b;
  int64_t a_row, a_k, b_column, b_k;
};

static_assert(kPlaneBlocks <= kThreads);  // a thread reads one block's extremes

#if defined(DELTARULE_HOPPER)

// The same in float32 from the operands themselves, for values that planes do not hold. Slow, and rare.
template <class F>
__device__ void multiply_exactly(const Job& job, const HopperUnit& unit, const Team& team, int group, float* shared,
                                 float (&sum)[F::kColumns / 2]) {
  constexpr int kDepth = 32, kStrideA = kGroupRows + 4, kStrideB = F::kColumns + 4;
  float *const a = shared, *const b = shared + kDepth * kStrideA;
  const int64_t i0 = static_cast<int64_t>(unit.row_tile) * kHopperRows + group * kGroupRows;
  const int64_t j0 = static_cast<int64_t>(unit.column_tile) * F::kColumns;
  const int64_t end = min(job.K, static_cast<int64_t>(unit.end_block) * kHopperDepth);
  // [kDepth][extent] of an operand, read in the order in which it lies.
  const auto fill = [&](float* to, int stride, int extent, const float* from, int64_t first, int64_t limit,
                        int64_t along, int64_t along_k, int64_t k0) {
    for (int e = team.thread; e < kDepth * extent; e += team.threads) {
      const int k = along_k == 1 ? e % kDepth : e / extent, x = along_k == 1 ? e / kDepth : e % extent;
      const bool inside = first + x < limit && k0 + k < end;
      to[k * stride + x] = inside ? from[(first + x) * along + (k0 + k) * along_k] : 0.0f;
    }
  };
  const int row = team.thread / 32 * 16 + team.thread % 32 / 4, column = team.thread % 4 * 2;
  for (int64_t k0 = static_cast<int64_t>(unit.first_block) * kHopperDepth; k0 < end; k0 += kDepth) {
    team.sync();
    fill(a, kStrideA, kGroupRows, job.a, i0, job.epilogue.M, job.a_row, job.a_k, k0);
    fill(b, kStrideB, F::kColumns, job.b, j0, job.epilogue.N, job.b_column, job.b_k, k0);
    team.sync();
    const int depth = static_cast<int>(min(end - k0, static_cast<int64_t>(kDepth)));
#pragma unroll 1
    for (int k = 0; k < depth; ++k) {
      const float upper = a[k * kStrideA + row], lower = a[k * kStrideA + row + 8];
#pragma unroll
      for (int j = 0; j < F::kColumns / 8; ++j) {
        const float2 pair = *reinterpret_cast<const float2*>(b + k * kStrideB + 8 * j + column);
        sum[4 * j] = fma(upper, pair.x, sum[4 * j]);
        sum[4 * j + 1] = fma(upper, pair.y, sum[4 * j + 1]);
        sum[4 * j + 2] = fma(lower, pair.x, sum[4 * j + 2]);
        sum[4 * j + 3] = fma(lower, pair.y, sum[4 * j + 3]);
      }
    }
  }
}

// 64 rows of a tile: from registers as wgmma has them through shared memory to C.
template <class F>
__device__ __forceinline__ void finish_tile(const EpilogueParams<float>& params, const Team& team, int64_t row_tile,
                                            const HopperUnit& unit, float* staged,
                                            const float (&sum)[F::kColumns / 2]) {
  const int warp = team.thread / 32, lane = team.thread % 32;
  constexpr int kWarps = 4 / F::kPhases;  // of a phase
  static_assert(TileFinish<float, F::kColumns, kGroup>::kSharedBytes <= F::kStagedFloats * 4);
  team.sync();  // the tile before has left
  TileFinish<float, F::kColumns, kGroup> finish(params, team, row_tile, unit.column_tile);
  finish.run(staged, F::kStride, F::kPhases, unit.split, [&](int phase) {
    if (warp / kWarps != phase) return;
    float* to = staged + (warp % kWarps * 16 + lane / 4) * F::kStride + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < F::kColumns / 8; ++j) {
      *reinterpret_cast<float2*>(to + 8 * j) = {sum[4 * j], sum[4 * j + 1]};
      *reinterpret_cast<float2*>(to + 8 * F::kStride + 8 * j) = {sum[4 * j + 2], sum[4 * j + 3]};
    }
  });
}

template <class F, int kMajorA, int kMajorB>
__device__ __forceinline__ void consume(const Ring<F>& ring, const Job& job, int group, bool exact) {
  const Team team{static_cast<int>(threadIdx.x) % kGroup, kGroup, 1 + group};
  Consumer<F, kMajorA, kMajorB> consumer{ring, group};
  const int64_t count = job.units.count();
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    const HopperUnit unit = hopper_unit(job.units, index);
    float sum[F::kColumns / 2];
#pragma unroll
    for (int i = 0; i < F::kColumns / 2; ++i) sum[i] = 0.0f;
    if (exact) {
      float* own = reinterpret_cast<float*>(ring.pairs + group * (F::kRingBytes / kConsumers));
      multiply_exactly<F>(job, unit, team, group, own, sum);
    } else if constexpr (F::kPlanes == 1) {
      consumer.multiply_one(sum, unit.end_block - unit.first_block);
    } else {
      consumer.multiply_promoted(sum, unit.end_block - unit.first_block);
    }
    const int64_t row_tile = static_cast<int64_t>(unit.row_tile) * kConsumers + group;
    if (row_tile < job.epilogue.row_tiles)
      finish_tile<F>(job.epilogue, team, row_tile, unit, ring.staged + group * F::kStagedFloats, sum);
  }
}

#endif  // DELTARULE_HOPPER

// The units of C; kMajor 0: the operand has k innermost.
template <class F, int kMajorA, int kMajorB>
__global__ void __launch_bounds__(kThreads, 1)
    multiply_planes(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                    const __grid_constant__ Job job) {
#if defined(DELTARULE_HOPPER)
  DELTARULE_SHARED(unsigned char, shared);
  if (job.epilogue.stopped()) return;
  const Ring<F> ring(shared);
  if (threadIdx.x == 0) ring.init();
  const bool exact = !planes_hold(job.magnitudes, job.magnitude_count, job.limits, ring.start);
  const int group = __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / kGroup, 0);
  if (group == kConsumers) {
    registers_give<40>();
    if (threadIdx.x == kConsumers * kGroup && !exact) {
      tensor_prefetch(a);
      tensor_prefetch(b);
      load_pairs<F, kMajorA, kMajorB>(ring, a, b, job.units);
    }
  } else {
    registers_take<232>();
    consume<F, kMajorA, kMajorB>(ring, job, group, exact);
  }
#endif
}

// The driver's function for tensor maps; null where there is none.
decltype(&cuTensorMapEncodeTiled) map_encoder() {
  static const auto encoder = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) found = nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  return encoder;
}

// The planes [planes][rows][pitch] as a tensor that load_tile cuts into boxes: [extent][64] along k (major 0), or
// [64][64]; what is outside of it is zero.
bool encode_map(CUtensorMap& map, const PlaneSource& source, int planes, int major, int extent) {
  const cuuint64_t size[3] = {static_cast<cuuint64_t>(source.cols), static_cast<cuuint64_t>(source.rows),
                              static_cast<cuuint64_t>(planes)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(source.pitch * 2), static_cast<cuuint64_t>(source.plane * 2)};
  const cuuint32_t box[3] = {64, static_cast<cuuint32_t>(major == 0 ? extent : kHopperDepth), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  return map_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, source.planes, size, strides, box, steps,
                       CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// Whether the code of this kernel that the GPU loaded is the one for sm_90a: without, its body is empty and needs no
// registers to speak of.
template <class F, int kMajorA, int kMajorB> bool is_loaded() {
#if defined(DELTARULE_CUDA_SHIM)
  return true;
#else
  static const bool loaded = [] {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, multiply_planes<F, kMajorA, kMajorB>) == cudaSuccess)
      return attributes.numRegs >= 64;
    cudaGetLastError();
    return false;
  }();
  return loaded;
#endif
}

constexpr int64_t kMostUnits = 0x7FFFFFFF;

template <class F, int kMajorA, int kMajorB> bool multiply(const GemmArgs& args, const HopperPlan& plan) {
  if (!is_loaded<F, kMajorA, kMajorB>()) return false;
  PlaneJob planes{};
  planes.a = plane_source(args.A, args.trans_a ? args.K : args.M, args.trans_a ? args.M : args.K, args.lda);
  planes.b = plane_source(args.B, args.trans_b ? args.N : args.K, args.trans_b ? args.K : args.N, args.ldb);
  const int64_t chunks = planes.a.count() + planes.b.count();
  if (chunks > (int64_t{1} << 31)) return false;  // 32-bit indices: 2^34 elements
  planes.count_a = static_cast<unsigned>(planes.a.count());
  planes.count = static_cast<unsigned>(chunks);
  const unsigned blocks = static_cast<unsigned>(ceil_div<int64_t>(chunks, kPlaneThreads) < kPlaneBlocks
                                                    ? ceil_div<int64_t>(chunks, kPlaneThreads)
                                                    : kPlaneBlocks);

  Job job{};
  job.epilogue = epilogue_params<float>(args);
  set_tiles(job.epilogue, kGroupRows, F::kColumns, plan.splits, false);
  job.units = hopper_units(args.M, args.N, args.K, plan);
  if (job.units.count() > kMostUnits) return false;
  job.K = args.K;
  job.magnitude_count = static_cast<int>(blocks);
  job.limits = plane_limits(F::kPlanes, args.K);
  job.a = planes.a.x;
  job.b = planes.b.x;
  job.a_row = args.trans_a ? 1 : args.lda;
  job.a_k = args.trans_a ? args.lda : 1;
  job.b_column = args.trans_b ? args.ldb : 1;
  job.b_k = args.trans_b ? 1 : args.ldb;

  const auto aligned = [](int64_t bytes) { return ceil_div<int64_t>(bytes, 256) * 256; };
  const int64_t bytes_a = aligned(F::kPlanes * planes.a.plane * 2), bytes_b = aligned(F::kPlanes * planes.b.plane * 2);
  const int64_t bytes_found = aligned(kPlaneBlocks * static_cast<int64_t>(sizeof(Magnitudes)));
  char* const memory = static_cast<char*>(scratch(bytes_a + bytes_b + bytes_found + epilogue_bytes(job.epilogue)));
  if (memory == nullptr) return true;
  planes.a.planes = reinterpret_cast<uint16_t*>(memory);
  planes.b.planes = reinterpret_cast<uint16_t*>(memory + bytes_a);
  planes.magnitudes = reinterpret_cast<Magnitudes*>(memory + bytes_a + bytes_b);
  planes.stopped_by = args.epilogue == Epilogue::sgd ? args.state : nullptr;
  job.magnitudes = planes.magnitudes;
  set_memory(job.epilogue, memory + bytes_a + bytes_b + bytes_found);

  CUtensorMap a, b;
  if (!encode_map(a, planes.a, F::kPlanes, kMajorA, kHopperRows) ||
      !encode_map(b, planes.b, F::kPlanes, kMajorB, F::kColumns))
    return false;
  run(DELTARULE_HERE("make_planes"), blocks, kPlaneThreads, kPlaneThreads / 32 * sizeof(Magnitudes),
      make_planes<F::kPlanes>, planes);
  const int64_t units = job.units.count();
  const unsigned persistent = static_cast<unsigned>(here().multiprocessors);
  run(DELTARULE_HERE("multiply_planes"), units < persistent ? static_cast<unsigned>(units) : persistent, kThreads,
      F::kSharedBytes, multiply_planes<F, kMajorA, kMajorB>, a, b, job);
  finish_splits(job.epilogue);
  finish_column_sums(job.epilogue);
  return true;
}

template <class F> bool multiply(const GemmArgs& args, const HopperPlan& plan) {
  if (args.trans_a) return args.trans_b ? multiply<F, 1, 0>(args, plan) : multiply<F, 1, 1>(args, plan);
  return args.trans_b ? multiply<F, 0, 0>(args, plan) : multiply<F, 0, 1>(args, plan);
}

}  // namespace

bool hopper_gemm(const GemmArgs& args, const HopperPlan& plan) noexcept {
  constexpr int64_t kMost = int64_t{1} << 30;  // TMA's coordinates are 32-bit numbers
  if (args.dtype != DType::float32 || here().major != 9 || args.M < 1 || args.N < 1 || args.K < 1) return false;
  if (args.M > kMost || args.N > kMost || args.K > kMost || map_encoder() == nullptr) return false;
  if (args.precision == Precision::highest) return multiply<Form<3, 128>>(args, plan);
  if (args.precision == Precision::high) return multiply<Form<2, 128>>(args, plan);
  return plan.columns == 256 ? multiply<Form<1, 256>>(args, plan) : multiply<Form<1, 128>>(args, plan);
}

bool hopper_gemm(const GemmArgs& args) noexcept {
  if (args.dtype != DType::float32 || here().major != 9 || args.M < 1 || args.N < 1 || args.K < 1) return false;
  const int planes = args.precision == Precision::highest ? 3 : args.precision == Precision::high ? 2 : 1;
  const HopperPlan plan = hopper_plan(args.M, args.N, args.K, planes);
  return hopper_pays(args.M, args.N, args.K, planes, plan) && hopper_gemm(args, plan);
}

}  // namespace deltarule::cuda
