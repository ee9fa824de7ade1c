// _core.cuda: the GPUs and their memory, for deltarule.cuda; and recordings, for tests.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "base/check.h"
#include "cuda/devices.h"
#include "device.h"

namespace py = pybind11;

namespace deltarule {

#if defined(DELTARULE_CUDA_EMULATED)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

#if !defined(DELTARULE_CUDA)
// Never called: no device of theirs can be found.
namespace cuda {
const std::vector<Device*>& devices() {
  static const std::vector<Device*> none;
  return none;
}
Versions versions() { return {}; }
Properties properties(Device&) { return {}; }
Memory memory(Device&) { return {}; }
void set_memory_limit(Device&, int64_t) {}
void release_cached(Device&) {}
}  // namespace cuda
#endif

namespace {

Device& find_gpu(const char* function, const std::string& name) {
  Device& device = find_device(name);
  check<DeviceError>(!device.host_accessible, function, ": device is '", name, "'; a CUDA device is wanted");
  return device;
}

py::dict properties_of(Device& device) {
  const cuda::Properties found = cuda::properties(device);
  py::dict facts;
  facts["name"] = found.name;
  facts["capability"] = py::make_tuple(found.major, found.minor);
  facts["memory"] = found.memory;
  facts["multiprocessors"] = found.multiprocessors;
  return facts;
}

py::dict memory(const std::string& name) {
  Device& device = find_gpu("memory", name);
  const cuda::Memory now = cuda::memory(device);
  py::dict facts;
  facts["used"] = now.used;
  facts["cached"] = now.cached;
  facts["peak"] = now.peak;
  facts["limit"] = now.limit;
  facts["total"] = now.total;
  facts["free"] = now.free;
  return facts;
}

// pybind11 wants a complete type.
struct Recorded {
  std::shared_ptr<Recording> recording;
};

std::string version_text(int version) {
  return version == 0 ? "none" : message(version / 1000, ".", version % 1000 / 10);
}

}  // namespace

// Of info(): what there is of CUDA, or why nothing.
py::dict cuda_facts() {
  py::dict facts;
  py::list cards;
  for (Device* device : cuda::devices()) cards.append(properties_of(*device));
  facts["available"] = !cuda::devices().empty();
  facts["missing"] = cuda_missing();
  facts["devices"] = cards;
  facts["runtime"] = version_text(cuda::versions().runtime);
  facts["driver"] = version_text(cuda::versions().driver);
  facts["emulated"] = kEmulated;
  return facts;
}

void bind_cuda(py::module_& m) {
  using namespace pybind11::literals;
  py::module_ cuda = m.def_submodule("cuda", "GPUs and their memory (deltarule.cuda).");
  cuda.def("device_count", [] { return cuda::devices().size(); });
  cuda.def("missing", &cuda_missing);
  cuda.def(
      "properties", [](const std::string& device) { return properties_of(find_gpu("properties", device)); },
      "device"_a);
  cuda.def("memory", &memory, "device"_a);
  cuda.def(
      "set_memory_limit",
      [](int64_t bytes, const std::string& device) {
        cuda::set_memory_limit(find_gpu("set_memory_limit", device), bytes);
      },
      "bytes"_a, "device"_a, py::call_guard<py::gil_scoped_release>());
  cuda.def(
      "release_cached", [](const std::string& device) { cuda::release_cached(find_gpu("release_cached", device)); },
      "device"_a, py::call_guard<py::gil_scoped_release>());
  cuda.def(
      "synchronize",
      [](const std::string& name) {
        Device& device = find_gpu("synchronize", name);
        device.synchronize(device);
      },
      "device"_a, py::call_guard<py::gil_scoped_release>());
  cuda.def(
      "stream",
      [](const std::string& name) {
        Device& device = find_gpu("stream", name);
        return device.address(device);
      },
      "device"_a);

  py::class_<Recorded>(cuda, "Recording");
  cuda.def(
      "record",
      [](const std::string& name) {
        Device& device = find_gpu("record", name);
        device.record(device);
      },
      "device"_a, py::call_guard<py::gil_scoped_release>());
  cuda.def(
      "recorded",
      [](const std::string& name) {
        Device& device = find_gpu("recorded", name);
        return Recorded{device.recorded(device)};
      },
      "device"_a);
  cuda.def(
      "run",
      [](const Recorded& recorded, const std::string& name) {
        Device& device = find_gpu("run", name);
        device.run(device, *recorded.recording);
      },
      "recording"_a, "device"_a);
}

}  // namespace deltarule
