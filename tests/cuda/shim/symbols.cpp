#include "symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace shim {
namespace {

std::string readable(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result.substr(0, 200);
}

// The symbol table of the file that was loaded at `base`, searched for the function at `offset`.
std::string search(const char* path, uint64_t offset) {
  const int file = open(path, O_RDONLY);
  if (file < 0) return {};
  struct stat status{};
  fstat(file, &status);
  void* mapped = mmap(nullptr, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return {};
  const char* bytes = static_cast<const char*>(mapped);
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(bytes);
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(bytes + header->e_shoff);
  std::string result;
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(bytes + sections[s].sh_offset);
    const char* names = bytes + sections[sections[s].sh_link].sh_offset;
    for (uint64_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i) {
      if (symbols[i].st_value == offset && ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC)
        result = readable(names + symbols[i].st_name);
    }
  }
  munmap(mapped, status.st_size);
  return result;
}

}  // namespace

std::string symbol_name(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0) return "(unknown)";
  if (info.dli_saddr == function && info.dli_sname != nullptr) return readable(info.dli_sname);
  const auto base = reinterpret_cast<uint64_t>(info.dli_fbase), at = reinterpret_cast<uint64_t>(function);
  std::string name = search(info.dli_fname, at - base);
  if (name.empty()) name = search("/proc/self/exe", at - base);
  if (!name.empty()) return name;
  char text[64];
  std::snprintf(text, sizeof(text), "at offset 0x%llx", static_cast<unsigned long long>(at - base));
  return text;
}

}  // namespace shim
