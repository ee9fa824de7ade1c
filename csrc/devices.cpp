#include <cstdlib>
#include <string>

#include "base/blocks.h"
#include "base/check.h"
#include "base/parallel.h"
#include "cpu/features.h"
#include "cpu/tables.h"
#if defined(DELTARULE_CUDA)
#include "cuda/devices.h"
#endif
#include "device.h"

namespace deltarule {
namespace {

std::string choices(bool supported_only) {
  std::string names;
  for (const Isa& isa : isas())
    if (isa.supported || !supported_only) names += std::string(names.empty() ? "" : ", ") + isa.kernels->name;
  return names;
}

const Kernels* find_isa(const std::string& name, const char* from) {
  for (const Isa& isa : isas()) {
    if (name != isa.kernels->name) continue;
    check<ValueError>(isa.supported, from, " is '", name, "', which needs ", isa.kernels->needs,
                      "; this CPU has not got it, choose one of: ", choices(true));
    return isa.kernels;
  }
  throw ValueError(message(from, " is '", name, "'; choose one of: ", choices(true)));
}

#if defined(__x86_64__)
// The AVX-512 table with matrix products of its own for precisions below float32.
Kernels avx512_with(const char* name, const char* needs, void (*gemm)(const GemmArgs&) noexcept, const char* highest,
                    const char* high, const char* medium) {
  Kernels table = cpu::avx512_table;
  table.name = name;
  table.needs = needs;
  table.gemm = gemm;
  table.products[static_cast<int>(Precision::highest)] = highest;
  table.products[static_cast<int>(Precision::high)] = high;
  table.products[static_cast<int>(Precision::medium)] = medium;
  return table;
}
#endif

// The best supported one, or what DELTARULE_ISA forces. A wrong setting of the environment throws here, at the first
// use of the device, and not in a kernel.
const Kernels* initial_isa() {
  num_threads();
  const char* forced = std::getenv("DELTARULE_ISA");
  if (forced != nullptr && *forced != '\0') return find_isa(forced, "DELTARULE_ISA");
  for (const Isa& isa : isas())
    if (isa.supported) return isa.kernels;
  return &cpu::scalar_table;
}

void* allocate(Device&, int64_t bytes) {
  void* memory = take_block(bytes);
  check<DeviceError>(memory != nullptr, "cpu: out of memory, asked for ", bytes, " bytes");
  return memory;
}

}  // namespace

Device& cpu_device() {
  static Device device{"cpu", 0, true, initial_isa(), allocate, give_block};
  return device;
}

const std::vector<Isa>& isas() {
#if defined(__x86_64__)
  static const Kernels avx512_bf16 = avx512_with("avx512_bf16", "AVX-512 F, BW, DQ, VL, BF16", cpu::avx512_bf16::gemm,
                                                 "float32", "float32", "bfloat16 (vdpbf16ps)");
  static const Kernels amx = avx512_with("amx", "AMX-TILE, AMX-BF16, AVX-512 F, BW, DQ, VL, BF16", cpu::amx::gemm,
                                         "float32; three bfloat16 planes (AMX) where that is faster",
                                         "two bfloat16 planes (AMX)", "bfloat16 (AMX)");
#if defined(DELTARULE_EMULATE_AMX)
  static const Kernels amx_emulated =
      avx512_with("amx_emulated", "AVX-512 F, BW, DQ, VL, BF16; for tests", cpu::amx_emulated::gemm,
                  "three bfloat16 planes (emulated)", "two bfloat16 planes (emulated)", "bfloat16 (emulated)");
#endif
#endif
  static const std::vector<Isa> list = {
#if defined(__x86_64__)
      {&amx, cpu::has_amx()},
      {&avx512_bf16, cpu::has_avx512_bf16()},
      {&cpu::avx512_table, cpu::has_avx512()},
      {&cpu::avx2_table, cpu::has_avx2()},
#if defined(DELTARULE_EMULATE_AMX)
      {&amx_emulated, cpu::has_avx512_bf16()},  // never the best: behind what it needs
#endif
#endif
      {&cpu::scalar_table, true},
  };
  return list;
}

void set_isa(const std::string& name) { cpu_device().table = find_isa(name, "set_isa: name"); }

const Kernels& current_kernels() { return *cpu_device().table; }

const std::vector<Device*>& devices() {
  static const std::vector<Device*> list = [] {
    std::vector<Device*> all = {&cpu_device()};
#if defined(DELTARULE_CUDA)
    all.insert(all.end(), cuda::devices().begin(), cuda::devices().end());
#endif
    return all;
  }();
  return list;
}

std::string cuda_missing() {
#if defined(DELTARULE_CUDA)
  return cuda::missing();
#else
  return "deltarule was built without CUDA; install the CUDA toolkit and build it from source with "
         "pip install . -C cmake.define.DELTARULE_CUDA=ON";
#endif
}

Device& device_of(const void* memory) {
#if defined(DELTARULE_CUDA)
  return cuda::device_of(memory);
#else
  throw DeviceError(message("the array at ", memory, " is on a GPU; ", cuda_missing()));
#endif
}

Device& find_device(const std::string& name) {
  if (name == "cpu") return cpu_device();  // without a look at CUDA, which takes its time to start
  const std::string whole = name == "cuda" ? "cuda:0" : name;
  std::string names;
  for (Device* device : devices()) {
    if (whole == device->name) return *device;
    names += (names.empty() ? "" : ", ") + device->name;
  }
  const bool cuda = name.rfind("cuda", 0) == 0;
  const std::string reason = cuda ? cuda_missing() : "";
  throw DeviceError(
      message("device is '", name, "'; this machine and build have: ", names, reason.empty() ? "" : "; ", reason));
}

}  // namespace deltarule
