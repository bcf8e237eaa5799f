// The operator's input tensors, read from a safetensors file and checked against each other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"
#include "tools/host_buffer.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {

// Shapes of mhcjit/mhcjit.h. A buffer without a pointer is an absent tensor.
struct RunInputs {
  std::vector<std::int64_t> leading;  // x's dimensions before n and D: [T] or [B, S]
  std::int64_t T = 0;                 // their product
  std::int32_t n = 0;
  std::int64_t d = 0;
  mhcjit_dtype dtype = MHCJIT_BF16;

  HostBuffer x, phi, alpha, bias, gamma;
  HostBuffer dh_in, dh_post, dh_res;

  bool has_gamma() const { return gamma.data() != nullptr; }
  std::int64_t rows() const { return std::int64_t{n} * n + 2 * std::int64_t{n}; }
  std::int64_t columns() const { return n * d; }

  // The leading dimensions followed by `trailing`.
  std::vector<std::int64_t> per_token(std::vector<std::int64_t> trailing) const;
};

// Reads x, phi, alpha, bias and, where the file has it, gamma; with `backward` also those of dh_in, dh_post and dh_res
// that the file has, of which there must be one. Other tensors are passed over.
// Errors: BAD_FILE (a tensor is missing or has a wrong dtype or shape: the text has what was expected), IO,
// OUT_OF_MEMORY.
llvm::Expected<RunInputs> load_run_inputs(const SafetensorsFile& file, bool backward);

}  // namespace mhcjit::tools
