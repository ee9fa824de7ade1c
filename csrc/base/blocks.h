// Memory of arrays. A block given back is kept for the next request of its size, so that `c = a + b` in a loop asks the
// system for nothing: fresh memory costs a page fault for every 4 KB first written, several times what an addition
// costs.
//
// Sizes are rounded up by at most an eighth (small ones to 64 bytes). At most kKeptBytes are kept; when a block does
// not fit, all that was kept goes back to the system first. Large blocks ask for huge pages.
//
// Measured, AMD EPYC (Zen 4), 2 cores, one thread: `c = a + b` of 10 million float32 in a loop takes 26.8 ms with fresh
// blocks, 7.5 with fresh ones in huge pages (NumPy), 4.4 to 8.2 with kept ones.
#pragma once

#include <cstdint>

namespace deltarule {

inline constexpr int64_t kKeptBytes = int64_t{192} << 20;

void* take_block(int64_t bytes) noexcept;  // aligned to 64 bytes; null when there is no memory
void give_block(void* block) noexcept;     // on any thread; null is nothing

int64_t kept_bytes() noexcept;  // what waits to be reused

}  // namespace deltarule
