// What the threads of a kernel do together: barriers, exchanges, clusters, asynchronous work.
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "scheduler.h"

namespace shim {
namespace {

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
  if (bytes > 0) std::memset(meeting->data, kPoison, bytes);  // what lanes outside of the mask give
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

Asynchronous::Line& line(Queue queue) {
  if (current->pending == nullptr) current->pending = new Asynchronous;
  return current->pending->lines[static_cast<int>(queue)];
}

}  // namespace

void release(Fiber& fiber) {
  Meeting* meeting = fiber.meeting;
  if (meeting == nullptr) return;
  fiber.meeting = nullptr;
  if (--meeting->readers == 0) scheduler.meetings.push_back(meeting);
}

void leave_barriers(Block& block) {
  for (Barrier& barrier : block.barriers) {
    if (barrier.arrived > 0 && barrier.expected == 0 && is_full(block, barrier)) complete(block, barrier);
  }
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
    relax("the barrier of the cluster");
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

}  // namespace shim
