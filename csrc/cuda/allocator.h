// Memory of one GPU: taken from CUDA in segments, handed out in blocks, kept when given back.
//
//   segment  |  block  |  block (free)  |  block  |      one cudaMalloc
//
// cudaMalloc and cudaFree take long and wait for the GPU, so a block given back serves the next request. It may do so
// at once: everything on a GPU runs on its one stream, and what the block is used for next is queued behind what it
// was used for before. Free neighbours are one block, and a block that is too long is cut.
//
// Sizes are rounded up by at most an eighth (small ones to 512 bytes, large ones to 2 MiB). Requests up to 1 MiB are
// cut from segments of 2 MiB, those up to 16 MiB from segments of 32 MiB, larger ones get segments of their own; the
// three do not mix, so that small blocks that live long do not split large ones. A large segment that is all free
// serves requests from half its size on, for the same reason. When neither CUDA nor the limit has room for another
// segment, those of which nothing is used go back to CUDA first.
//
// DELTARULE_CUDA_CACHE=0 gives every request memory of its own, of its very size, and keeps none: slow, for
// compute-sanitizer and the emulator to see every array's end.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "cuda/devices.h"

namespace deltarule::cuda {

struct Gpu;
struct Block;
struct Segment;

// Blocks whose addresses a recording holds: given back, but not handed out again before this is gone.
class Kept {
 public:
  Kept() = default;
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept();

 private:
  friend class Allocator;
  Block* first_ = nullptr;
};

class Allocator {
 public:
  explicit Allocator(Gpu& gpu);

  void* take(int64_t bytes);               // 256-byte aligned; the GPU is selected; throws DeviceError
  static void give(void* block) noexcept;  // of any GPU, on any thread; null is nothing

  // From now on what the calling thread gives back is kept by `kept`; null: no longer.
  static void keep_given(Kept* kept) noexcept;

  Memory memory();                // the GPU is selected
  void set_limit(int64_t bytes);  // 0: none
  void release_cached();          // the GPU is selected
  // While `held` nothing goes back to CUDA: cudaFree waits for the GPU, which a stream that is recorded forbids.
  void hold_segments(bool held);

 private:
  static constexpr int kPools = 3, kClasses = 288;
  struct Pool {
    Block* first[kClasses] = {};
    uint64_t occupied[(kClasses + 63) / 64] = {};
  };

  Block* find(int pool, int64_t bytes, bool may_split_segment);
  Block* grow(int pool, int64_t bytes, int64_t asked);
  Block* reserve(int pool, int64_t bytes);
  void cut(Block* block, int64_t bytes);
  void join(Block* block) noexcept;
  void insert(Block* block) noexcept;
  void remove(Block* block) noexcept;
  void release_free_segments() noexcept;
  static void put_back(Block* block) noexcept;
  [[noreturn]] void out_of_memory(int64_t asked);
  friend class Kept;

  Gpu& gpu_;
  Pool pools_[kPools];
  std::vector<Segment*> segments_;
  bool held_ = false;
  int64_t used_ = 0, reserved_ = 0, peak_ = 0, limit_ = 0;
};

}  // namespace deltarule::cuda
