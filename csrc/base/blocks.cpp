#include "base/blocks.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <bit>
#include <new>

namespace deltarule {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kHuge = int64_t{2} << 20;  // a huge page; blocks from here on ask for them
constexpr int kClasses = 8 * 64;             // eight sizes between two powers of two

// Stands in the 64 bytes before the memory handed out.
struct alignas(kAlign) Header {
  int64_t bytes;  // with the header
  int size_class;
  Header* next;
};

// The size to reserve for so many bytes, and its class.
int64_t rounded(int64_t bytes, int& size_class) {
  const uint64_t wanted = static_cast<uint64_t>(bytes) + sizeof(Header) - 1;
  const int top = std::bit_width(wanted);       // 2^(top-1) <= wanted
  const int shift = top > 4 + 6 ? top - 4 : 6;  // eighths, or 64 bytes
  const uint64_t steps = (wanted >> shift) + 1;
  size_class = shift * 8 + static_cast<int>(steps & 7);
  if (shift == 6) size_class = static_cast<int>(steps);  // 1 to 16
  return static_cast<int64_t>(steps << shift);
}

Header* reserve(int64_t bytes) noexcept {
  const auto alignment = std::align_val_t{static_cast<size_t>(bytes >= kHuge ? kHuge : kAlign)};
  void* memory = ::operator new(static_cast<size_t>(bytes), alignment, std::nothrow);
#if defined(__linux__)
  if (memory != nullptr && bytes >= kHuge) madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return static_cast<Header*>(memory);
}

void release(Header* header) noexcept {
  ::operator delete(header, std::align_val_t{static_cast<size_t>(header->bytes >= kHuge ? kHuge : kAlign)});
}

// One lock, held for a few instructions. Who finds it taken asks the system instead: nobody waits, not even in a child
// forked while another thread held it.
class Kept {
 public:
  Header* take(int size_class) noexcept {
    if (busy_.test_and_set(std::memory_order_acquire)) return nullptr;
    Header* const header = first_[size_class];
    if (header != nullptr) {
      first_[size_class] = header->next;
      bytes_ -= header->bytes;
    }
    busy_.clear(std::memory_order_release);
    return header;
  }

  void give(Header* header) noexcept {
    if (header->bytes > kKeptBytes || busy_.test_and_set(std::memory_order_acquire)) return release(header);
    if (bytes_ + header->bytes > kKeptBytes) empty();
    header->next = first_[header->size_class];
    first_[header->size_class] = header;
    bytes_ += header->bytes;
    busy_.clear(std::memory_order_release);
  }

  int64_t bytes() const noexcept { return bytes_; }

 private:
  void empty() noexcept {
    for (Header*& first : first_) {
      while (first != nullptr) {
        Header* const next = first->next;
        release(first);
        first = next;
      }
    }
    bytes_ = 0;
  }

  std::atomic_flag busy_;
  int64_t bytes_ = 0;
  Header* first_[kClasses] = {};
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeeps = false;  // so that the sanitizer sees every array's end
#else
constexpr bool kKeeps = true;
#endif

constinit Kept kept;

}  // namespace

void* take_block(int64_t bytes) noexcept {
  int size_class;
  const int64_t whole = rounded(bytes, size_class);
  Header* header = kKeeps ? kept.take(size_class) : nullptr;
  if (header == nullptr) {
    header = reserve(kKeeps ? whole : bytes + static_cast<int64_t>(sizeof(Header)));
    if (header == nullptr) return nullptr;
    header->bytes = kKeeps ? whole : bytes + static_cast<int64_t>(sizeof(Header));
    header->size_class = size_class;
  }
  return header + 1;
}

void give_block(void* block) noexcept {
  if (block == nullptr) return;
  Header* const header = static_cast<Header*>(block) - 1;
  if (kKeeps) kept.give(header);
  else release(header);
}

int64_t kept_bytes() noexcept { return kept.bytes(); }

}  // namespace deltarule
