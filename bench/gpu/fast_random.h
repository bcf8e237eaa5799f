// Random tensors of many gigabytes: each token has a stream of its own, so that any token can be made again alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/gpu/device_buffer.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::gpu {

struct TokenTensor {
  std::int64_t columns = 0;  // elements of one token
  mhcjit_dtype dtype = MHCJIT_BF16;
  std::uint64_t seed = 0;
  double deviation = 1.0;  // of values that are close to normal, with mean 0
};

// The storage of one token's elements; `row` has their size.
void write_token(const TokenTensor& tensor, std::int64_t token, std::span<std::byte> row);

// The tokens' values, in the order given.
std::vector<double> values_of(const TokenTensor& tensor, std::span<const std::int64_t> tokens);

// Makes these tokens and uploads each to its row.
void upload_rows(const TokenTensor& tensor, std::span<const std::int64_t> tokens, const DeviceBuffer& buffer);

// Makes tokens [0, tokens) on all processors and uploads them in pieces.
void upload_tokens(const TokenTensor& tensor, std::int64_t tokens, const DeviceBuffer& buffer);

}  // namespace mhcjit::gpu
