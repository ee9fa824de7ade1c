#include "arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "shim.h"

namespace shim {
namespace {

constexpr size_t kRedzone = 256, kStep = size_t{2} << 20;
constexpr unsigned char kPoison = 0xFF;

// NaN in every type like the poison, but another one: 0xFFFE in every half word.
unsigned char pattern(const unsigned char* p) { return reinterpret_cast<uintptr_t>(p) % 2 == 0 ? 0xFE : 0xFF; }

void fill_pattern(unsigned char* from, unsigned char* to) {
  for (; from < to; ++from) *from = pattern(from);
}

const unsigned char* first_damage(const unsigned char* from, const unsigned char* to) {
  for (; from < to; ++from) {
    if (*from != pattern(from)) return from;
  }
  return nullptr;
}

template <class... A> std::string text(const char* format, A... arguments) {
  char buffer[256];
  std::snprintf(buffer, sizeof(buffer), format, arguments...);
  return buffer;
}

}  // namespace

Arena::Arena(size_t limit) : limit_(limit), reserved_(4 * limit + (size_t{1} << 30)) {
  void* base = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) fail("no address space for %zu bytes of emulated memory", reserved_);
  // Switching the protection costs time per page: 36 ms for 256 MiB of small ones.
  const uintptr_t start = (reinterpret_cast<uintptr_t>(base) + kStep - 1) / kStep * kStep;
  reserved_ -= start - reinterpret_cast<uintptr_t>(base);
  base_ = touched_ = mapped_ = reinterpret_cast<unsigned char*>(start);
  madvise(base_, reserved_, MADV_HUGEPAGE);
}

void Arena::protect(bool on) {
  open_ = !on;
  if (mapped_ > base_) mprotect(base_, mapped_ - base_, on ? PROT_NONE : PROT_READ | PROT_WRITE);
}

bool Arena::contains(const void* pointer) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  return p >= base_ && p < base_ + reserved_;
}

void* Arena::allocate(size_t size, std::string* damage) {
  if (size > limit_ - used_) return nullptr;
  const size_t block = (size + 255) / 256 * 256 + 2 * kRedzone;
  unsigned char* start = nullptr;
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    if (hole->second < block) continue;
    start = hole->first;
    const size_t rest = hole->second - block;
    holes_.erase(hole);
    if (rest > 0) holes_[start + block] = rest;
    if (start[0] != kPoison || std::memcmp(start, start + 1, block - 1) != 0) {
      size_t at = 0;
      while (start[at] == kPoison) ++at;
      *damage = text("memory at %p was written after it was freed", static_cast<void*>(start + at));
      return nullptr;
    }
    break;
  }
  if (start == nullptr) {
    if (block > reserved_ - (touched_ - base_)) return nullptr;
    start = touched_;
    touched_ += block;
    while (mapped_ < touched_) mapped_ += kStep;
    if (mapped_ > base_ + reserved_) mapped_ = base_ + reserved_;
    protect(!open_);
  }
  unsigned char* pointer = start + kRedzone;
  fill_pattern(start, pointer);
  std::memset(pointer, kPoison, size);
  fill_pattern(pointer + size, start + block);
  allocations_[pointer] = {size, block};
  used_ += size;
  return pointer;
}

std::string Arena::look_at(unsigned char* pointer, const Allocation& allocation) const {
  const unsigned char* wrong = first_damage(pointer - kRedzone, pointer);
  if (wrong == nullptr) wrong = first_damage(pointer + allocation.size, pointer - kRedzone + allocation.block);
  if (wrong == nullptr) return {};
  return text("device memory was written out of bounds, at byte %td of the %zu at %p", wrong - pointer, allocation.size,
              static_cast<void*>(pointer));
}

std::string Arena::damage() const {
  for (const auto& [pointer, allocation] : allocations_) {
    std::string found = look_at(pointer, allocation);
    if (!found.empty()) return found;
  }
  return {};
}

std::string Arena::release(void* p) {
  unsigned char* pointer = static_cast<unsigned char*>(p);
  const auto found = allocations_.find(pointer);
  if (found == allocations_.end()) return text("%p is freed, but is no allocation (or was freed before)", p);
  std::string damaged = look_at(pointer, found->second);
  if (!damaged.empty()) return damaged;
  unsigned char* start = pointer - kRedzone;
  size_t block = found->second.block;
  used_ -= found->second.size;
  allocations_.erase(found);
  std::memset(start, kPoison, block);
  auto above = holes_.lower_bound(start);
  if (above != holes_.end() && above->first == start + block) {
    block += above->second;
    above = holes_.erase(above);
  }
  if (above != holes_.begin()) {
    auto below = std::prev(above);
    if (below->first + below->second == start) {
      below->second += block;
      return {};
    }
  }
  holes_[start] = block;
  return {};
}

std::string Arena::outside(const void* p, size_t size) const {
  unsigned char* pointer = const_cast<unsigned char*>(static_cast<const unsigned char*>(p));
  auto above = allocations_.upper_bound(pointer);
  if (above == allocations_.begin()) return text("%p is not in an allocation", p);
  --above;
  const auto& [start, allocation] = *above;
  if (pointer + size <= start + allocation.size) return {};
  return text("[%p, + %zu) is not within the allocation of %zu bytes at %p", p, size, allocation.size,
              static_cast<void*>(start));
}

bool Arena::allocated(const void* pointer) const { return outside(pointer, 1).empty(); }

}  // namespace shim
