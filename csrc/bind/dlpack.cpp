// DLPack both ways: Array.__dlpack__ and from_dlpack, versioned capsules where the other side takes them.
//
// A capsule owns the tensor until a consumer renames it to "used_...": then the consumer calls the deleter.
#include "bind/dlpack.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "bind/convert.h"
#include "engine/ops.h"

namespace deltarule {
namespace {

using dlpack::Managed;
using dlpack::ManagedVersioned;
using dlpack::Tensor;

template <class M> constexpr const char* kName = "dltensor";
template <> constexpr const char* kName<ManagedVersioned> = "dltensor_versioned";
template <class M> constexpr const char* kUsedName = "used_dltensor";
template <> constexpr const char* kUsedName<ManagedVersioned> = "used_dltensor_versioned";

constexpr dlpack::DataType kTypes[] = {
    // order of enum DType
    {dlpack::kFloat, 32, 1}, {dlpack::kFloat, 64, 1}, {dlpack::kInt, 32, 1},
    {dlpack::kInt, 64, 1},   {dlpack::kUInt, 8, 1},   {dlpack::kBool, 8, 1},
};

// What an exported tensor points to.
template <class M> struct Exported {
  M managed;
  Array array;  // keeps the memory
  Shape shape, strides;
  intptr_t stream;  // on which the consumer was to use it
};

// The memory's next use comes after the consumer's last.
template <class M> void delete_exported(M* managed) {
  auto* const exported = static_cast<Exported<M>*>(managed->context);
  Device& device = exported->array.device();
  if (!device.host_accessible) {
    try {
      device.take_over(device, exported->stream);
    } catch (const DeviceError& error) {  // there is nobody to throw it to; the device says it on its next use
      std::fprintf(stderr, "deltarule: %s\n", error.what());
    }
  }
  delete exported;
}

std::pair<int, int> place_of(const Array& array) {
  const Device& device = array.device();
  return device.host_accessible ? std::pair<int, int>(dlpack::kCPU, 0)
                                : std::pair<int, int>(dlpack::kCUDA, device.index);
}

template <class M> void delete_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kName<M>)) return;  // consumed
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, kName<M>));
  if (managed->deleter != nullptr) managed->deleter(managed);
}

template <class M> py::object export_as(const Array& array, uint64_t flags, intptr_t stream) {
  auto exported = std::make_unique<Exported<M>>(Exported<M>{{}, array, array.shape(), array.strides(), stream});
  const auto [kind, index] = place_of(array);
  M& managed = exported->managed;
  managed.tensor = {array.data(),
                    {kind, index},
                    array.rank(),
                    kTypes[static_cast<int>(array.dtype())],
                    &exported->shape[0],
                    &exported->strides[0],
                    0};
  managed.context = exported.get();
  managed.deleter = delete_exported<M>;
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    managed.version = {1, 1};
    managed.flags = flags;
  }
  PyObject* const capsule = PyCapsule_New(&managed, kName<M>, delete_capsule<M>);
  if (capsule == nullptr) throw py::error_already_set();
  exported.release();
  return py::reinterpret_steal<py::object>(capsule);
}

py::object to_dlpack(const Array& array, const py::object& stream, std::optional<std::pair<int, int>> max_version,
                     std::optional<std::pair<int, int>> dl_device, std::optional<bool> copy) {
  Device& device = array.device();
  const auto place = place_of(array);
  if (device.host_accessible && !stream.is_none())
    throw py::buffer_error("__dlpack__: stream must be None for an Array on the CPU");
  if (dl_device && *dl_device != place)
    throw py::buffer_error(message("__dlpack__: dl_device is (", dl_device->first, ", ", dl_device->second,
                                   "), the Array is on (", place.first, ", ", place.second, "); copy it there first"));
  // PyTorch ends the process at a negative stride, and does not say who it is.
  bool backwards = false;
  for (int axis = 0; axis < array.rank(); ++axis) backwards = backwards || array.strides()[axis] < 0;
  if (backwards && copy == false)
    throw py::buffer_error(
        "__dlpack__: copy is False, but the Array runs backwards through its memory, which DLPack's consumers may not "
        "take; copy it first");
  const bool copied = copy.value_or(backwards);
  const intptr_t number = stream.is_none() ? 1 : py::cast<intptr_t>(stream);
  if (!device.host_accessible && number == 0)
    throw py::buffer_error("__dlpack__: stream is 0, which does not say which default stream is meant; wanted 1 or 2");
  const Array source = [&] {
    py::gil_scoped_release no_gil;
    return astype(array, array.dtype(), copied);
  }();
  const bool ordered = !device.host_accessible && number != -1;  // -1: the consumer orders its work itself
  if (ordered) device.hand_over(device, number);
  const intptr_t used_on = number == -1 ? 1 : number;
  if (max_version && max_version->first >= 1)
    return export_as<ManagedVersioned>(
        source, (source.writable() ? 0 : dlpack::kReadOnly) | (copied ? dlpack::kIsCopied : 0), used_on);
  if (!source.writable())
    throw py::buffer_error(
        "__dlpack__: the Array is read-only, which DLPack before version 1 cannot say; ask for max_version=(1, 0) or "
        "copy=True");
  return export_as<Managed>(source, 0, used_on);
}

DType dtype_of(const dlpack::DataType& type) {
  for (int i = 0; i < static_cast<int>(std::size(kTypes)); ++i)
    if (type.code == kTypes[i].code && type.bits == kTypes[i].bits && type.lanes == 1) return static_cast<DType>(i);
  throw py::buffer_error(message("from_dlpack: dtype has code ", int{type.code}, ", ", int{type.bits}, " bits and ",
                                 type.lanes, " lanes; an Array has float32, float64, int32, int64, uint8 or bool"));
}

// Until nothing that was queued uses the device's memory any more.
void wait_for(Device& device) noexcept {
  if (device.host_accessible) return;
  try {
    device.synchronize(device);
  } catch (const DeviceError& error) {
    std::fprintf(stderr, "deltarule: %s\n", error.what());
  }
}

// Takes the tensor over: from here on our deleter calls the producer's.
template <class M> Array import_as(const py::object& capsule) {
  auto* const managed = static_cast<M*>(PyCapsule_GetPointer(capsule.ptr(), kName<M>));
  bool writable = false;  // an old capsule does not say, so nothing is written to its memory
  if constexpr (std::is_same_v<M, ManagedVersioned>) {
    if (managed->version.major != 1)
      throw py::buffer_error(message("from_dlpack: DLPack version is ", managed->version.major, ".",
                                     managed->version.minor, "; version 1 is supported"));
    writable = (managed->flags & dlpack::kReadOnly) == 0;
  }
  const Tensor& tensor = managed->tensor;
  const bool cuda = tensor.device.type == dlpack::kCUDA;
  if (tensor.device.type != dlpack::kCPU && !cuda)
    throw py::buffer_error(
        message("from_dlpack: device type is ", tensor.device.type, "; 1, the CPU, and 2, CUDA, are supported"));
  Device& device = cuda ? find_device(message("cuda:", tensor.device.id)) : cpu_device();
  if (tensor.rank > kMaxRank)
    throw py::buffer_error(message("from_dlpack: ", tensor.rank, " dimensions; at most ", kMaxRank, " are supported"));
  const DType dtype = dtype_of(tensor.dtype);
  Shape shape;
  for (int axis = 0; axis < tensor.rank; ++axis) shape.push_back(tensor.shape[axis]);
  Shape strides = contiguous_strides(shape);
  for (int axis = 0; tensor.strides != nullptr && axis < tensor.rank; ++axis) strides[axis] = tensor.strides[axis];
  char* const data = static_cast<char*>(tensor.data) + tensor.byte_offset;

  if (PyCapsule_SetName(capsule.ptr(), kUsedName<M>) != 0) throw py::error_already_set();
  std::shared_ptr<void> owner(managed, [device = &device](void* held) {
    auto* const taken = static_cast<M*>(held);
    if (taken->deleter == nullptr || !Py_IsInitialized()) return;
    wait_for(*device);                                   // the producer may use the memory again at once
    const PyGILState_STATE state = PyGILState_Ensure();  // the producer's deleter may touch Python objects
    taken->deleter(taken);
    PyGILState_Release(state);
  });
  return Array::wrap(data, shape, strides, dtype, device, std::move(owner), writable);
}

Array from_capsule(const py::object& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), kName<ManagedVersioned>)) return import_as<ManagedVersioned>(capsule);
  if (PyCapsule_IsValid(capsule.ptr(), kName<Managed>)) return import_as<Managed>(capsule);
  throw py::buffer_error("from_dlpack: __dlpack__ returned no capsule, or one that was used already");
}

// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3
py::dict cuda_interface(const Array& array) {
  Device& device = array.device();
  if (device.host_accessible) throw py::attribute_error("__cuda_array_interface__: the Array is on the CPU");
  py::dict interface;
  interface["shape"] = to_tuple(array.shape());
  interface["typestr"] = numpy_dtype(array.dtype()).attr("str");
  interface["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(array.data()), !array.writable());
  if (array.is_contiguous()) interface["strides"] = py::none();
  else interface["strides"] = to_tuple(byte_strides(array));
  interface["version"] = 3;
  interface["stream"] = device.address(device);
  return interface;
}

Array from_cuda_interface(const py::dict& interface, const py::object& owner) {
  if (interface.contains("mask") && !interface["mask"].is_none())
    throw TypeError("asarray: the array has a mask, which an Array cannot have");
  const DType dtype = array_dtype(py::dtype::from_args(interface["typestr"]));
  const Shape shape = to_shape(interface["shape"]);
  Shape strides = contiguous_strides(shape);
  if (interface.contains("strides") && !interface["strides"].is_none()) {
    strides = to_shape(interface["strides"]);
    for (int axis = 0; axis < strides.rank(); ++axis) {
      check<ValueError>(strides[axis] % size_of(dtype) == 0, "asarray: strides are ", strides,
                        " bytes; wanted multiples of ", size_of(dtype));
      strides[axis] /= size_of(dtype);
    }
  }
  const auto data = py::cast<py::tuple>(interface["data"]);
  void* const memory = reinterpret_cast<void*>(py::cast<uintptr_t>(data[0]));
  if (shape.size() == 0) return Array::empty(shape, dtype, find_device("cuda:0"));
  Device& device = device_of(memory);
  if (interface.contains("stream") && !interface["stream"].is_none())
    device.take_over(device, py::cast<intptr_t>(interface["stream"]));
  const std::shared_ptr<void> kept = hold(owner);
  std::shared_ptr<void> guard(memory, [kept, device = &device](void*) { wait_for(*device); });
  return Array::wrap(memory, shape, strides, dtype, device, std::move(guard), !py::cast<bool>(data[1]));
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("from_dlpack_capsule", &from_capsule, py::arg("capsule"));
  py::class_<Array> array = m.attr("Array");
  array.def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
            py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none());
  array.def("__dlpack_device__", &place_of);
  array.def_property_readonly("__cuda_array_interface__", &cuda_interface);
  m.def("from_cuda_interface", &from_cuda_interface, py::arg("interface"), py::arg("owner"));
  m.def(
      "stream_address",
      [](const std::string& name) {
        Device& device = find_device(name);
        return device.address(device);
      },
      py::arg("name"));
}

}  // namespace deltarule
