#include "base/parallel.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace deltarule {
namespace {

// A worker that found nothing to do spins this long before it sleeps: the gap between two kernels of one training step
// is below 10 us, waking a sleeping thread costs 5 to 50 us.
constexpr int kSpins = 20000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// One job at a time. `epoch` counts jobs; workers compare it with the last one they saw. `gate` counts the workers
// inside the job and has a bit that says closed: a worker enters only an open job, and the caller closes it when no
// task is left and waits for those inside alone. So a worker that sleeps or was not scheduled holds nobody up, and the
// job's fields are never rewritten under one.
class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int workers() const { return static_cast<int>(threads_.size()); }

  void run(int64_t tasks, void (*task)(void*, int64_t), void* context) {
    task_ = task;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    gate_.fetch_and(~kClosed, std::memory_order_release);
    {
      std::lock_guard lock(mutex_);  // pairs with the check before sleeping: no wake-up is lost
      epoch_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    drain();
    gate_.fetch_or(kClosed, std::memory_order_acq_rel);
    for (int spin = 0; gate_.load(std::memory_order_acquire) != kClosed; ++spin) {
      if (spin < kSpins) relax();
      else std::this_thread::yield();
    }
  }

 private:
  static constexpr uint32_t kClosed = 1u << 31;

  void drain() {
    for (;;) {
      const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= tasks_) return;
      task_(context_, index);
    }
  }

  void work();

  std::vector<std::thread> threads_;
  void (*task_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint64_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> gate_{kClosed};
  std::atomic<int> sleeping_{0};
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
};

thread_local bool inside_task = false;

void Pool::work() {
  inside_task = true;
  uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins && epoch_.load(std::memory_order_acquire) == seen; ++spin) relax();
    if (epoch_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1, std::memory_order_acq_rel);
      wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
      sleeping_.fetch_sub(1, std::memory_order_acq_rel);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_) return;
    if ((gate_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0) drain();
    gate_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

// CPU time per period that a cgroup grants, in cores, rounded up; 0 where there is no limit.
int quota_cores() {
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {  // cgroup v2
    double quota = 0, period = 0;
    const int fields = std::fscanf(file, "%lf %lf", &quota, &period);  // "max 100000" reads no number
    std::fclose(file);
    if (fields == 2 && quota > 0 && period > 0) return std::max(1, static_cast<int>(std::ceil(quota / period)));
    return 0;
  }
  const auto number = [](const char* path) {  // cgroup v1; -1 means no limit
    double value = 0;
    if (std::FILE* file = std::fopen(path, "r")) {
      if (std::fscanf(file, "%lf", &value) != 1) value = 0;
      std::fclose(file);
    }
    return value;
  };
  const double quota = number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const double period = number("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

int initial_threads() {
  if (const char* text = std::getenv("DELTARULE_NUM_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long threads = std::strtol(text, &end, 10);
    check<ValueError>(*end == '\0' && threads >= 1 && threads <= 4096, "DELTARULE_NUM_THREADS is '", text,
                      "'; a whole number from 1 to 4096 is wanted");
    return static_cast<int>(threads);
  }
  return available_cores();
}

// The pool and who may use it. Never destroyed: workers may outlive static destructors.
struct State {
  std::mutex mutex;  // held by the thread that runs a job
  Pool* pool = nullptr;
  int threads = initial_threads();
};

State*& state() {
  static State* instance = [] {
    // A forked child has this memory but none of the workers: it starts afresh and leaves the old pool alone.
    pthread_atfork(nullptr, nullptr, [] {
      State* fresh = new State;
      fresh->threads = state()->threads;
      state() = fresh;
      inside_task = false;
    });
    return new State;
  }();
  return instance;
}

}  // namespace

int available_cores() noexcept {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
#endif
  const int quota = quota_cores();
  if (quota > 0) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

int num_threads() { return state()->threads; }

void set_num_threads(int threads) {
  check<ValueError>(threads >= 1 && threads <= 4096, "set_num_threads: n is ", threads,
                    "; a whole number from 1 to 4096 is wanted");
  State& s = *state();
  std::lock_guard lock(s.mutex);
  s.threads = threads;
}

void parallel_for(int64_t tasks, void (*task)(void* context, int64_t index), void* context) noexcept {
  const auto serial = [&] {
    for (int64_t index = 0; index < tasks; ++index) task(context, index);
  };
  if (tasks <= 1 || inside_task) return serial();
  State& s = *state();
  if (s.threads <= 1 || !s.mutex.try_lock()) return serial();
  if (s.pool == nullptr || s.pool->workers() != s.threads - 1) {
    delete s.pool;
    s.pool = new Pool(s.threads - 1);
  }
  inside_task = true;
  s.pool->run(tasks, task, context);
  inside_task = false;
  s.mutex.unlock();
}

}  // namespace deltarule
