#include "cuda/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>

#include "base/check.h"
#include "cuda/gpu.h"

namespace deltarule::cuda {

struct Segment {
  Allocator* owner;
  char* memory;
  int64_t bytes;
  int pool;
  Block* first;
};

struct Block {
  Segment* segment;
  char* memory;
  int64_t bytes;
  bool free;
  Block *before, *after;   // its neighbours in the segment
  Block *previous, *next;  // in the list of free blocks of its class, or of kept ones
};

namespace {

constexpr int64_t kGrain = 512;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kSmall = kMiB, kMedium = 16 * kMiB;
constexpr int64_t kSegment[] = {2 * kMiB, 32 * kMiB, 2 * kMiB};  // of each pool; of the last one it is the grain
constexpr int64_t kMost = int64_t{1} << 46;                      // more than any GPU has

// One lock for the memory of all GPUs: it is held for a few hundred instructions.
struct Ledger {
  std::mutex mutex;
  std::unordered_map<const void*, Block*> taken;
};

// Never destroyed: arrays may be given back after main.
Ledger& ledger() {
  static Ledger& one = *new Ledger;
  return one;
}

bool caches() {
  static const bool on = [] {
    const char* text = std::getenv("DELTARULE_CUDA_CACHE");
    return text == nullptr || std::string(text) != "0";
  }();
  return on;
}

thread_local Kept* keeping = nullptr;

int64_t round_up(int64_t bytes, int64_t grain) { return (bytes + grain - 1) / grain * grain; }

int64_t rounded(int64_t bytes) {
  if (!caches()) return bytes;
  if (bytes > kMedium) return round_up(bytes, kSegment[2]);
  const int top = std::bit_width(static_cast<uint64_t>(bytes - 1));  // 2^(top-1) < bytes <= 2^top
  return round_up(bytes, std::max(kGrain, int64_t{1} << std::max(top - 4, 0)));
}

int pool_of(int64_t bytes) { return bytes <= kSmall ? 0 : bytes <= kMedium ? 1 : 2; }

// Number of the list that a free block of so many bytes is in: eight for each power of two, in ascending order.
int class_of(int64_t bytes) {
  const uint64_t grains = static_cast<uint64_t>(bytes / kGrain);
  if (grains < 16) return static_cast<int>(grains);
  const int shift = std::bit_width(grains) - 4;
  return shift * 8 + static_cast<int>(grains >> shift);
}

std::string size_text(int64_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024.0 && unit < 4; ++unit) value /= 1024.0;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

// cudaMalloc, also while this thread records: it is no work of the stream, the recording only holds the address.
cudaError_t malloc_now(char** memory, int64_t bytes) {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  void* pointer = nullptr;
  const cudaError_t status = cudaMalloc(&pointer, static_cast<size_t>(bytes));
  cudaThreadExchangeStreamCaptureMode(&mode);
  *memory = static_cast<char*>(pointer);
  return status;
}

}  // namespace

Kept::~Kept() {
  if (first_ == nullptr || forked()) return;
  const std::lock_guard lock(ledger().mutex);
  while (first_ != nullptr) {
    Block* const block = first_;
    first_ = block->next;
    Allocator::put_back(block);
  }
}

Allocator::Allocator(Gpu& gpu) : gpu_(gpu) {}

void* Allocator::take(int64_t bytes) {
  const std::lock_guard lock(ledger().mutex);
  if (bytes > kMost) out_of_memory(bytes);
  const int64_t size = rounded(std::max(bytes, int64_t{1}));
  if (limit_ > 0 && used_ + size > limit_) out_of_memory(bytes);
  const int pool = pool_of(size);
  Block* block = find(pool, size, false);
  if (block == nullptr) block = grow(pool, size, bytes);
  cut(block, size);
  ledger().taken.emplace(block->memory, block);
  remove(block);
  used_ += block->bytes;
  peak_ = std::max(peak_, used_);
  return block->memory;
}

void Allocator::give(void* memory) noexcept {
  if (memory == nullptr || forked()) return;
  const std::lock_guard lock(ledger().mutex);
  const auto found = ledger().taken.find(memory);
  if (found == ledger().taken.end()) return;
  Block* const block = found->second;
  ledger().taken.erase(found);
  if (keeping != nullptr) {
    block->next = keeping->first_;
    keeping->first_ = block;
  } else {
    put_back(block);
  }
}

void Allocator::keep_given(Kept* kept) noexcept { keeping = kept; }

void Allocator::put_back(Block* block) noexcept {
  Allocator& owner = *block->segment->owner;
  owner.used_ -= block->bytes;
  owner.join(block);
  if (!caches()) owner.release_free_segments();
}

Memory Allocator::memory() {
  size_t free = 0, total = 0;
  check_cuda(gpu_, cudaMemGetInfo(&free, &total), "memory");
  const std::lock_guard lock(ledger().mutex);
  return {used_, reserved_ - used_, peak_, limit_, static_cast<int64_t>(total), static_cast<int64_t>(free)};
}

void Allocator::set_limit(int64_t bytes) {
  const std::lock_guard lock(ledger().mutex);
  limit_ = bytes;
  if (limit_ > 0 && reserved_ > limit_) release_free_segments();
}

void Allocator::release_cached() {
  const std::lock_guard lock(ledger().mutex);
  release_free_segments();
}

void Allocator::hold_segments(bool held) {
  const std::lock_guard lock(ledger().mutex);
  held_ = held;
}

// A free block of at least so many bytes, or null.
Block* Allocator::find(int number, int64_t bytes, bool may_split_segment) {
  const Pool& pool = pools_[number];
  const int own = class_of(bytes);
  const auto serves = [&](const Block* block) {
    const bool whole = block->before == nullptr && block->after == nullptr;
    return block->bytes >= bytes && (number < 2 || may_split_segment || !whole || block->bytes <= 2 * bytes);
  };
  for (int word = own / 64; word < static_cast<int>(std::size(pool.occupied)); ++word) {
    uint64_t classes = pool.occupied[word];
    if (word == own / 64) classes &= ~uint64_t{0} << (own % 64);
    for (; classes != 0; classes &= classes - 1) {
      Block* block = pool.first[word * 64 + std::countr_zero(classes)];
      for (; block != nullptr; block = block->next)
        if (serves(block)) return block;
    }
  }
  return nullptr;
}

// A free block of at least so many bytes in a new segment.
Block* Allocator::grow(int pool, int64_t bytes, int64_t asked) {
  const int64_t usual = !caches() || pool == 2 ? bytes : kSegment[pool];
  for (const bool after_release : {false, true}) {
    if (after_release) release_free_segments();
    for (const int64_t size : {usual, bytes}) {
      if (Block* const block = reserve(pool, size)) return block;
      if (usual == bytes) break;
    }
  }
  if (Block* const block = find(pool, bytes, true)) return block;
  out_of_memory(asked);
}

Block* Allocator::reserve(int pool, int64_t bytes) {
  if (limit_ > 0 && reserved_ + bytes > limit_) return nullptr;
  segments_.reserve(segments_.size() + 1);
  auto segment = std::make_unique<Segment>(Segment{this, nullptr, bytes, pool, nullptr});
  auto block = std::make_unique<Block>(Block{segment.get(), nullptr, bytes, true, nullptr, nullptr, nullptr, nullptr});
  const cudaError_t status = malloc_now(&segment->memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(gpu_, status, "allocate");
  block->memory = segment->memory;
  segment->first = block.get();
  reserved_ += bytes;
  insert(block.get());
  segments_.push_back(segment.release());
  return block.release();
}

// The first `bytes` of a free block become a free block of their own.
void Allocator::cut(Block* block, int64_t bytes) {
  if (!caches() || block->bytes - bytes < kGrain) return;
  auto* const rest = new Block{
      block->segment, block->memory + bytes, block->bytes - bytes, true, block, block->after, nullptr, nullptr};
  remove(block);
  if (block->after != nullptr) block->after->before = rest;
  block->after = rest;
  block->bytes = bytes;
  insert(rest);
  insert(block);
}

// A block becomes free, and one with its free neighbours.
void Allocator::join(Block* block) noexcept {
  if (Block* const after = block->after; after != nullptr && after->free) {
    remove(after);
    block->bytes += after->bytes;
    block->after = after->after;
    if (block->after != nullptr) block->after->before = block;
    delete after;
  }
  if (Block* const before = block->before; before != nullptr && before->free) {
    remove(before);
    before->bytes += block->bytes;
    before->after = block->after;
    if (before->after != nullptr) before->after->before = before;
    delete block;
    block = before;
  }
  insert(block);
}

void Allocator::insert(Block* block) noexcept {
  Pool& pool = pools_[block->segment->pool];
  const int c = class_of(block->bytes);
  block->free = true;
  block->previous = nullptr;
  block->next = pool.first[c];
  if (block->next != nullptr) block->next->previous = block;
  pool.first[c] = block;
  pool.occupied[c / 64] |= uint64_t{1} << (c % 64);
}

void Allocator::remove(Block* block) noexcept {
  Pool& pool = pools_[block->segment->pool];
  const int c = class_of(block->bytes);
  block->free = false;
  if (block->next != nullptr) block->next->previous = block->previous;
  (block->previous != nullptr ? block->previous->next : pool.first[c]) = block->next;
  if (pool.first[c] == nullptr) pool.occupied[c / 64] &= ~(uint64_t{1} << (c % 64));
}

// cudaFree waits for what is queued. What goes wrong here is not this call's: the next one that waits says it.
void Allocator::release_free_segments() noexcept {
  if (forked() || held_) return;
  std::erase_if(segments_, [this](Segment* segment) {
    Block* const block = segment->first;
    if (!block->free || block->after != nullptr) return false;
    remove(block);
    cudaFree(segment->memory);
    reserved_ -= segment->bytes;
    delete block;
    delete segment;
    return true;
  });
  cudaGetLastError();
}

void Allocator::out_of_memory(int64_t asked) {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  throw DeviceError(message(gpu_.name, ": out of memory, asked for ", size_text(asked), "; used ", size_text(used_),
                            ", cached ", size_text(reserved_ - used_), ", limit ",
                            limit_ > 0 ? size_text(limit_) + " (set_memory_limit)" : std::string("none"),
                            ", free on the device ", size_text(static_cast<int64_t>(free)),
                            "; smaller batches, float32 or uint8 data, or a higher limit may help"));
}

}  // namespace deltarule::cuda
