// The emitted units that this program was built with. Free of the library's headers: each unit includes it.
#pragma once

#include <span>
#include <string_view>

namespace mhcjit::sim {

struct Entry {
  std::string_view name;  // "mhcjit_pre_forward_project"
  // As one thread; `args` is the operator's argument struct, `tensor_map` is read by kernels that take one.
  void (*call)(const void* args, const void* tensor_map);
};

struct Unit {
  std::string_view problem;  // "n4_d127_bf16_gamma"
  std::string_view op;       // "pre_forward"
  std::span<const Entry> entries;
};

std::span<const Unit* const> units();

}  // namespace mhcjit::sim
