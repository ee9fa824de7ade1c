// Checks of shim/cuda/ptx_hopper.cuh, the emulated instructions of Hopper, against layouts written down a second time
// in other words, and of what it must not let pass. Run by tests/test_cuda_gemm_hopper.py.
#include "cuda/ptx_hopper.cuh"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

using namespace deltarule::cuda;

namespace {

constexpr int kColumns = 128, kShared = 64 * 1024;

uint16_t bfloat16(float x) { return static_cast<uint16_t>(bfloat16_pair(x, 0.0f)); }

// Small integers, another for each element.
float value_a(int i, int k) { return static_cast<float>((i * 7 + k * 3) % 13 - 6); }
float value_b(int k, int j) { return static_cast<float>((j * 5 + k * 11) % 17 - 8); }

// Where a swizzle of `span` bytes puts byte `column` of row `row`, rows of `span` bytes: the 16-byte chunks of a row
// change places by the number of its 128-byte line.
int swizzled(int span, int row, int column) {
  const int line = row * span / 128, chunk = column / 16 ^ line % (span / 16);
  return row * span + chunk * 16 + column % 16;
}

// Element (x, k) of an operand of `extent` rows: k innermost, atoms of 8 rows below each other, or x innermost, atoms
// of (span / 2) x of 8 k each, those of the next k behind each other (1024 bytes at most), those of the next x after.
int place(int span, int major, int x, int k) {
  if (major == 0) return swizzled(span, x, k * 2);
  const int wide = span / 2, atom = 8 * span;
  return x / wide * 2 * atom + k / 8 * atom + swizzled(span, k % 8, x % wide * 2);
}

uint64_t descriptor(const unsigned char* tile, int span, int major) {
  const uint64_t swizzle = span == 128 ? 1 : span == 64 ? 2 : 3, atom = 8 * static_cast<uint64_t>(span);
  const uint64_t leading = major == 0 ? 1 : 2 * atom >> 4;
  return shared_address(tile) >> 4 | leading << 16 | (atom >> 4) << 32 | swizzle << 62;
}

void fill(unsigned char* a, unsigned char* b, int span, int major_a, int major_b) {
  if (threadIdx.x == 0) {
    for (int k = 0; k < 16; ++k) {
      for (int i = 0; i < 64; ++i) {
        const uint16_t x = bfloat16(value_a(i, k));
        std::memcpy(a + place(span, major_a, i, k), &x, 2);
      }
      for (int j = 0; j < kColumns; ++j) {
        const uint16_t x = bfloat16(value_b(k, j));
        std::memcpy(b + place(span, major_b, j, k), &x, 2);
      }
    }
  }
  __syncthreads();
}

// c[64][128] = 3 + A B; the accumulators as the PTX ISA draws them: lane l of warp w has rows 16 w + l / 4 and 8 below,
// and of each 8 columns the two at 2 (l % 4).
template <int kMajorA, int kMajorB> __global__ void product(int span, float* c) {
  DELTARULE_SHARED(unsigned char, shared);
  unsigned char *const a = shared, *const b = shared + 32 * 1024;
  fill(a, b, span, kMajorA, kMajorB);
  float d[kColumns / 2];
  for (float& x : d) x = 3.0f;
  wgmma_fence();
  wgmma<kMajorA, kMajorB>(d, descriptor(a, span, kMajorA), descriptor(b, span, kMajorB), true);
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_settle(d);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int eight = 0; eight < kColumns / 8; ++eight) {
    for (int half = 0; half < 2; ++half) {
      float* to = c + (16 * warp + 8 * half + lane / 4) * kColumns + 8 * eight + 2 * (lane % 4);
      to[0] = d[4 * eight + 2 * half];
      to[1] = d[4 * eight + 2 * half + 1];
    }
  }
}

enum class Fault { none, no_fence, early_read, early_write, changed_operand, never_waited, disagreement };

__global__ void misuse(Fault fault, float* c) {
  DELTARULE_SHARED(unsigned char, shared);
  unsigned char *const a = shared, *const b = shared + 32 * 1024;
  fill(a, b, 128, 0, 0);
  float d[kColumns / 2];
  for (float& x : d) x = 0.0f;
  if (fault != Fault::no_fence) wgmma_fence();
  const unsigned char* own_a = fault == Fault::disagreement && threadIdx.x == 77 ? b : a;
  wgmma<0, 0>(d, descriptor(own_a, 128, 0), descriptor(b, 128, 0), false);
  wgmma_commit();
  if (fault == Fault::early_read) c[threadIdx.x] = d[5];
  if (fault == Fault::early_write && threadIdx.x == 3) d[7] = 1.0f;
  if (fault == Fault::changed_operand && threadIdx.x == 0) std::memset(a, 0, 16);
  if (fault != Fault::never_waited) wgmma_wait<0>();
  if (fault == Fault::none) c[threadIdx.x] = d[5];
}

// The box at (x, y, z) as it lies in shared memory.
__global__ void load(const __grid_constant__ CUtensorMap map, int x, int y, int z, int bytes, unsigned char* to) {
  DELTARULE_SHARED(unsigned char, shared);
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared + 32 * 1024);
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, bytes);
    tensor_load(shared, map, barrier, x, y, z);
  }
  mbarrier_wait(barrier, 0);
  for (int i = static_cast<int>(threadIdx.x); i < bytes; i += 128) to[i] = shared[i];
}

template <class T> std::vector<T> from_device(const T* memory, size_t count) {
  std::vector<T> values(count);
  if (cudaMemcpy(values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess) std::abort();
  return values;
}

template <int kMajorA, int kMajorB> const char* check_product(int span) {
  float* c;
  if (cudaMalloc(&c, 64 * kColumns * 4) != cudaSuccess) std::abort();
  if (launch(nullptr, 1, 128, kShared, product<kMajorA, kMajorB>, span, c) != cudaSuccess) std::abort();
  const std::vector<float> got = from_device(c, 64 * kColumns);
  if (cudaFree(c) != cudaSuccess) std::abort();
  for (int i = 0; i < 64; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      float want = 3.0f;
      for (int k = 0; k < 16; ++k) want += value_a(i, k) * value_b(k, j);
      if (got[static_cast<size_t>(i * kColumns + j)] != want) return "an operand is not where its layout says";
    }
  }
  return nullptr;
}

const char* check_load() {
  constexpr int kRows = 11, kCols = 70, kPitch = 72, kPlanes = 2, kBoxRows = 16;
  std::vector<uint16_t> host(kPlanes * kRows * kPitch);
  for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<uint16_t>(i + 1);
  uint16_t* tensor;
  unsigned char* box;
  constexpr int kBytes = 64 * kBoxRows * 2;
  if (cudaMalloc(&tensor, host.size() * 2) != cudaSuccess || cudaMalloc(&box, kBytes) != cudaSuccess) std::abort();
  if (cudaMemcpy(tensor, host.data(), host.size() * 2, cudaMemcpyHostToDevice) != cudaSuccess) std::abort();
  CUtensorMap map;
  const cuuint64_t size[] = {kCols, kRows, kPlanes}, strides[] = {kPitch * 2, kRows * kPitch * 2};
  const cuuint32_t boxes[] = {64, kBoxRows, 1}, steps[] = {1, 1, 1};
  if (cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, tensor, size, strides, boxes, steps,
                             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    return "the map was refused";
  const char* wrong = nullptr;
  for (const int x : {0, 8, 64, 128}) {
    if (launch(nullptr, 1, 128, kShared, load, map, x, 2, 1, kBytes, box) != cudaSuccess) std::abort();
    const std::vector<unsigned char> got = from_device(box, kBytes);
    for (int row = 0; row < kBoxRows; ++row) {
      for (int column = 0; column < 64; ++column) {
        const bool inside = 2 + row < kRows && x + column < kCols;
        const uint16_t want = inside ? host[static_cast<size_t>((kRows + 2 + row) * kPitch + x + column)] : 0;
        uint16_t at;
        std::memcpy(&at, &got[static_cast<size_t>(swizzled(128, row, column * 2))], 2);
        if (at != want) wrong = "a box is not what the tensor has there";
      }
    }
  }
  if (cudaFree(tensor) != cudaSuccess || cudaFree(box) != cudaSuccess) std::abort();
  return wrong;
}

}  // namespace

// null: fine
extern "C" __attribute__((visibility("default"))) const char* ptx_hopper_layouts() {
  const char* wrong = check_load();
  for (const int span : {32, 64, 128}) {
    if (wrong == nullptr) wrong = check_product<0, 0>(span);
    if (wrong == nullptr) wrong = check_product<0, 1>(span);
    if (wrong == nullptr) wrong = check_product<1, 0>(span);
    if (wrong == nullptr) wrong = check_product<1, 1>(span);
  }
  return wrong;
}

// What a thread read: NaN, or the element.
extern "C" __attribute__((visibility("default"))) float ptx_hopper_misuse(int fault) {
  float* c;
  if (cudaMalloc(&c, 128 * 4) != cudaSuccess) std::abort();
  if (launch(nullptr, 1, 128, kShared, misuse, static_cast<Fault>(fault), c) != cudaSuccess) std::abort();
  const float read = from_device(c, 128)[0];
  if (cudaFree(c) != cudaSuccess) std::abort();
  return read;
}
