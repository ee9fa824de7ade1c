// The scheduler from inside: what shim.cpp and exchange.cpp share.
#pragma once

#include <signal.h>

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "shim.h"

namespace shim {

constexpr unsigned char kPoison = 0xFF;
constexpr int kBarriers = 16;

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
  bool from_host = false;  // the last switch was from the scheduler
  // The lanes of a warp that take turns now, and who is left of them.
  unsigned batch = 0;
  bool batch_down = false;
  Fiber* batch_fibers = nullptr;
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
  struct sigaction fault_before{};
};

[[gnu::visibility("hidden")]] extern Scheduler scheduler;

inline unsigned bit(const Fiber& fiber) { return 1u << fiber.lane; }

void wait_at(const char* where);    // until the lane's ready bit is set
void release(Fiber& fiber);         // gives back the data of its last exchange
void leave_barriers(Block& block);  // after a thread has returned

}  // namespace shim
