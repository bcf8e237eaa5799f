#include "oracle/garbage.h"

#include <algorithm>
#include <limits>

namespace mhcjit::oracle {
namespace {

constexpr std::int64_t row_alone = 2;
constexpr std::int64_t row_of_one_element = 21;
constexpr std::int64_t first_of_eight = 40;

double value_of(Garbage garbage, mhcjit_dtype dtype) {
  switch (garbage) {
    case Garbage::nan: return std::numeric_limits<double>::quiet_NaN();
    case Garbage::infinity: return std::numeric_limits<double>::infinity();
    case Garbage::minus_infinity: return -std::numeric_limits<double>::infinity();
    case Garbage::largest_finite: break;
  }
  switch (dtype) {
    case MHCJIT_BF16: return 0x1.fep127;
    case MHCJIT_FP16: return 65504.0;
    case MHCJIT_FP32: break;
  }
  return std::numeric_limits<float>::max();
}

bool has_garbage(std::int64_t token, std::int64_t tokens) {
  return token == row_alone || token == row_of_one_element || (token >= first_of_eight && token < first_of_eight + 8) ||
         token == tokens - 1;
}

}  // namespace

const char* to_string(Garbage garbage) {
  constexpr std::array names = {"NaN", "+inf", "-inf", "the largest finite value"};
  return names[static_cast<std::size_t>(garbage)];
}

void put_garbage(Garbage garbage, std::int64_t tokens, mhcjit_dtype dtype, std::vector<double>& tensor) {
  const auto width = static_cast<std::int64_t>(tensor.size()) / tokens;
  for (std::int64_t token = 0; token < tokens; ++token) {
    if (!has_garbage(token, tokens)) continue;
    const auto row = tensor.begin() + token * width;
    const bool is_whole = token != row_of_one_element;
    std::fill_n(row + (is_whole ? 0 : width / 2), is_whole ? width : 1, value_of(garbage, dtype));
  }
}

std::vector<std::int64_t> changed_rows(std::span<const std::byte> clean, std::span<const std::byte> output,
                                       std::int64_t tokens) {
  const std::size_t row_bytes = clean.size() / static_cast<std::size_t>(tokens);
  std::vector<std::int64_t> changed;
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::size_t first = static_cast<std::size_t>(token) * row_bytes;
    if (!has_garbage(token, tokens) &&
        !std::ranges::equal(clean.subspan(first, row_bytes), output.subspan(first, row_bytes)))
      changed.push_back(token);
  }
  return changed;
}

}  // namespace mhcjit::oracle
