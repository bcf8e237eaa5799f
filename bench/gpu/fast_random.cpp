#include "bench/gpu/fast_random.h"

#include <algorithm>
#include <cstring>
#include <numbers>

#include "oracle/storage.h"
#include "support/half.h"
#include "support/threads.h"

namespace mhcjit::gpu {
namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 20;

// The finaliser of the splitmix64 generator: every bit of the result depends on every bit of `value`.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

template <typename Element, typename Encode>
void write_row(const TokenTensor& tensor, std::int64_t token, std::byte* row, Encode encode) {
  const std::uint64_t stream = mix(mix(tensor.seed) + static_cast<std::uint64_t>(token));
  // The sum of four uniform numbers of 16 bits has this deviation.
  const auto scale = static_cast<float>(tensor.deviation / (65536.0 / std::numbers::sqrt3));
  for (std::int64_t k = 0; k < tensor.columns; ++k) {
    const std::uint64_t bits = mix(stream + static_cast<std::uint64_t>(k) * 0x9e3779b97f4a7c15u);
    const auto sum = static_cast<int>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    const Element element = encode(static_cast<float>(sum - 2 * 0xffff) * scale);
    std::memcpy(row + k * static_cast<std::int64_t>(sizeof(Element)), &element, sizeof(Element));
  }
}

}  // namespace

void write_token(const TokenTensor& tensor, std::int64_t token, std::span<std::byte> row) {
  switch (tensor.dtype) {
    case MHCJIT_BF16: return write_row<std::uint16_t>(tensor, token, row.data(), float_to_bf16);
    case MHCJIT_FP16: return write_row<std::uint16_t>(tensor, token, row.data(), float_to_fp16);
    case MHCJIT_FP32: return write_row<float>(tensor, token, row.data(), [](float value) { return value; });
  }
}

std::vector<double> values_of(const TokenTensor& tensor, std::span<const std::int64_t> tokens) {
  std::vector<double> values;
  std::vector<std::byte> row(static_cast<std::size_t>(tensor.columns) * oracle::bytes_of(tensor.dtype));
  for (const std::int64_t token : tokens) {
    write_token(tensor, token, row);
    const std::vector<double> part = oracle::from_storage(row.data(), tensor.columns, tensor.dtype);
    values.insert(values.end(), part.begin(), part.end());
  }
  return values;
}

void upload_rows(const TokenTensor& tensor, std::span<const std::int64_t> tokens, const DeviceBuffer& buffer) {
  std::vector<std::byte> row(static_cast<std::size_t>(tensor.columns) * oracle::bytes_of(tensor.dtype));
  for (const std::int64_t token : tokens) {
    write_token(tensor, token, row);
    buffer.upload(row, static_cast<std::size_t>(token) * row.size());
  }
}

void upload_tokens(const TokenTensor& tensor, std::int64_t tokens, const DeviceBuffer& buffer) {
  const std::size_t row_bytes = static_cast<std::size_t>(tensor.columns) * oracle::bytes_of(tensor.dtype);
  const auto piece_tokens = static_cast<std::int64_t>(std::max<std::size_t>(1, piece_bytes / row_bytes));
  std::vector<std::byte> piece;
  for (std::int64_t first = 0; first < tokens; first += piece_tokens) {
    const std::int64_t count = std::min(piece_tokens, tokens - first);
    piece.resize(static_cast<std::size_t>(count) * row_bytes);
    parallel_for(count, 0, [&](std::int64_t i) {
      write_token(tensor, first + i, std::span(piece).subspan(static_cast<std::size_t>(i) * row_bytes, row_bytes));
    });
    buffer.upload(piece, static_cast<std::size_t>(first) * row_bytes);
  }
}

}  // namespace mhcjit::gpu
