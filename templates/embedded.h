// The kernel templates as text, for compilers that have no folder to read them from.
#pragma once

#include <span>
#include <string_view>

namespace mhcjit::templates {

struct EmbeddedTemplate {
  const char* name;  // "device/device.cuh": how templates and emitted units include it
  std::string_view text;
};

// All of them, ordered by name.
std::span<const EmbeddedTemplate> embedded_templates();

}  // namespace mhcjit::templates
