// The emulated GPU's execution: fibers, their schedule, barriers, exchanges. runtime.cpp queues the work.
#include "shim.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <vector>

#include "symbols.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// --- Context switch ---

#if defined(__x86_64__)
extern "C" void deltarule_shim_switch(void** save, void* to);
asm(R"(
  .text
  .hidden deltarule_shim_switch
  .globl deltarule_shim_switch
  .type deltarule_shim_switch, @function
deltarule_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size deltarule_shim_switch, .-deltarule_shim_switch
)");
#endif

namespace shim {

struct alignas(64) Meeting {
  const char* kind;
  size_t size;
  int warps;
  unsigned mask[4], arrived[4];
  int readers;
  unsigned char* data = nullptr;
  size_t capacity = 0;
};

struct Barrier {
  int arrived, expected;  // expected 0: all threads that have not returned
  int voters, predicates;
  unsigned waiting[32];
};

struct Warp {
  unsigned exists, alive, ready, yielded;
  std::vector<Meeting*> open;
};

struct Block : Place {
  unsigned rank;   // in its cluster
  unsigned first;  // index of the cluster's first block among those that run together
  int threads, alive, warps;
  Fiber* fibers = nullptr;
  unsigned char* shared = nullptr;
  Warp warp[32];
  Barrier barriers[16];
  std::vector<Meeting*> open[8];  // of warpgroups
  std::unique_ptr<Fiber[]> storage;
  size_t fibers_stored = 0, shared_stored = 0;
};

struct Asynchronous {
  struct Line {
    std::vector<std::function<void()>> open;
    std::deque<std::vector<std::function<void()>>> committed;
  };
  Line lines[3];
};

Fiber* current = nullptr;
Place* place = nullptr;

namespace {

constexpr size_t kStack = 128 * 1024, kPage = 4096;
constexpr size_t kSharedGuard = 1024;
constexpr unsigned char kPoison = 0xFF, kGuard = 0xA5;
constexpr int kBarriers = 16;

// Arrivals and waits at the barrier of a cluster, kept by its first block.
struct ClusterBarrier {
  int arrived = 0;
  unsigned long generation = 0;
};

struct Scheduler {
  void* stack_pointer = nullptr;
  void* fake_stack = nullptr;
  const void* host_stack = nullptr;
  size_t host_stack_size = 0;
  const Shape* shape = nullptr;
  const void* function = nullptr;
  const std::function<void()>* body = nullptr;
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<ClusterBarrier> clusters;
  int together = 0;  // blocks that run
  std::vector<void*> stacks;
  std::vector<Meeting*> meetings;
  std::vector<std::function<void()>> later;
  unsigned long progress = 0;  // counts what is not a spin
  unsigned long launches = 0;
  bool descending = false;
#if !defined(__x86_64__)
  ucontext_t context;
  std::vector<std::unique_ptr<ucontext_t>> contexts;
#endif
};

Scheduler scheduler;

[[noreturn, gnu::noinline]] void fiber_main();

unsigned char* stack_bottom(void* stack) { return static_cast<unsigned char*>(stack) + kPage; }

void* new_stack() {
  if (!scheduler.stacks.empty()) {
    void* stack = scheduler.stacks.back();
    scheduler.stacks.pop_back();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_bottom(stack), kStack);  // frames that never returned
#endif
    return stack;
  }
  void* stack = mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) fail("no memory for the stacks of so many threads");
  mprotect(stack, kPage, PROT_NONE);
  return stack;
}

// Starts or continues a fiber and comes back when it waits or ends.
void resume(Fiber& fiber) {
  current = &fiber;
  place = fiber.block;
#if defined(__SANITIZE_ADDRESS__)
  if (fiber.stack == nullptr) fiber.stack = new_stack();
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, stack_bottom(fiber.stack), kStack);
#endif
#if defined(__x86_64__)
  if (fiber.stack_pointer == nullptr) {
    if (fiber.stack == nullptr) fiber.stack = new_stack();
    void** top = reinterpret_cast<void**>(stack_bottom(fiber.stack) + kStack);
    top[-1] = nullptr;  // the entry has no caller
    top[-2] = reinterpret_cast<void*>(&fiber_main);
    fiber.stack_pointer = top - 8;
  }
  deltarule_shim_switch(&scheduler.stack_pointer, fiber.stack_pointer);
#else
  if (fiber.stack_pointer == nullptr) {
    if (fiber.stack == nullptr) fiber.stack = new_stack();
    ucontext_t* context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = stack_bottom(fiber.stack);
    context->uc_stack.ss_size = kStack;
    context->uc_link = nullptr;
    makecontext(context, fiber_main, 0);
    fiber.stack_pointer = context;
  }
  swapcontext(&scheduler.context, static_cast<ucontext_t*>(fiber.stack_pointer));
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

// Back to the scheduler; returns when the fiber is resumed.
void suspend([[maybe_unused]] bool for_good) {
  Fiber* self = current;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &self->fake_stack, scheduler.host_stack,
                                 scheduler.host_stack_size);
#endif
#if defined(__x86_64__)
  deltarule_shim_switch(&self->stack_pointer, scheduler.stack_pointer);
#else
  swapcontext(static_cast<ucontext_t*>(self->stack_pointer), &scheduler.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
#endif
}

void wait_at(const char* where) {
  current->where = where;
  suspend(false);
  current->where = nullptr;
}

unsigned bit(const Fiber& fiber) { return 1u << fiber.lane; }

void complete(Block& block, Barrier& barrier) {
  ++scheduler.progress;
  if (barrier.voters > 0) {
    if (barrier.voters != barrier.arrived) fail("some threads of the block vote where others call __syncthreads");
    for (int i = 0; i < block.threads; ++i) {
      block.fibers[i].vote = barrier.predicates;
      block.fibers[i].voters = barrier.voters;
    }
  }
  for (int w = 0; w < block.warps; ++w) {
    block.warp[w].ready |= barrier.waiting[w];
    barrier.waiting[w] = 0;
  }
  barrier.arrived = barrier.expected = barrier.voters = barrier.predicates = 0;
}

bool is_full(const Block& block, const Barrier& barrier) {
  return barrier.arrived >= (barrier.expected == 0 ? block.alive : barrier.expected);
}

Barrier& barrier_of(int id, int threads) {
  if (id < 0 || id >= kBarriers) fail("barrier %d: there are 0 to 15", id);
  if (threads % 32 != 0 || threads < 0 || threads > (current->block->threads + 31) / 32 * 32)
    fail("barrier %d for %d threads: a multiple of 32, at most those of the block", id, threads);
  Barrier& barrier = current->block->barriers[id];
  if (barrier.arrived > 0 && barrier.expected != threads)
    fail("barrier %d for %d threads, but others wait there for %d", id, threads, barrier.expected);
  barrier.expected = threads;
  return barrier;
}

void release(Fiber& fiber) {
  Meeting* meeting = fiber.meeting;
  if (meeting == nullptr) return;
  fiber.meeting = nullptr;
  if (--meeting->readers == 0) scheduler.meetings.push_back(meeting);
}

Meeting* new_meeting(size_t bytes) {
  Meeting* meeting;
  if (scheduler.meetings.empty()) {
    meeting = new Meeting;
  } else {
    meeting = scheduler.meetings.back();
    scheduler.meetings.pop_back();
  }
  if (meeting->capacity < bytes) {
    std::free(meeting->data);
    meeting->capacity = (bytes + 63) / 64 * 64;
    meeting->data = static_cast<unsigned char*>(std::aligned_alloc(64, meeting->capacity));
  }
  std::memset(meeting->data, kPoison, bytes);  // what lanes outside of the mask give
  return meeting;
}

// `member` is the thread's number in the group of `warps` warps, `first` the group's first warp.
const void* meet(std::vector<Meeting*>& open, Warp* first, int warps, const unsigned* mask, int member,
                 const char* kind, const void* mine, size_t size) {
  Fiber& self = *current;
  release(self);
  Meeting* meeting = nullptr;
  for (Meeting* m : open) {
    if (std::memcmp(m->mask, mask, sizeof(unsigned) * warps) == 0) meeting = m;
  }
  if (meeting == nullptr) {
    meeting = new_meeting(size * warps * 32);
    meeting->kind = kind;
    meeting->size = size;
    meeting->warps = warps;
    meeting->readers = 0;
    for (int w = 0; w < warps; ++w) {
      meeting->mask[w] = mask[w];
      meeting->arrived[w] = 0;
      meeting->readers += std::popcount(mask[w]);
    }
    open.push_back(meeting);
  } else if (meeting->size != size || (meeting->kind != kind && std::strcmp(meeting->kind, kind) != 0)) {
    fail("%s of %zu bytes, but lanes of the same mask wait in %s of %zu bytes", kind, size, meeting->kind,
         meeting->size);
  }
  if (size > 0) std::memcpy(meeting->data + member * size, mine, size);
  meeting->arrived[member / 32] |= 1u << (member % 32);
  self.meeting = meeting;
  bool full = true;
  for (int w = 0; w < warps; ++w) full = full && meeting->arrived[w] == meeting->mask[w];
  if (!full) {
    wait_at(kind);
    return meeting->data;
  }
  ++scheduler.progress;
  std::erase(open, meeting);
  for (int w = 0; w < warps; ++w) first[w].ready |= meeting->mask[w];
  self.warp->ready &= ~bit(self);  // this one goes on at once
  return meeting->data;
}

void leave() {
  Fiber& self = *current;
  Block& block = *self.block;
  release(self);
  delete self.pending;
  self.pending = nullptr;
  self.warp->alive &= ~bit(self);
  --block.alive;
  ++scheduler.progress;
  for (Barrier& barrier : block.barriers) {
    if (barrier.arrived > 0 && barrier.expected == 0 && is_full(block, barrier)) complete(block, barrier);
  }
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.host_stack, &scheduler.host_stack_size);
#endif
  (*scheduler.body)();
  leave();
  suspend(true);
  std::abort();
}

void prepare(Block& block, uint64_t index, unsigned rank, unsigned first) {
  const Shape& shape = *scheduler.shape;
  const dim3 grid = shape.grid, dim = shape.block;
  block.block_dim = dim;
  block.grid_dim = grid;
  block.block_index = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
                       static_cast<unsigned>(index / grid.x / grid.y)};
  block.rank = rank;
  block.first = first;
  block.threads = block.alive = static_cast<int>(dim.x * dim.y * dim.z);
  block.warps = (block.threads + 31) / 32;
  for (int w = 0; w < block.warps; ++w) {
    Warp& warp = block.warp[w];
    const int lanes = std::min(32, block.threads - 32 * w);
    warp.exists = warp.alive = warp.ready = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warp.yielded = 0;
  }
  std::memset(block.barriers, 0, sizeof(block.barriers));
  if (block.fibers_stored < static_cast<size_t>(block.threads)) {
    block.storage = std::make_unique<Fiber[]>(block.threads);
    block.fibers_stored = block.threads;
    block.fibers = block.storage.get();
  }
  uint3 thread{0, 0, 0};
  for (int i = 0; i < block.threads; ++i) {
    block.fibers[i] = {.thread = thread,
                       .lane = i % 32,
                       .block = &block,
                       .warp = &block.warp[i / 32],
                       .stack_pointer = nullptr,
                       .stack = nullptr,
                       .fake_stack = nullptr,
                       .where = nullptr,
                       .meeting = nullptr,
                       .vote = 0,
                       .voters = 0,
                       .pending = nullptr};
    if (++thread.x == dim.x) {
      thread.x = 0;
      if (++thread.y == dim.y) {
        thread.y = 0;
        ++thread.z;
      }
    }
  }
  if (block.shared == nullptr || block.shared_stored < shape.shared) {
    std::free(block.shared);
    block.shared_stored = (shape.shared + 1023) / 1024 * 1024;
    block.shared = static_cast<unsigned char*>(std::aligned_alloc(1024, block.shared_stored + kSharedGuard));
  }
  std::memset(block.shared, kPoison, shape.shared);
  std::memset(block.shared + shape.shared, kGuard, kSharedGuard);
}

void finish(Block& block) {
  const unsigned char* guard = block.shared + scheduler.shape->shared;
  for (size_t i = 0; i < kSharedGuard; ++i) {
    if (guard[i] != kGuard)
      fail("shared memory was written %zu bytes behind the %zu of the block", i, scheduler.shape->shared);
  }
}

// Runs a warp until all its lanes wait. Lanes take turns upwards and downwards.
void run_warp(Block& block, int w) {
  Warp& warp = block.warp[w];
  Fiber* fibers = block.fibers + 32 * w;
  while (warp.ready != 0) {
    unsigned batch = warp.ready;
    warp.ready = 0;
    const bool descending = scheduler.descending;
    scheduler.descending = !descending;
    while (batch != 0) {
      const int lane = descending ? 31 - std::countl_zero(batch) : std::countr_zero(batch);
      batch &= ~(1u << lane);
      Fiber& fiber = fibers[lane];
      resume(fiber);
      if ((warp.alive >> lane & 1) == 0) {
        scheduler.stacks.push_back(fiber.stack);
#if !defined(__x86_64__)
        delete static_cast<ucontext_t*>(fiber.stack_pointer);
#endif
      }
    }
  }
}

[[noreturn]] void report_deadlock(const char* what) {
  struct Count {
    const char* where;
    int n;
  };
  std::vector<Count> counts;
  const Fiber* one = nullptr;
  int returned = 0;
  for (int b = 0; b < scheduler.together; ++b) {
    Block& block = *scheduler.blocks[b];
    returned += block.threads - block.alive;
    for (int i = 0; i < block.threads; ++i) {
      const Fiber& fiber = block.fibers[i];
      if ((fiber.warp->alive & bit(fiber)) == 0) continue;
      if (one == nullptr) one = &fiber;
      const char* where = fiber.where == nullptr ? "nowhere" : fiber.where;
      bool found = false;
      for (Count& count : counts) {
        if (std::strcmp(count.where, where) == 0) {
          ++count.n;
          found = true;
        }
      }
      if (!found) counts.push_back({where, 1});
    }
  }
  char text[512];
  size_t used = 0;
  for (const Count& count : counts) {
    if (used < sizeof(text) - 64)
      used +=
          std::snprintf(text + used, sizeof(text) - used, "%s%d in %s", used == 0 ? "" : ", ", count.n, count.where);
  }
  current = const_cast<Fiber*>(one);
  fail("%s: of the threads that run together %s; %d have returned", what, text, returned);
}

// All blocks [0, together) of the scheduler, to their end.
void run_together() {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPatience = std::chrono::seconds(20);
  unsigned long seen = scheduler.progress, idle = 0;
  Clock::time_point since;
  bool down = (scheduler.launches & 1) != 0;
  for (;; down = !down) {
    bool alive = false;
    for (int i = 0; i < scheduler.together; ++i) {
      Block& block = *scheduler.blocks[down ? scheduler.together - 1 - i : i];
      for (int w = 0; w < block.warps; ++w) run_warp(block, down ? block.warps - 1 - w : w);
      alive = alive || block.alive > 0;
    }
    const bool landed = !scheduler.later.empty();
    if (landed) {
      auto work = std::move(scheduler.later);
      scheduler.later.clear();
      for (auto& w : work) w();
    }
    if (!alive) break;
    bool ready = false;
    for (int i = 0; i < scheduler.together; ++i) {
      Block& block = *scheduler.blocks[i];
      for (int w = 0; w < block.warps; ++w) {
        block.warp[w].ready |= block.warp[w].yielded;
        block.warp[w].yielded = 0;
        ready = ready || block.warp[w].ready != 0;
      }
    }
    if (!ready && !landed) report_deadlock("deadlock");
    if (scheduler.progress != seen || landed) {
      seen = scheduler.progress;
      idle = 0;
    } else if (++idle == 1000) {
      since = Clock::now();
    } else if (idle > 1000 && idle % 1000 == 0 && Clock::now() - since > kPatience) {
      report_deadlock("no progress for 20 seconds");
    }
  }
  for (int i = 0; i < scheduler.together; ++i) {
    current = scheduler.blocks[i]->fibers;
    finish(*scheduler.blocks[i]);
  }
  current = nullptr;
  place = nullptr;
}

Asynchronous::Line& line(Queue queue) {
  if (current->pending == nullptr) current->pending = new Asynchronous;
  return current->pending->lines[static_cast<int>(queue)];
}

// The blocks of a cluster are neighbours in the grid: the index of its block `rank`.
uint64_t block_index(const Shape& shape, uint64_t cluster, unsigned rank) {
  const dim3 grid = shape.grid, size = shape.cluster;
  const uint64_t across = grid.x / size.x, down = grid.y / size.y;
  const uint64_t x = cluster % across * size.x + rank % size.x;
  const uint64_t y = cluster / across % down * size.y + rank / size.x % size.y;
  const uint64_t z = cluster / across / down * size.z + rank / size.x / size.y;
  return x + grid.x * (y + grid.y * z);
}

}  // namespace

void fail(const char* format, ...) {
  char text[768];
  va_list list;
  va_start(list, format);
  std::vsnprintf(text, sizeof(text), format, list);
  va_end(list);
  if (scheduler.shape != nullptr && current != nullptr) {
    const uint3 b = current->block->block_index, t = current->thread;
    std::fprintf(stderr, "deltarule shim: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): %s\n",
                 symbol_name(scheduler.function).c_str(), b.x, b.y, b.z, t.x, t.y, t.z, text);
  } else {
    std::fprintf(stderr, "deltarule shim: %s\n", text);
  }
  std::fflush(stderr);
  std::abort();
}

void relax() {
  current->warp->yielded |= bit(*current);
  wait_at("a loop that relaxes");
}

void barrier_sync(int id, int threads) {
  static const char* const names[kBarriers] = {
      "__syncthreads", "barrier 1", "barrier 2",  "barrier 3",  "barrier 4",  "barrier 5",  "barrier 6",  "barrier 7",
      "barrier 8",     "barrier 9", "barrier 10", "barrier 11", "barrier 12", "barrier 13", "barrier 14", "barrier 15"};
  Barrier& barrier = barrier_of(id, threads);
  Block& block = *current->block;
  ++barrier.arrived;
  if (is_full(block, barrier)) return complete(block, barrier);
  barrier.waiting[current->warp - block.warp] |= bit(*current);
  wait_at(names[id]);
}

void barrier_arrive(int id, int threads) {
  if (threads == 0) fail("barrier_arrive needs the number of threads");
  Barrier& barrier = barrier_of(id, threads);
  ++barrier.arrived;
  if (is_full(*current->block, barrier)) complete(*current->block, barrier);
}

int barrier_vote(Vote vote, bool predicate) {
  Block& block = *current->block;
  Barrier& barrier = barrier_of(0, 0);
  ++barrier.voters;
  ++barrier.arrived;
  barrier.predicates += predicate;
  if (is_full(block, barrier)) {
    complete(block, barrier);
  } else {
    barrier.waiting[current->warp - block.warp] |= bit(*current);
    wait_at("a vote of the block");
  }
  if (vote == Vote::any) return current->vote > 0;
  return vote == Vote::all ? current->vote == current->voters : current->vote;
}

const void* warp_exchange(unsigned mask, const char* kind, const void* mine, size_t size) {
  Warp& warp = *current->warp;
  mask &= warp.exists;
  if ((mask & bit(*current)) == 0) fail("%s: the mask %08x lacks the lane that calls", kind, mask);
  if ((mask & ~warp.alive) != 0)
    fail("%s: the mask %08x holds lanes that have returned (%08x)", kind, mask, mask & ~warp.alive);
  return meet(warp.open, &warp, 1, &mask, current->lane, kind, mine, size);
}

const void* group_exchange(const char* kind, const void* mine, size_t size) {
  Block& block = *current->block;
  const int warp = static_cast<int>(current->warp - block.warp), group = warp / 4;
  if (4 * group + 4 > block.warps) fail("%s: a warpgroup has 128 threads, this one is not complete", kind);
  unsigned mask[4];
  for (int w = 0; w < 4; ++w) {
    mask[w] = block.warp[4 * group + w].exists;
    if (mask[w] != ~0u || block.warp[4 * group + w].alive != ~0u)
      fail("%s: a warpgroup has 128 threads, some do not exist or have returned", kind);
  }
  return meet(block.open[group], &block.warp[4 * group], 4, mask, 32 * (warp % 4) + current->lane, kind, mine, size);
}

unsigned active_mask() { return current->warp->alive; }
unsigned existing_mask() { return current->warp->exists; }
unsigned lane_id() { return static_cast<unsigned>(current->lane); }
unsigned warp_id() { return static_cast<unsigned>(current->warp - current->block->warp); }

unsigned char* shared_base() { return current->block->shared; }
size_t shared_size() { return scheduler.shape->shared; }

unsigned char* shared_of(unsigned rank) {
  if (rank >= cluster_size()) fail("block %u of a cluster of %u", rank, cluster_size());
  return scheduler.blocks[current->block->first + rank]->shared;
}

uint32_t shared_address(const void* pointer) {
  const unsigned char* p = static_cast<const unsigned char*>(pointer);
  for (unsigned rank = 0; rank < cluster_size(); ++rank) {
    const unsigned char* base = shared_of(rank);
    if (p < base || p > base + shared_size()) continue;
    return static_cast<uint32_t>(p - base) | (rank == current->block->rank ? 0 : (rank + 1) << 24);
  }
  fail("%p is not in shared memory", pointer);
}

unsigned char* shared_pointer(uint32_t address) {
  const uint32_t rank = address >> 24, offset = address & 0xFFFFFF;
  if (offset > shared_size()) fail("shared address %u is beyond the %zu bytes of the block", offset, shared_size());
  return (rank == 0 ? shared_base() : shared_of(rank - 1)) + offset;
}

uint32_t map_shared(uint32_t address, unsigned rank) {
  if (rank >= cluster_size()) fail("block %u of a cluster of %u", rank, cluster_size());
  return (address & 0xFFFFFF) | (rank + 1) << 24;
}

unsigned cluster_rank() { return current->block->rank; }
unsigned cluster_size() {
  const dim3 size = scheduler.shape->cluster;
  return size.x * size.y * size.z;
}

void cluster_arrive() {
  ClusterBarrier& barrier = scheduler.clusters[current->block->first];
  const Shape& shape = *scheduler.shape;
  const int all = static_cast<int>(cluster_size() * shape.block.x * shape.block.y * shape.block.z);
  current->vote = static_cast<int>(barrier.generation);
  if (++barrier.arrived == all) {
    barrier.arrived = 0;
    ++barrier.generation;
    ++scheduler.progress;
  }
}

void cluster_wait() {
  const ClusterBarrier& barrier = scheduler.clusters[current->block->first];
  while (static_cast<int>(barrier.generation) == current->vote) {
    current->warp->yielded |= bit(*current);
    wait_at("the barrier of the cluster");
  }
}

void later(std::function<void()> work) { scheduler.later.push_back(std::move(work)); }

void add(Queue queue, std::function<void()> work) { line(queue).open.push_back(std::move(work)); }

void commit(Queue queue) {
  auto& l = line(queue);
  l.committed.push_back(std::move(l.open));
  l.open.clear();
}

void wait(Queue queue, int newest_left) {
  auto& l = line(queue);
  while (l.committed.size() > static_cast<size_t>(newest_left)) {
    auto group = std::move(l.committed.front());
    l.committed.pop_front();
    for (auto& work : group) work();
  }
}

void complete(Queue queue) {
  wait(queue, 0);
  auto work = std::move(line(queue).open);
  line(queue).open.clear();
  for (auto& w : work) w();
}

void execute(const Shape& shape, const void* function, const std::function<void()>& body) {
  scheduler.shape = &shape;
  scheduler.function = function;
  scheduler.body = &body;
  const uint64_t blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  const unsigned cluster = shape.cluster.x * shape.cluster.y * shape.cluster.z;
  const uint64_t step = shape.cooperative ? blocks : cluster, steps = blocks / step;
  while (scheduler.blocks.size() < step) scheduler.blocks.push_back(std::make_unique<Block>());
  scheduler.together = static_cast<int>(step);
  // Nothing may depend on the order of blocks, nor on which lane comes first: both turn from launch to launch.
  const bool down = (++scheduler.launches & 1) == 0;
  for (uint64_t s = 0; s < steps; ++s) {
    const uint64_t group = down ? steps - 1 - s : s;
    scheduler.clusters.assign(step, {});
    scheduler.descending = ((scheduler.launches ^ group) & 1) == 0;
    for (unsigned i = 0; i < step; ++i) {
      const uint64_t index = shape.cooperative ? i : block_index(shape, group, i);
      prepare(*scheduler.blocks[i], index, shape.cooperative ? 0 : i, shape.cooperative ? i : 0);
    }
    run_together();
  }
  scheduler.shape = nullptr;
}

}  // namespace shim
