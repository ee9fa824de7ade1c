// The emulator as kernels see it: the running thread, barriers, exchanges between threads, shared memory.
//
// Every thread of a block is a fiber of the host thread that drains a stream. A fiber runs until it waits; warps and
// lanes take turns in ascending and descending order. See README.md for what kernels can count on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "driver_types.h"

namespace shim {

struct Block;
struct Warp;
struct Meeting;
struct Asynchronous;

// One thread of a kernel.
struct Fiber {
  uint3 thread;
  int lane;
  Block* block;
  Warp* warp;
  void* stack_pointer;  // null: not started yet
  void* stack;
  void* fake_stack;   // AddressSanitizer's
  const char* where;  // what it waits for
  Meeting* meeting;   // the last exchange, whose data it may still read
  int vote, voters;   // of the last block-wide vote
  Asynchronous* pending;
};

// What threadIdx and its kin are read from.
struct Place {
  uint3 block_index;
  dim3 block_dim, grid_dim;
};

// Hidden: read without a detour in a shared library.
[[gnu::visibility("hidden")]] extern Fiber* current;
[[gnu::visibility("hidden")]] extern Place* place;  // of the running block

// Ends the process with one line: kernel, block, thread, and this text.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

// Lets the other threads run; `where` names the wait in messages.
void relax(const char* where = "a loop that relaxes");

// Called where something happened that others may spin for: keeps the watch for deadlocks quiet.
void note_progress();

// --- Barriers of a block. Threads that have returned do not count for barrier 0 with threads = 0, all of the block.
void barrier_sync(int id, int threads);
void barrier_arrive(int id, int threads);
enum class Vote { any, all, count };
int barrier_vote(Vote vote, bool predicate);

// --- Exchanges. All threads of the mask (or of the warpgroup of 128) call it with the same kind and size; each gives
// `size` bytes and gets the address of everyone's, [32 or 128][size] by lane, to be read until its next exchange.
// `kind` is a text that names the operation: calls of different kinds do not meet.
const void* warp_exchange(unsigned mask, const char* kind, const void* mine, size_t size);
const void* group_exchange(const char* kind, const void* mine, size_t size);

template <class T> const T* warp_exchange(unsigned mask, const char* kind, const T& mine) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64);
  return static_cast<const T*>(warp_exchange(mask, kind, &mine, sizeof(T)));
}

template <class T> const T* group_exchange(const char* kind, const T& mine) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64);
  return static_cast<const T*>(group_exchange(kind, &mine, sizeof(T)));
}

unsigned active_mask();    // lanes of this warp that have not returned
unsigned existing_mask();  // lanes of this warp: the last one of a block may lack some
unsigned lane_id();
unsigned warp_id();

// --- Shared memory. A 32-bit address, as PTX has it, is an offset into the block's own memory, or into that of
// another block of the cluster: its rank + 1 in the upper 8 bits.
unsigned char* shared_base();
size_t shared_size();
unsigned char* shared_of(unsigned rank);
uint32_t shared_address(const void* pointer);
unsigned char* shared_pointer(uint32_t address);
uint32_t map_shared(uint32_t address, unsigned rank);  // mapa

// --- Clusters. A launch without them has clusters of one block.
unsigned cluster_rank();
unsigned cluster_size();
void cluster_arrive();
void cluster_wait();

// --- Asynchronous operations.
// Runs `work` once every thread has run as far as it can: what a TMA copy writes lands late, and a missing wait shows.
void later(std::function<void()> work);

// Groups of operations that the thread itself waits for: cp.async (lane 0), bulk copies (1), wgmma (2). `work` runs
// no earlier than in the wait for it. At the end of the thread what is left has not happened.
enum class Queue { copy, bulk, matrix };
void add(Queue queue, std::function<void()> work);
void commit(Queue queue);
void wait(Queue queue, int newest_left);  // all groups but the newest `newest_left` are complete
void complete(Queue queue);               // all operations, committed or not

// --- Launch.
struct Shape {
  dim3 grid, block, cluster;
  size_t shared;
  bool cooperative;
};

cudaError_t launch(cudaStream_t stream, const Shape& shape, const void* function, std::function<void()> body);

// Runs a kernel now, on this host thread (the runtime's side of launch).
void execute(const Shape& shape, const void* function, const std::function<void()>& body);

}  // namespace shim
