// The emitted units that this program was built with. Free of the library's headers: each unit includes it.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace mhcjit::sim {

struct Entry {
  std::string_view name;     // "mhcjit_pre_forward_project"
  std::size_t shared_bytes;  // of a block
  // As one thread. The parameters are what cuLaunchKernelEx takes: the operator's arguments, the family's work, tensor
  // maps.
  void (*call)(const void* const* parameters);
};

struct Unit {
  std::string_view problem;  // "n4_d127_bf16_gamma"
  std::string_view op;       // "pre_forward"
  std::span<const Entry> entries;
};

std::span<const Unit* const> units();

}  // namespace mhcjit::sim
