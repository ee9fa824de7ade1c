// The emulated GPU's execution: fibers and their schedule. exchange.cpp lets them meet, queue.cpp brings the work.
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "scheduler.h"
#include "symbols.h"

#if defined(__x86_64__) && !defined(DELTARULE_SHIM_UCONTEXT)
#define SHIM_ASSEMBLY 1
#else
#define SHIM_ASSEMBLY 0
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// --- Context switch ---

#if SHIM_ASSEMBLY
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

Fiber* current = nullptr;
Place* place = nullptr;
Scheduler scheduler;

namespace {

constexpr size_t kStack = 128 * 1024, kPage = 4096;
constexpr size_t kSharedGuard = 1024;
constexpr unsigned char kGuard = 0xA5;

thread_local bool executing = false;

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

// Leaves the running context, to be continued from `save` (null: never), and starts or continues `fiber`, or the
// scheduler if there is none.
void transfer(void** save, [[maybe_unused]] void** fake_stack, Fiber* fiber) {
  void* to = scheduler.stack_pointer;
  if (fiber != nullptr) {
    current = fiber;
    if (fiber->stack == nullptr) fiber->stack = new_stack();
    to = fiber->stack_pointer;
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, fiber != nullptr ? stack_bottom(fiber->stack) : scheduler.host_stack,
                                 fiber != nullptr ? kStack : scheduler.host_stack_size);
#endif
#if SHIM_ASSEMBLY
  if (to == nullptr) {
    void** top = reinterpret_cast<void**>(stack_bottom(fiber->stack) + kStack);
    top[-1] = nullptr;  // the entry has no caller
    top[-2] = reinterpret_cast<void*>(&fiber_main);
    to = top - 8;
  }
  void* nowhere;
  deltarule_shim_switch(save == nullptr ? &nowhere : save, to);
#else
  if (to == nullptr) {
    ucontext_t* context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = stack_bottom(fiber->stack);
    context->uc_stack.ss_size = kStack;
    context->uc_link = nullptr;
    makecontext(context, fiber_main, 0);
    to = fiber->stack_pointer = context;
  }
  if (save == nullptr) setcontext(static_cast<ucontext_t*>(to));
  if (*save == nullptr) *save = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(*save), static_cast<ucontext_t*>(to));
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(*fake_stack, nullptr, nullptr);
#endif
}

// Whose turn it is in the running warp, null at the end of the batch.
Fiber* next_of_batch() {
  const unsigned batch = scheduler.batch;
  if (batch == 0) return nullptr;
  const int lane = scheduler.batch_down ? 31 - std::countl_zero(batch) : std::countr_zero(batch);
  scheduler.batch = batch & ~(1u << lane);
  return &scheduler.batch_fibers[lane];
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
  leave_barriers(block);
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  if (scheduler.from_host) {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.host_stack, &scheduler.host_stack_size);
  } else {
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
  }
#endif
  for (;;) {
    (*scheduler.body)();
    leave();
    Fiber* self = current;
    Fiber* next = next_of_batch();
#if !SHIM_ASSEMBLY
    delete static_cast<ucontext_t*>(self->stack_pointer);
#endif
    if (next != nullptr && next->stack == nullptr) {  // a thread that has not begun goes on with this stack
      next->stack = self->stack;
      current = next;
      continue;
    }
    scheduler.stacks.push_back(self->stack);
    scheduler.from_host = false;
    transfer(nullptr, nullptr, next);
  }
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

// Runs a warp until all its lanes wait. Lanes take turns upwards and downwards, one switching to the next.
void run_warp(Block& block, int w) {
  Warp& warp = block.warp[w];
  place = &block;
  scheduler.batch_fibers = block.fibers + 32 * w;
  while (warp.ready != 0) {
    scheduler.batch = warp.ready;
    scheduler.batch_down = scheduler.descending;
    scheduler.descending = !scheduler.descending;
    warp.ready = 0;
    scheduler.from_host = true;
    transfer(&scheduler.stack_pointer, &scheduler.fake_stack, next_of_batch());
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

// Threads that spin without any progress elsewhere for so long are taken for a deadlock.
double seconds_of_patience() {
  const char* text = std::getenv("DELTARULE_EMULATED_PATIENCE");
  return text == nullptr ? 20.0 : std::atof(text);
}

// All blocks [0, together) of the scheduler, to their end.
void run_together() {
  using Clock = std::chrono::steady_clock;
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
    } else if (idle > 1000 && idle % 1000 == 0 &&
               Clock::now() - since > std::chrono::duration<double>(seconds_of_patience())) {
      report_deadlock("no progress for a long time");
    }
  }
  for (int i = 0; i < scheduler.together; ++i) {
    current = scheduler.blocks[i]->fibers;
    finish(*scheduler.blocks[i]);
  }
  current = nullptr;
  place = nullptr;
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

void wait_at(const char* where) {
  Fiber* self = current;
  self->where = where;
  scheduler.from_host = false;
  transfer(&self->stack_pointer, &self->fake_stack, next_of_batch());
  self->where = nullptr;
}

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

void relax(const char* where) {
  current->warp->yielded |= bit(*current);
  wait_at(where);
}

void note_progress() { ++scheduler.progress; }

namespace {

// Says which kernel touched memory it may not; then the fault takes its way.
void on_fault(int signal, siginfo_t* info, void*) {
  sigaction(signal, &scheduler.fault_before, nullptr);
  if (!executing || current == nullptr) return;
  const uint3 b = current->block->block_index, t = current->thread;
  std::fprintf(stderr, "deltarule shim: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): fault at address %p\n",
               symbol_name(scheduler.function).c_str(), b.x, b.y, b.z, t.x, t.y, t.z, info->si_addr);
}

}  // namespace

void execute(const Shape& shape, const void* function, const std::function<void()>& body) {
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &scheduler.fault_before);
  executing = true;
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
  executing = false;
  sigaction(SIGSEGV, &scheduler.fault_before, nullptr);
}

}  // namespace shim
