// The one thread pool of the library: persistent workers that spin briefly, then sleep.
//
// parallel_for(tasks, task, context) calls task(context, i) once for each i in [0, tasks), on the calling thread and
// the workers, and returns when all are done. Which thread runs which task is not fixed, so a kernel's result must not
// depend on it: split a sum by the problem's shape alone, never by the number of threads.
//
// Nested calls (from inside a task) run serially. Calls from several Python threads at once take turns: one gets the
// workers, the others run their tasks on their own thread. The pool is rebuilt in a forked child.
#pragma once

#include <cstdint>

namespace deltarule {

void parallel_for(int64_t tasks, void (*task)(void* context, int64_t index), void* context) noexcept;

int num_threads();                  // threads used, the caller's included; throws if DELTARULE_NUM_THREADS is wrong
void set_num_threads(int threads);  // >= 1; throws ValueError otherwise
int available_cores() noexcept;     // what affinity mask and cgroup quota leave to this process

}  // namespace deltarule
