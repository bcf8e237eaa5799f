// Which operators run on host memory, by the table's entry.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codegen/problem.h"

namespace mhcjit::runtime::cpu {

struct Implementation {
  const codegen::Operator* op;
  std::size_t (*workspace_bytes)(const codegen::Problem& problem, std::int64_t T);
  // `args` is the operator's public argument struct; `threads` is that of parallel_for().
  void (*run)(const codegen::Problem& problem, const void* args, unsigned threads);
};

// nullptr where the operator has none.
const Implementation* find_implementation(const codegen::Operator& op);

}  // namespace mhcjit::runtime::cpu
