// Names of functions for messages: hidden and local ones too, which dladdr does not know.
#pragma once

#include <string>

namespace shim {

std::string symbol_name(const void* function);

}  // namespace shim
