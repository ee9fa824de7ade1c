// run: a kernel on the selected GPU's stream; what goes wrong is remembered with the kernel's name and place.
#pragma once

#include <utility>

#include "cuda/context.h"
#include "cuda/launch.cuh"

namespace deltarule::cuda {

struct Place {
  const char* kernel;
  const char* file;
  int line;
};
#define DELTARULE_HERE(kernel) \
  ::deltarule::cuda::Place { kernel, __FILE__, __LINE__ }

inline void report(cudaError_t status, const Place& place) noexcept {
  report(status, place.kernel, place.file, place.line);
}

// run(DELTARULE_HERE("add"), blocks, threads, shared_bytes, add<float>, x, y, n);
template <class... Parameters, class... Arguments>
void run(const Place& place, dim3 grid, dim3 block, size_t shared, void (*kernel)(Parameters...),
         Arguments&&... arguments) noexcept {
  report(launch(here().stream, grid, block, shared, kernel, std::forward<Arguments>(arguments)...), place);
}

template <class T> constexpr T ceil_div(T a, T b) { return (a + b - 1) / b; }

}  // namespace deltarule::cuda
