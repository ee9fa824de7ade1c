// Stands in for csrc/cuda/ptx_hopper.cuh in the emulator: the same functions, made from what is documented of the
// instructions and not from how our kernels use them.
//
// mbarriers   shim/mbarrier.h.
// TMA         The box goes to shared memory row by row, innermost dimension first, zeros where it leaves the tensor.
//             Swizzle of 32, 64, 128 bytes: chunks of 16 bytes change places within such spans; bits 4.. of the address
//             are xored with bits 7.. (1, 2, 3 of them). It lands after every thread has run as far as it can, sooner
//             or later than others; then the barrier counts all the box's bytes, those outside of the tensor too.
// wgmma       Operands are decoded from the descriptors, see Descriptor. A product is made when it is issued; when it
//             is waited for, the operands in shared memory must still be what they were. Between the two the
//             accumulators hold NaN: what reads them early gets that, what writes them ends the process, as does a
//             product without wgmma.fence after its accumulators could be used, and a thread that ends before its
//             products are complete. A wait lets the other threads, and TMA, go first: a slot that was released too
//             early is overwritten by then.
// Sums        As measured on an H100: the 16 products and the accumulator are cut off at 25 bits behind the point of
//             the largest exponent among them, added exactly, and cut off to float32. Subnormals are numbers as others.
// Registers   setmaxnreg does nothing; all of a warpgroup must call it.
//
// Refs        PTX ISA 9.0: 9.7.15.5.1 (fragments of wgmma.mma_async.m64nNk16, "Shared Memory Matrix Layout", "Strides",
//             "Canonical Layouts", "Matrix Descriptor Format"), 9.7.15.7 (wgmma.fence, commit_group, wait_group);
//             9.7.9.27 (cp.async.bulk.tensor), 5.5 (tensors, swizzling modes). CUTLASS,
//             cute/arch/mma_sm90_desc.hpp and cute/atom/mma_traits_sm90_gmma.hpp: the same layouts in other words.
//             Xie, Wang, Yang, Yang, "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores", 2025:
//             Hopper's sums.
#pragma once

#include <cuda.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/launch.cuh"
#include "mbarrier.h"
#include "shim.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // a note on every kernel that takes a tensor map

#define DELTARULE_HOPPER 1

namespace shim::hopper {

// --- wgmma's operands in shared memory

// A matrix descriptor's fields, in bytes.
struct Descriptor {
  uint32_t start, leading, stride;
  int swizzle;  // bits of the xor: 0 none, 1, 2, 3 for 32, 64, 128 bytes

  explicit Descriptor(uint64_t word)
      : start(static_cast<uint32_t>(word & 0x3FFF) << 4),
        leading(static_cast<uint32_t>(word >> 16 & 0x3FFF) << 4),
        stride(static_cast<uint32_t>(word >> 32 & 0x3FFF) << 4),
        swizzle(word >> 62 == 0 ? 0 : 4 - static_cast<int>(word >> 62)) {
    if ((word >> 49 & 7) != 0) fail("wgmma: a base offset is not emulated: let patterns start at their alignment");
    if ((word & UINT64_C(0x3FF1'C000'C000'C000)) != 0) fail("wgmma: bits are set in a descriptor that have no meaning");
  }

  // Where element (x, k) is, x a row of A or a column of B. In units of 8 elements (16 bytes), as the canonical
  // layouts of the PTX ISA have it; W is the swizzle's width in such units.
  uint32_t address(int major, int x, int k) const {
    const int W = 1 << swizzle;
    uint32_t at = start;
    if (major == 0) {  // ((8,m),(T,2k)) : ((W T, SBO),(1, T)), without swizzle (1, LBO)
      at += x % 8 * W * 16 + x / 8 * stride + k % 8 * 2 + k / 8 * (swizzle == 0 ? leading : 16);
    } else if (swizzle != 0) {  // ((T,W,m),(8,k)) : ((1,T,LBO),(W T, SBO))
      at += x % 8 * 2 + x / 8 % W * 16 + x / (8 * W) * leading + k % 8 * W * 16 + k / 8 * stride;
    } else {  // ((T,1,m),(8,k)) : ((1,T,SBO),(1T,LBO))
      at += x % 8 * 2 + x / 8 * stride + k % 8 * 16 + k / 8 * leading;
    }
    return at ^ (at >> 7 & static_cast<uint32_t>(W - 1)) << 4;  // Swizzle<swizzle, 4, 3>
  }
};

// [16][extent] of bfloat16.
inline std::vector<uint16_t> decode(uint64_t word, int major, int extent) {
  const Descriptor descriptor(word);
  const unsigned char* const shared = shared_base();
  const size_t size = shared_size();
  std::vector<uint16_t> values(16 * extent);
  for (int k = 0; k < 16; ++k) {
    for (int x = 0; x < extent; ++x) {
      const uint32_t at = descriptor.address(major, x, k);
      if (at + 2 > size) fail("wgmma: an operand reaches to %u, beyond the block's shared memory", at);
      std::memcpy(&values[k * extent + x], shared + at, 2);
    }
  }
  return values;
}

inline float widened(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

inline int exponent_of(double x) { return x == 0 ? -126 : std::max(std::ilogb(x), -126); }

inline double power_of_2(int exponent) {
  const uint64_t bits = static_cast<uint64_t>(1023 + exponent) << 52;
  double result;
  std::memcpy(&result, &bits, 8);
  return result;
}

inline float cut_off(double x) {
  float result = static_cast<float>(x);
  if (std::isfinite(result) && std::fabs(static_cast<double>(result)) > std::fabs(x)) {
    uint32_t bits;
    std::memcpy(&bits, &result, 4);
    --bits;
    std::memcpy(&result, &bits, 4);
  }
  return result;
}

// sum[64][N] += a[16][64]^T b[16][N]
template <int N> void multiply(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b, float* sum) {
  constexpr int kFraction = 25;
  static thread_local double x[16][64], y[16][N];
  static thread_local int x_exponent[16][64], y_exponent[16][N];
  bool finite = true;
  for (int k = 0; k < 16; ++k) {
    for (int i = 0; i < 64; ++i) {
      x[k][i] = widened(a[k * 64 + i]);
      finite = finite && std::isfinite(x[k][i]);
      x_exponent[k][i] = exponent_of(x[k][i]);
    }
    for (int j = 0; j < N; ++j) {
      y[k][j] = widened(b[k * N + j]);
      finite = finite && std::isfinite(y[k][j]);
      y_exponent[k][j] = exponent_of(y[k][j]);
    }
  }
  for (int i = 0; i < 64; ++i) {
    float* const row = sum + i * N;
    int largest[N];
    double scale[N], total[N];
    for (int j = 0; j < N; ++j) {
      finite = finite && std::isfinite(row[j]);
      largest[j] = exponent_of(row[j]);
    }
    if (!finite) {
      for (int j = 0; j < N; ++j) {
        double all = row[j];
        for (int k = 0; k < 16; ++k) all += x[k][i] * y[k][j];
        row[j] = static_cast<float>(all);
      }
      continue;
    }
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < N; ++j) largest[j] = std::max(largest[j], x_exponent[k][i] + y_exponent[k][j]);
    for (int j = 0; j < N; ++j) {
      scale[j] = power_of_2(kFraction - largest[j]);
      total[j] = static_cast<int32_t>(row[j] * scale[j]);
    }
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < N; ++j) total[j] += static_cast<int32_t>(x[k][i] * y[k][j] * scale[j]);
    for (int j = 0; j < N; ++j) row[j] = cut_off(total[j] * power_of_2(largest[j] - kFraction));
  }
}

// --- Products under way

// Accumulators of a warpgroup from the first product into them until all 128 threads have waited for the last.
struct Accumulators {
  int columns = 0;
  std::vector<float> sum;  // [64][columns], as of the newest product
  float* of[128] = {};     // each thread's registers
  int products = 0, landed = 0;
};

struct Product {
  std::shared_ptr<Accumulators> into;
  int number;  // of those into these accumulators
  uint64_t a, b;
  int major_a, major_b;
  std::vector<uint16_t> values_a, values_b;
  bool checked = false;
};

// A product in the queue of one thread; it has to happen before the thread ends.
struct Issued {
  std::shared_ptr<Product> product;
  bool done = false;
  ~Issued() {
    if (!done) fail("wgmma: a thread ended before its products were complete");
  }
};

struct Warpgroup {
  uint64_t calls[128] = {}, made = 0;
  bool fenced[128] = {};
  std::shared_ptr<Product> newest;
  std::vector<std::shared_ptr<Accumulators>> open;
};

inline int member() { return static_cast<int>(warp_id() % 4 * 32 + lane_id()); }

inline Warpgroup& warpgroup() {
  static thread_local std::map<std::pair<const Block*, unsigned>, Warpgroup> all;
  return all[{current->block, warp_id() / 4}];
}

constexpr uint32_t kUnderWay = 0x7FC0'DE1A;  // a NaN

inline bool is_under_way(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits == kUnderWay;
}

// D's fragment: row and column of d[index] of a thread.
inline int row_of(int thread, int index) { return thread / 32 * 16 + thread % 32 / 4 + index / 2 % 2 * 8; }
inline int column_of(int thread, int index) { return index / 4 * 8 + thread % 4 * 2 + index % 2; }

struct Call {
  float* d;
  uint64_t a, b;
  int accumulate;
};

// The accumulators of this call, whose registers hold the mark from now on.
inline std::shared_ptr<Accumulators> claim(Warpgroup& group, const Call* calls, int columns) {
  for (const auto& known : group.open) {
    if (known->of[0] != calls[0].d) continue;
    if (known->columns != columns) fail("wgmma: products of two shapes under way into the same accumulators");
    for (int t = 0; t < 128; ++t) {
      if (known->of[t] != calls[t].d) fail("wgmma: threads of a warpgroup disagree on the accumulators");
      for (int i = 0; i < columns / 2; ++i) {
        if (!is_under_way(calls[t].d[i])) fail("wgmma: accumulators were written while a product was under way");
      }
    }
    return known;
  }
  auto claimed = std::make_shared<Accumulators>();
  claimed->columns = columns;
  claimed->sum.resize(64 * columns);
  float mark;
  std::memcpy(&mark, &kUnderWay, 4);
  for (int t = 0; t < 128; ++t) {
    if (!group.fenced[t]) fail("wgmma: no wgmma.fence since the accumulators could be used (thread %d)", t);
    claimed->of[t] = calls[t].d;
    for (int i = 0; i < columns / 2; ++i) {
      claimed->sum[row_of(t, i) * columns + column_of(t, i)] = calls[t].d[i];
      calls[t].d[i] = mark;
    }
  }
  group.open.push_back(claimed);
  return claimed;
}

// Complete for one thread, whose registers get the sum if nothing newer is under way into them.
inline void complete(Product& product, Warpgroup& group, int thread) {
  Accumulators& into = *product.into;
  if (!product.checked) {
    product.checked = true;
    if (decode(product.a, product.major_a, 64) != product.values_a ||
        decode(product.b, product.major_b, into.columns) != product.values_b)
      fail("wgmma: an operand in shared memory changed before the product was waited for");
  }
  if (product.number != into.products) return;
  for (int i = 0; i < into.columns / 2; ++i) {
    float& d = into.of[thread][i];
    if (!is_under_way(d)) fail("wgmma: accumulators were written while a product was under way");
    d = into.sum[row_of(thread, i) * into.columns + column_of(thread, i)];
  }
  group.fenced[thread] = false;
  if (++into.landed == 128) std::erase(group.open, product.into);
}

template <int N, int kMajorA, int kMajorB> void issue(const Call& mine) {
  Warpgroup& group = warpgroup();
  const int thread = member();
  const Call* const calls = group_exchange("wgmma.mma_async", mine);
  if (group.made == group.calls[thread]++) {  // the first to come back makes it for all
    ++group.made;
    for (int t = 1; t < 128; ++t) {
      if (calls[t].a != calls[0].a || calls[t].b != calls[0].b || calls[t].accumulate != calls[0].accumulate)
        fail("wgmma: threads of a warpgroup disagree on the operands");
    }
    auto product = std::make_shared<Product>();
    product->into = claim(group, calls, N);
    product->number = ++product->into->products;
    product->a = mine.a;
    product->b = mine.b;
    product->major_a = kMajorA;
    product->major_b = kMajorB;
    product->values_a = decode(mine.a, kMajorA, 64);
    product->values_b = decode(mine.b, kMajorB, N);
    float* const sum = product->into->sum.data();
    if (mine.accumulate == 0) std::fill_n(sum, 64 * N, 0.0f);
    multiply<N>(product->values_a, product->values_b, sum);
    group.newest = std::move(product);
  }
  auto issued = std::make_shared<Issued>();
  issued->product = group.newest;
  add(Queue::matrix, [issued, &group, thread] {
    issued->done = true;
    complete(*issued->product, group, thread);
  });
}

// Runs what a copy does, some rounds after all threads have run as far as they can: copies overtake each other.
inline void land(const std::function<void()>& copy, unsigned rounds) {
  later([copy, rounds] {
    if (rounds == 0) copy();
    else land(copy, rounds - 1);
  });
}

}  // namespace shim::hopper

namespace deltarule::cuda {
namespace {

inline uint32_t shared_address(const void* pointer) { return shim::shared_address(pointer); }

inline uint32_t bfloat16_pair(float first, float second) {
  const auto rounded = [](float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) return uint32_t{0x7FFF};
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  };
  return rounded(first) | rounded(second) << 16;
}

inline void mbarrier_init(uint64_t* barrier, int count) { shim::mbarrier::init(barrier, count); }
inline void mbarrier_init_fence() {}
inline void mbarrier_arrive(uint64_t* barrier) { shim::mbarrier::arrive(barrier); }
inline void mbarrier_arrive_expect(uint64_t* barrier, int bytes) { shim::mbarrier::arrive_expect_tx(barrier, bytes); }
inline void mbarrier_wait(uint64_t* barrier, int parity) {
  shim::mbarrier::wait(barrier, static_cast<unsigned>(parity));
}

inline void tensor_prefetch(const CUtensorMap&) {}

inline void tensor_load(void* to, const CUtensorMap& map, uint64_t* barrier, int x, int y, int z) {
  const shim::TensorMap tensor = shim::read_map(&map);
  if (tensor.rank != 3) shim::fail("TMA: a load of 3 coordinates from a tensor of %d dimensions", tensor.rank);
  unsigned char* const base = shim::shared_base();
  const uint32_t start = shared_address(to);
  const int64_t bytes = static_cast<int64_t>(tensor.box[0]) * tensor.box[1] * tensor.box[2] * tensor.stride[0];
  if (start % 128 != 0) shim::fail("TMA: the box in shared memory begins at %u, no multiple of 128", start);
  if (start + bytes > static_cast<int64_t>(shim::shared_size()))
    shim::fail("TMA: the box reaches beyond the block's shared memory");
  if (reinterpret_cast<uintptr_t>(&map) % 64 != 0) shim::fail("TMA: the map is not aligned to 64 bytes");
  const auto copy = [=] {
    const int64_t first[3] = {x, y, z}, element = static_cast<int64_t>(tensor.stride[0]);
    const auto inside = [&](int d, int64_t i) { return first[d] + i >= 0 && first[d] + i < tensor.size[d]; };
    const uint32_t mask = (1u << tensor.swizzle) - 1;
    uint32_t at = start;
    for (int64_t k = 0; k < tensor.box[2]; ++k) {
      for (int64_t j = 0; j < tensor.box[1]; ++j) {
        const unsigned char* const row = tensor.address + (z + k) * tensor.stride[2] + (y + j) * tensor.stride[1];
        for (int64_t i = 0; i < tensor.box[0]; ++i, at += static_cast<uint32_t>(element)) {
          unsigned char* const swizzled = base + (at ^ (at >> 7 & mask) << 4);
          if (inside(0, i) && inside(1, j) && inside(2, k)) std::memcpy(swizzled, row + (x + i) * element, element);
          else std::memset(swizzled, 0, element);
        }
      }
    }
    shim::mbarrier::complete_tx(barrier, bytes);
  };
  static thread_local unsigned loads = 0;
  shim::hopper::land(copy, ++loads % 11 == 0 ? 40 : loads * 5 % 7 % 3);
}

inline void wgmma_fence() { shim::hopper::warpgroup().fenced[shim::hopper::member()] = true; }
inline void wgmma_commit() { shim::commit(shim::Queue::matrix); }
template <int kLeft> void wgmma_wait() {
  for (int round = 0; round < 2; ++round) shim::relax("wgmma.wait_group");  // warps take turns up and down
  shim::wait(shim::Queue::matrix, kLeft);
}
template <int kCount> void wgmma_settle(float (&)[kCount]) {}

template <int kMajorA, int kMajorB, int kCount>
void wgmma(float (&d)[kCount], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kCount == 64 || kCount == 128);
  shim::hopper::issue<2 * kCount, kMajorA, kMajorB>({d, a, b, accumulate});
}

template <int kCount> void registers_give() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
  shim::group_exchange("setmaxnreg.dec", kCount);
}
template <int kCount> void registers_take() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
  shim::group_exchange("setmaxnreg.inc", kCount);
}

}  // namespace
}  // namespace deltarule::cuda
