// Stage: NumPy arrays as the raw slots' operands (_core.kernels). On the CPU they are what they are; for a device of
// its own memory each is copied there with its alignment, between canaries, and outputs come back after the call.
#pragma once

#include <pybind11/numpy.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "device.h"

namespace deltarule {

class Stage {
 public:
  Stage() : device_(device()) {}

  // The device whose slots are called, the CPU's unless chosen otherwise.
  static Device& device() { return *chosen(); }
  static void choose(const std::string& name) { chosen() = &find_device(name); }

  const void* in(const pybind11::array& x) { return place(x, false); }
  void* out(pybind11::array& x) {
    x.mutable_data();  // throws for a read-only array
    return place(x, true);
  }
  // A number the slot writes.
  template <class T> T* out(T& number) {
    return static_cast<T*>(place(reinterpret_cast<char*>(&number), sizeof number, true));
  }

  template <class Args> void call(void (*Kernels::*slot)(const Args&) noexcept, const Args& args) {
    const pybind11::gil_scoped_release release;
    (device_.kernels().*slot)(args);
    if (!device_.host_accessible) bring_back();
  }

 private:
  static constexpr int64_t kAlign = 256, kGuard = 256;
  static constexpr char kCanary = 77;

  // Bytes [host, host + bytes) of the host, at `guarded` + offset on the device.
  struct Span {
    char* host;
    int64_t bytes;
    bool written;
    std::shared_ptr<void> memory;
    int64_t offset;
  };

  static Device*& chosen() {
    static Device* device = &cpu_device();
    return device;
  }

  void* place(const pybind11::array& x, bool written) {
    char* const data = static_cast<char*>(const_cast<void*>(x.data()));
    if (device_.host_accessible) return data;
    int64_t low = 0, high = x.itemsize();
    for (pybind11::ssize_t axis = 0; axis < x.ndim(); ++axis) {
      if (x.shape(axis) == 0) return place(data, 0, written);
      const int64_t reach = (x.shape(axis) - 1) * x.strides(axis);
      (reach < 0 ? low : high) += reach;
    }
    return static_cast<char*>(place(data + low, high - low, written)) - low;
  }

  void* place(char* host, int64_t bytes, bool written) {
    if (device_.host_accessible) return host;
    for (Span& span : spans_) {  // the same memory twice stays one
      if (host < span.host || host + bytes > span.host + span.bytes) continue;
      span.written |= written;
      return static_cast<char*>(span.memory.get()) + span.offset + (host - span.host);
    }
    const int64_t offset = kGuard + static_cast<int64_t>(reinterpret_cast<uintptr_t>(host) % kAlign);
    std::vector<char> content(static_cast<size_t>(offset + bytes + kGuard), kCanary);
    std::memcpy(content.data() + offset, host, static_cast<size_t>(bytes));
    std::shared_ptr<void> memory(device_.allocate(device_, static_cast<int64_t>(content.size())), device_.release);
    device_.upload(device_, memory.get(), content.data(), static_cast<int64_t>(content.size()));
    spans_.push_back({host, bytes, written, std::move(memory), offset});
    return static_cast<char*>(spans_.back().memory.get()) + offset;
  }

  void bring_back() {
    for (const Span& span : spans_) {
      std::vector<char> content(static_cast<size_t>(span.offset + span.bytes + kGuard));
      device_.download(device_, content.data(), span.memory.get(), static_cast<int64_t>(content.size()));
      for (int64_t i = 0; i < static_cast<int64_t>(content.size()); ++i) {
        const bool inside = i >= span.offset && i < span.offset + span.bytes;
        check<ValueError>(inside || content[static_cast<size_t>(i)] == kCanary, "kernels: byte ", i - span.offset,
                          " of an operand of ", span.bytes, " bytes was written");
      }
      const char* const data = content.data() + span.offset;
      if (span.written) std::memcpy(span.host, data, static_cast<size_t>(span.bytes));
      check<ValueError>(std::memcmp(span.host, data, static_cast<size_t>(span.bytes)) == 0,
                        "kernels: an operand that is only read was written");
    }
  }

  Device& device_;
  std::vector<Span> spans_;
};

}  // namespace deltarule
