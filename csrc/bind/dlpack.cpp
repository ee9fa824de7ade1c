// DLPack both ways: Array.__dlpack__ and from_dlpack, versioned capsules where the other side takes them.
//
// A capsule owns the tensor until a consumer renames it to "used_...": then the consumer calls the deleter.
#include "bind/dlpack.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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
};

template <class M> void delete_exported(M* managed) { delete static_cast<Exported<M>*>(managed->context); }

template <class M> void delete_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kName<M>)) return;  // consumed
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule, kName<M>));
  if (managed->deleter != nullptr) managed->deleter(managed);
}

template <class M> py::object export_as(const Array& array, uint64_t flags) {
  auto exported = std::make_unique<Exported<M>>(Exported<M>{{}, array, array.shape(), array.strides()});
  M& managed = exported->managed;
  managed.tensor = {array.data(),
                    {dlpack::kCPU, 0},
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
  if (!stream.is_none()) throw py::buffer_error("__dlpack__: stream must be None for an Array on the CPU");
  if (dl_device && *dl_device != std::pair<int, int>(dlpack::kCPU, 0))
    throw py::buffer_error(message("__dlpack__: dl_device is (", dl_device->first, ", ", dl_device->second,
                                   "), the Array is on (1, 0); copy it there first"));
  const bool copied = copy.value_or(false);
  const Array source = [&] {
    py::gil_scoped_release no_gil;
    return astype(array, array.dtype(), copied);
  }();
  if (max_version && max_version->first >= 1)
    return export_as<ManagedVersioned>(source,
                                       (source.writable() ? 0 : dlpack::kReadOnly) | (copied ? dlpack::kIsCopied : 0));
  if (!source.writable())
    throw py::buffer_error(
        "__dlpack__: the Array is read-only, which DLPack before version 1 cannot say; ask for max_version=(1, 0) or "
        "copy=True");
  return export_as<Managed>(source, 0);
}

DType dtype_of(const dlpack::DataType& type) {
  for (int i = 0; i < static_cast<int>(std::size(kTypes)); ++i)
    if (type.code == kTypes[i].code && type.bits == kTypes[i].bits && type.lanes == 1) return static_cast<DType>(i);
  throw py::buffer_error(message("from_dlpack: dtype has code ", int{type.code}, ", ", int{type.bits}, " bits and ",
                                 type.lanes, " lanes; an Array has float32, float64, int32, int64, uint8 or bool"));
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
  if (tensor.device.type != dlpack::kCPU)
    throw py::buffer_error(message("from_dlpack: device type is ", tensor.device.type, "; 1, the CPU, is supported"));
  if (tensor.rank > kMaxRank)
    throw py::buffer_error(message("from_dlpack: ", tensor.rank, " dimensions; at most ", kMaxRank, " are supported"));
  const DType dtype = dtype_of(tensor.dtype);
  Shape shape;
  for (int axis = 0; axis < tensor.rank; ++axis) shape.push_back(tensor.shape[axis]);
  Shape strides = contiguous_strides(shape);
  for (int axis = 0; tensor.strides != nullptr && axis < tensor.rank; ++axis) strides[axis] = tensor.strides[axis];
  char* const data = static_cast<char*>(tensor.data) + tensor.byte_offset;

  if (PyCapsule_SetName(capsule.ptr(), kUsedName<M>) != 0) throw py::error_already_set();
  std::shared_ptr<void> owner(managed, [](void* held) {
    auto* const taken = static_cast<M*>(held);
    if (taken->deleter == nullptr || !Py_IsInitialized()) return;
    const PyGILState_STATE state = PyGILState_Ensure();  // the producer's deleter may touch Python objects
    taken->deleter(taken);
    PyGILState_Release(state);
  });
  return Array::wrap(data, shape, strides, dtype, *devices()[0], std::move(owner), writable);
}

Array from_capsule(const py::object& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), kName<ManagedVersioned>)) return import_as<ManagedVersioned>(capsule);
  if (PyCapsule_IsValid(capsule.ptr(), kName<Managed>)) return import_as<Managed>(capsule);
  throw py::buffer_error("from_dlpack: __dlpack__ returned no capsule, or one that was used already");
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("from_dlpack_capsule", &from_capsule, py::arg("capsule"));
  py::class_<Array> array = m.attr("Array");
  array.def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
            py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none());
  array.def("__dlpack_device__", [](const Array&) { return py::make_tuple(dlpack::kCPU, 0); });
}

}  // namespace deltarule
