// Offsets beyond 2^31 bytes, 2^32 bytes and 2^31 elements: an index kept in 32 bits reads or writes the wrong token.
//
// What is checked: that every element of every per-token output was written; the values of a sample of tokens, those
// beside each boundary among them; the parameter gradients in full, for output gradients that are zero except at the
// sample, since the oracle over the sample is then the oracle over all tokens.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <random>

#include <fmt/format.h>

#include "bench/gpu/fast_random.h"
#include "gpu_test.h"
#include "oracle/tensors.h"
#include "support/threads.h"

namespace mhcjit::gpu {
namespace {

constexpr int n = 4;
constexpr int random_samples = 48;
constexpr std::size_t piece_bytes = std::size_t{256} << 20;

struct LargeShape {
  std::int64_t T;
  std::int64_t D;
};

// Elements that still are what poison() left, all bits set: a NaN that no kernel computes.
template <typename Bits>
std::int64_t unwritten(const DeviceBuffer& buffer) {
  std::atomic<std::int64_t> count = 0;
  for (std::size_t offset = 0; offset < buffer.size(); offset += piece_bytes) {
    const std::vector<std::byte> piece = buffer.download(offset, std::min(piece_bytes, buffer.size() - offset));
    constexpr std::int64_t step = 1 << 20;
    const auto bytes = static_cast<std::int64_t>(piece.size());
    parallel_for((bytes + step - 1) / step, 0, [&](std::int64_t block) {
      std::int64_t found = 0;
      constexpr auto size = static_cast<std::int64_t>(sizeof(Bits));
      for (std::int64_t i = block * step; i + size <= std::min(bytes, (block + 1) * step); i += size) {
        Bits element;
        std::memcpy(&element, &piece[static_cast<std::size_t>(i)], sizeof(element));
        found += element == std::numeric_limits<Bits>::max();
      }
      count += found;
    });
  }
  return count;
}

std::vector<std::int64_t> sample_tokens(const LargeShape& shape) {
  std::vector<std::int64_t> tokens = {0, 1, shape.T - 2, shape.T - 1};
  const std::int64_t row_bytes = n * shape.D * 2;
  for (const std::int64_t boundary : {std::int64_t{1} << 31, std::int64_t{1} << 32})
    for (const std::int64_t token : {boundary / row_bytes - 1, boundary / row_bytes, boundary / row_bytes + 1})
      if (token < shape.T) tokens.push_back(token);
  std::mt19937_64 engine(static_cast<std::uint64_t>(shape.T));
  for (int i = 0; i < random_samples; ++i)
    tokens.push_back(static_cast<std::int64_t>(engine() % static_cast<std::uint64_t>(shape.T)));
  std::ranges::sort(tokens);
  const auto duplicates = std::ranges::unique(tokens);
  tokens.erase(duplicates.begin(), duplicates.end());
  return tokens;
}

class Large : public GpuTest, public ::testing::WithParamInterface<LargeShape> {};

TEST_P(Large, MatchesTheOracleAtASampleOfTokens) {
  const auto [T, D] = GetParam();
  const Case item = {{{T, n, D, true}, MHCJIT_BF16, static_cast<std::uint64_t>(T)}};
  const auto tokens_bytes = static_cast<std::size_t>(T * (n + 1) * D * 2 * 2 + T * 512);
  const std::size_t needed = tokens_bytes + (std::size_t{4} << 30);
  if (gpu().free_bytes() < needed)
    GTEST_SKIP() << "NOT RUN: " << gpu().free_bytes() << " bytes of device memory are free, " << needed << " needed";

  const std::vector<std::int64_t> tokens = sample_tokens(GetParam());
  Case sample = item;
  sample.random.shape.T = static_cast<std::int64_t>(tokens.size());
  Case no_tokens = item;
  no_tokens.random.shape.T = 0;
  const TokenTensor x = {n * D, MHCJIT_BF16, 1, 1.0};
  const TokenTensor dh_in = {D, MHCJIT_BF16, 2, 1.0};
  const TokenTensor dh_post = {n, MHCJIT_FP32, 3, 1.0};
  const TokenTensor dh_res = {n * n, MHCJIT_FP32, 4, 1.0};

  oracle::Inputs inputs = oracle::random_inputs(no_tokens.random);
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
  upload_tokens(x, T, forward.buffer("x"));
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  inputs.x = values_of(x, tokens);
  const oracle::Forward reference = oracle::pre_forward(sample.shape(), inputs);
  for (const oracle::Reference& output : oracle::outputs_of(sample.shape(), reference)) {
    const std::string_view tensor = output.name;
    expect_right(sample, output, forward.rows_of(tensor, tokens));
    const DeviceBuffer& written = forward.buffer(tensor);
    const bool is_half = oracle::dtype_of(tensor, item.dtypes()) == MHCJIT_BF16;
    EXPECT_EQ(is_half ? unwritten<std::uint16_t>(written) : unwritten<std::uint32_t>(written), 0) << tensor;
  }

  BackwardOptions options;
  options.gradients_by_caller = true;
  const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)), {}, options);
  const std::pair<const char*, const TokenTensor*> gradients[] = {
      {"dh_in", &dh_in}, {"dh_post", &dh_post}, {"dh_res", &dh_res}};
  for (const auto& [tensor, values] : gradients) upload_tokens(*values, T, backward.buffer(tensor));
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const oracle::Forward saved =
      oracle::saved_by_forward([&](const char* tensor) { return forward.rows_of(tensor, tokens); });
  const oracle::Backward expected = oracle::pre_backward(
      sample.shape(), inputs, saved, {values_of(dh_in, tokens), values_of(dh_post, tokens), values_of(dh_res, tokens)});
  const std::vector<oracle::Reference> outputs = oracle::outputs_of(sample.shape(), expected);
  for (const oracle::Reference& output : outputs)
    if (output.row_size > 0) expect_right(sample, output, backward.rows_of(output.name, tokens));
  EXPECT_EQ(unwritten<std::uint16_t>(backward.buffer("dx")), 0) << "dx";

  for (const auto& [tensor, values] : gradients) {
    const DeviceBuffer& buffer = backward.buffer(tensor);
    buffer.fill(0);
    std::vector<std::byte> row(buffer.size() / static_cast<std::size_t>(T));
    for (const std::int64_t token : tokens) {
      write_token(*values, token, row);
      buffer.upload(row, static_cast<std::size_t>(token) * row.size());
    }
  }
  backward.poison();
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (const oracle::Reference& output : outputs)
    if (output.row_size == 0) expect_right(sample, output, backward.values_of(output.name));
  EXPECT_EQ(forward.damaged() + backward.damaged(), "");
}

INSTANTIATE_TEST_SUITE_P(, Large,
                         ::testing::Values(LargeShape{16384, 4096}, LargeShape{32768, 7168}, LargeShape{65536, 7168},
                                           LargeShape{81920, 7168}),
                         [](const auto& info) { return fmt::format("T{}_D{}", info.param.T, info.param.D); });

}  // namespace
}  // namespace mhcjit::gpu
