// The main loop of gemm_hopper.cu: a ring of pairs of planes in shared memory, filled by TMA, emptied by wgmma.
//
// Layout     A pair is one plane of a tile of A and of B, 64 of k: [128][64] and [columns][64] where k is innermost in
//            memory, rows of 128 bytes, else boxes [64 of k][64], one after the other. TMA swizzles the 16-byte chunks
//            of 128 bytes, so that 8 rows are read without bank conflicts. Pairs come in the order
//
//              k block 0: low, middle, high | k block 1: low, middle, high | ...
//
//            and go as soon as the last product that needs them is complete:
//
//              low.high  high.low | middle.middle  middle.high  high.middle | high.high
//                                 ^ low is free                              ^ middle      ^ high
//
//            so that loads are spread over the block and none waits for all of it.
// Arithmetic 64 of k at 128 columns and three planes: 48 wgmma of 64 cycles, 3072, for 96 KB from L2: 32 bytes a cycle,
//            near what all multiprocessors together get; two planes 43, one plane at 256 columns 48. A consumer has 64
//            sums and 64 promoted ones a thread; its 64 additions pass while the other one multiplies.
// Refs       Pranjal Shankhdhar, fast.cu: the ladder of such kernels on the H100. DeepGEMM: promotion of
//            wgmma's sums. CUTLASS, "warp-specialized persistent cooperative": the roles of the warpgroups.
#pragma once

#include "cuda/gemm_hopper.h"
#include "cuda/ptx_hopper.cuh"

namespace deltarule::cuda {
namespace {

constexpr int kGroup = 128;    // threads of a warpgroup
constexpr int kConsumers = 2;  // warpgroups that multiply; one more loads
constexpr int kThreads = (kConsumers + 1) * kGroup;
constexpr int kGroupRows = kHopperRows / kConsumers;
constexpr int kBoxBytes = 64 * kHopperDepth * 2;  // of a box across k: 64 rows of A or columns of B

// How a product of so many planes uses shared memory: a ring of pairs, one plane of a tile of A and of B each, then for
// each consumer rows of C on their way out, then the ring's barriers and 16 bytes a warp for the start.
template <int kPlanes_, int kColumns_> struct Form {
  static constexpr int kPlanes = kPlanes_, kColumns = kColumns_;
  static constexpr int kBytesA = kHopperRows * kHopperDepth * 2, kBytesB = kColumns * kHopperDepth * 2;
  static constexpr int kPairBytes = kBytesA + kBytesB;
  static constexpr int kSlots = 192 * 1024 / kPairBytes;
  static constexpr int kRingBytes = kSlots * kPairBytes;
  static constexpr int kPhases = kColumns / 64, kStagedRows = kGroupRows / kPhases;
  static constexpr int kStride = kColumns + 8;  // rows of 8 lanes' pairs then lie in banks of their own
  static constexpr int kStagedFloats = kStagedRows * kStride;
  static constexpr int kSharedBytes = kRingBytes + kConsumers * kStagedFloats * 4 + 2 * kSlots * 8 + kThreads / 32 * 16;
  static_assert(kSlots > kPlanes && kSharedBytes <= 227 * 1024);
  static_assert((kSharedBytes - kRingBytes) % 16 == 0);
};

#if defined(DELTARULE_HOPPER)

// A place in the ring and the parity of its barriers' phase; both sides walk alike.
template <int kSlots> struct Position {
  int slot = 0, parity = 0;

  __device__ Position after(int steps) const {
    Position next{slot + steps, parity};
    if (next.slot >= kSlots) {
      next.slot -= kSlots;
      next.parity ^= 1;
    }
    return next;
  }
};

template <class F> struct Ring {
  unsigned char* pairs;
  float* staged;
  uint64_t *full, *empty;
  void* start;

  explicit __device__ Ring(unsigned char* shared)
      : pairs(shared),
        staged(reinterpret_cast<float*>(shared + F::kRingBytes)),
        full(reinterpret_cast<uint64_t*>(shared + F::kRingBytes + kConsumers * F::kStagedFloats * 4)),
        empty(full + F::kSlots),
        start(empty + F::kSlots) {}

  __device__ unsigned char* a(int slot) const { return pairs + slot * F::kPairBytes; }
  __device__ unsigned char* b(int slot) const { return a(slot) + F::kBytesA; }

  // By one thread.
  __device__ void init() const {
    for (int slot = 0; slot < F::kSlots; ++slot) {
      mbarrier_init(full + slot, 1);
      mbarrier_init(empty + slot, kConsumers * kGroup / 32);
    }
    mbarrier_init_fence();
  }
  // By whole warps, each once: its products that read the slot are complete.
  __device__ void release(int slot) const {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty + slot);
  }
};

// kExtent rows of op(A) (columns of op(B)) from `first` on, 64 of k: [kExtent][64] if k is innermost in memory, else
// boxes [64][64] of 64 rows each.
template <int kMajor, int kExtent>
__device__ void load_tile(unsigned char* to, const CUtensorMap& map, uint64_t* barrier, int first, int k, int plane) {
  if constexpr (kMajor == 0) {
    tensor_load(to, map, barrier, k, first, plane);
  } else {
#pragma unroll
    for (int box = 0; box < kExtent / 64; ++box)
      tensor_load(to + box * kBoxBytes, map, barrier, first + 64 * box, k, plane);
  }
}

// The producer, one thread: the pairs of all units of this block, the smallest plane of each block of K first.
template <class F, int kMajorA, int kMajorB>
__device__ void load_pairs(const Ring<F>& ring, const CUtensorMap& a, const CUtensorMap& b, const HopperUnits& units) {
  Position<F::kSlots> at;
  const int64_t count = units.count();
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    const HopperUnit unit = hopper_unit(units, index);
    for (int block = unit.first_block; block < unit.end_block; ++block) {
      for (int plane = F::kPlanes - 1; plane >= 0; --plane) {
        uint64_t* full = ring.full + at.slot;
        mbarrier_wait(ring.empty + at.slot, at.parity ^ 1);
        mbarrier_arrive_expect(full, F::kPairBytes);
        const int k = block * kHopperDepth;
        load_tile<kMajorA, kHopperRows>(ring.a(at.slot), a, full, unit.row_tile * kHopperRows, k, plane);
        load_tile<kMajorB, F::kColumns>(ring.b(at.slot), b, full, unit.column_tile * F::kColumns, k, plane);
        at = at.after(1);
      }
    }
  }
}

// wgmma's descriptor of a tile as load_tile leaves it: 128-byte swizzle, groups of 8 rows of 128 bytes 1024 bytes
// apart, and across k the boxes.
template <int kMajor> __device__ __forceinline__ uint64_t descriptor(const unsigned char* tile) {
  const auto encode = [](uint64_t bytes) { return (bytes & 0x3FFFF) >> 4; };
  const uint64_t leading = kMajor == 0 ? 1 : encode(kBoxBytes), stride = encode(1024), swizzle_128 = 1;
  return encode(shared_address(tile)) | leading << 16 | stride << 32 | swizzle_128 << 62;
}

// sum (+)= one plane of A times one of B, 64 of k.
template <int kMajorA, int kMajorB, int kCount>
__device__ __forceinline__ void multiply_pair(float (&sum)[kCount], const unsigned char* a, const unsigned char* b,
                                              bool accumulate) {
  constexpr int kStepA = (kMajorA == 0 ? 32 : 2048) >> 4, kStepB = (kMajorB == 0 ? 32 : 2048) >> 4;  // 16 of k
  const uint64_t first_a = descriptor<kMajorA>(a), first_b = descriptor<kMajorB>(b);
#pragma unroll
  for (int step = 0; step < kHopperDepth / 16; ++step)
    wgmma<kMajorA, kMajorB>(sum, first_a + step * kStepA, first_b + step * kStepB, accumulate || step > 0);
}

// A consumer's products of one unit, 64 rows of the tile: sum = op(A) op(B) over `blocks` blocks of K.
template <class F, int kMajorA, int kMajorB> struct Consumer {
  static constexpr int kCount = F::kColumns / 2;
  using At = Position<F::kSlots>;

  const Ring<F>& ring;
  int group;
  At at{};

  __device__ const unsigned char* a(At p) const { return ring.a(p.slot) + group * kBoxBytes; }
  __device__ const unsigned char* b(At p) const { return ring.b(p.slot); }
  __device__ void wait(At p) const { mbarrier_wait(ring.full + p.slot, p.parity); }

  // One plane: straight into sum, the next block's products are queued before this one's are waited for.
  __device__ __forceinline__ void multiply_one(float (&sum)[kCount], int blocks) {
    At before = at;
    for (int block = 0; block < blocks; ++block) {
      wait(at);
      wgmma_fence();
      multiply_pair<kMajorA, kMajorB>(sum, a(at), b(at), block > 0);
      wgmma_commit();
      if (block > 0) {
        wgmma_wait<1>();
        ring.release(before.slot);
      }
      before = at;
      at = at.after(1);
    }
    wgmma_wait<0>();
    wgmma_settle(sum);
    ring.release(before.slot);
  }

  // Two or three: small products first, and each block's sum is added to `sum` in float32.
  __device__ __forceinline__ void multiply_promoted(float (&sum)[kCount], int blocks) {
    float part[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) part[i] = 0.0f;
    for (int block = 0; block < blocks; ++block) {
      const At low = at, high = at.after(F::kPlanes - 1);
      wait(low);
      wait(high);
      wgmma_fence();
      multiply_pair<kMajorA, kMajorB>(part, a(low), b(high), false);
      multiply_pair<kMajorA, kMajorB>(part, a(high), b(low), true);
      wgmma_commit();
      if constexpr (F::kPlanes == 3) {
        const At middle = at.after(1);
        wait(middle);
        wgmma_fence();
        multiply_pair<kMajorA, kMajorB>(part, a(middle), b(middle), true);
        multiply_pair<kMajorA, kMajorB>(part, a(middle), b(high), true);
        multiply_pair<kMajorA, kMajorB>(part, a(high), b(middle), true);
        wgmma_commit();
        wgmma_wait<1>();
        ring.release(low.slot);
      }
      multiply_pair<kMajorA, kMajorB>(part, a(high), b(high), true);
      wgmma_commit();
      wgmma_wait<1>();
      ring.release(F::kPlanes == 3 ? at.after(1).slot : low.slot);
      wgmma_wait<0>();
      wgmma_settle(part);
      ring.release(high.slot);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += part[i];
      at = at.after(F::kPlanes);
    }
  }
};

#endif  // DELTARULE_HOPPER

}  // namespace
}  // namespace deltarule::cuda
