// The mbarrier objects of PTX, for the twins of leaves that use them. An object is 8 bytes of shared memory:
//
//   bit 63         62 .. 42                     41 .. 21             20 .. 0
//   phase parity   bytes under way + 2^20       arrivals expected    arrivals missing
//
// A phase ends when no arrival is missing and no byte is under way; the parity turns and the count starts anew.
#pragma once

#include <cstdint>
#include <cstring>

#include "shim.h"

namespace shim::mbarrier {

struct State {
  bool parity;
  int64_t bytes, expected, missing;
};

constexpr int64_t kLimit = (1 << 20) - 1;

inline State read(const uint64_t* object) {
  const uint64_t word = *object;
  const State state{word >> 63 != 0, static_cast<int64_t>(word >> 42 & 0x1FFFFF) - (kLimit + 1),
                    static_cast<int64_t>(word >> 21 & 0x1FFFFF), static_cast<int64_t>(word & 0x1FFFFF)};
  if (state.expected < 1 || state.expected > kLimit || state.missing > state.expected)
    fail("no mbarrier at %p: not initialised, or overwritten", static_cast<const void*>(object));
  return state;
}

inline void write(uint64_t* object, State state) {
  if (state.missing == 0 && state.bytes == 0) {
    state.parity = !state.parity;
    state.missing = state.expected;
    note_progress();
  }
  *object = uint64_t{state.parity} << 63 | static_cast<uint64_t>(state.bytes + kLimit + 1) << 42 |
            static_cast<uint64_t>(state.expected) << 21 | static_cast<uint64_t>(state.missing);
}

inline void init(uint64_t* object, int count) {
  if (count < 1 || count > kLimit) fail("mbarrier of %d arrivals", count);
  if (reinterpret_cast<uintptr_t>(object) % 8 != 0) fail("an mbarrier is aligned to 8 bytes");
  *object = static_cast<uint64_t>(kLimit + 1) << 42 | static_cast<uint64_t>(count) << 21 | static_cast<uint64_t>(count);
}

// Makes later uses fail until the next init.
inline void invalidate(uint64_t* object) { std::memset(object, 0xFF, sizeof(*object)); }

inline void expect_tx(uint64_t* object, int64_t bytes) {
  State state = read(object);
  state.bytes += bytes;
  if (state.bytes > kLimit) fail("an mbarrier counts at most 2^20 - 1 bytes under way");
  write(object, state);
}

// Bytes may land before they are expected.
inline void complete_tx(uint64_t* object, int64_t bytes) {
  State state = read(object);
  state.bytes -= bytes;
  if (state.bytes < -kLimit) fail("an mbarrier counts at most 2^20 - 1 bytes under way");
  write(object, state);
}

inline void arrive(uint64_t* object, int count = 1) {
  State state = read(object);
  if (count > state.missing) fail("mbarrier: %d arrivals where %d are missing", count, static_cast<int>(state.missing));
  state.missing -= count;
  write(object, state);
}

inline void arrive_expect_tx(uint64_t* object, int64_t bytes) {
  State state = read(object);
  if (state.missing < 1) fail("mbarrier: an arrival where none is missing");
  state.bytes += bytes;
  if (state.bytes > kLimit) fail("an mbarrier counts at most 2^20 - 1 bytes under way");
  state.missing -= 1;
  write(object, state);
}

// Has the phase of this parity ended?
inline bool test_wait(const uint64_t* object, unsigned parity) { return read(object).parity != (parity != 0); }

// The same, and lets other threads run where the answer is no.
inline bool try_wait(const uint64_t* object, unsigned parity) {
  if (test_wait(object, parity)) return true;
  relax("an mbarrier");
  return false;
}

inline void wait(const uint64_t* object, unsigned parity) {
  while (!try_wait(object, parity)) {
  }
}

}  // namespace shim::mbarrier
