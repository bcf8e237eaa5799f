// The vocabulary's kernels in the simulator: each computes what it is for. On a device they are compared with this.
#include <bit>
#include <cmath>

#include <gtest/gtest.h>

#include "support/half.h"
#include "vocabulary_cases.h"

namespace mhcjit::gpu {
namespace {

Words run_clean(const auto& item) {
  std::string fault;
  Words result = run_case_on_host(item, fault);
  EXPECT_EQ(fault, "");
  return result;
}

const AsyncCase& async_case(const std::string& name) {
  static const std::vector<AsyncCase> cases = async_cases();
  for (const AsyncCase& item : cases)
    if (item.name == name) return item;
  throw std::runtime_error(name);
}

TEST(VocabularyOnHost, RunsEveryCaseWithoutAFault) {
  for (const VocabularyCase& item : matrix_cases()) {
    SCOPED_TRACE(item.kernel);
    run_clean(item);
  }
  for (const AsyncCase& item : async_cases()) {
    SCOPED_TRACE(item.name);
    run_clean(item);
  }
}

TEST(VocabularyOnHost, SharedMemoryGivesTheValuesOfAnotherLane) {
  for (const VocabularyCase& item : matrix_cases()) {
    if (item.kernel != "shared_memory") continue;
    const Words result = run_clean(item);
    for (std::size_t thread = 0; thread < result.size() / 4; ++thread) {
      const std::size_t other = thread / 32 * 32 + (thread + 5) % 32;
      for (std::size_t word = 0; word < 4; ++word)
        ASSERT_EQ(result[4 * thread + word], item.operands.a[4 * other + word]) << thread;
    }
  }
}

TEST(VocabularyOnHost, BlocksHandOnTheirWords) {
  const VocabularyCase item = exchange_case();
  const std::size_t threads = item.operands.a.size();
  std::vector<float> values(threads);
  for (std::size_t i = 0; i < threads; ++i) values[i] = std::bit_cast<float>(item.operands.a[i]);
  for (std::uint32_t round = 0; round < item.operands.count; ++round) {
    const std::vector<float> before = values;
    for (std::size_t i = 0; i < threads; ++i)
      values[i] = std::fma(before[i], 0.5f, before[(i + vocabulary_threads) % threads]);
  }
  const Words result = run_clean(item);
  for (std::size_t i = 0; i < threads; ++i) ASSERT_EQ(std::bit_cast<float>(result[i]), values[i]) << i;
}

// All terms are equal, so that every sum is `depth` times one of them and the sum before.
TEST(VocabularyOnHost, MultiplyAddSumsAllTerms) {
  for (const std::string element : {"bf16", "fp16"}) {
    for (const unsigned depth : {8u, 16u}) {
      VocabularyCase item = multiply_add_case(element, depth, 1);
      const bool is_bf16 = element == "bf16";
      for (std::uint32_t& word : item.operands.a) word = is_bf16 ? 0x40404040u : 0x42004200u;  // 3
      for (std::uint32_t& word : item.operands.b) word = is_bf16 ? 0x3f003f00u : 0x38003800u;  // 0.5
      for (std::uint32_t& word : item.operands.c) word = std::bit_cast<std::uint32_t>(1.0f);
      const float expected = 1.0f + 1.5f * static_cast<float>(depth);
      for (const std::uint32_t word : run_clean(item)) ASSERT_EQ(std::bit_cast<float>(word), expected);
    }
  }
}

// As MultiplyAddSumsAllTerms; and of eight columns each by itself that column of B is multiplied with every row of A.
TEST(VocabularyOnHost, WgmmaSumsAllTermsOfEachColumn) {
  for (const std::string element : {"bf16", "fp16"}) {
    for (const unsigned columns : {8u, 16u, 32u, 64u}) {
      VocabularyCase item = wgmma_case(element, columns, 1);
      const bool is_bf16 = element == "bf16";
      for (std::uint32_t& word : item.operands.a) word = is_bf16 ? 0x40404040u : 0x42004200u;  // 3
      for (std::uint32_t& word : item.operands.c) word = std::bit_cast<std::uint32_t>(1.0f);
      // Column j is 0.5 where j % 8 is 3, else 0: four words of eight rows, of either half of the rows.
      for (std::size_t i = 0; i < item.operands.b.size(); ++i)
        item.operands.b[i] = i / 4 % 8 != 3 ? 0u : is_bf16 ? 0x3f003f00u : 0x38003800u;
      const Words result = run_clean(item);
      for (std::size_t i = 0; i < result.size(); ++i) {
        const std::size_t thread = i / (columns / 2);
        const std::size_t column = thread % 4 * 2 + i % 2;
        ASSERT_EQ(std::bit_cast<float>(result[i]), column == 3 ? 25.0f : 1.0f) << item.kernel << " " << i;
      }
    }
  }
}

TEST(VocabularyOnHost, CopyBytesKeepsTheWords) {
  const AsyncCase& item = async_case("copy_bytes");
  EXPECT_EQ(run_clean(item), item.operands.a);
}

std::uint32_t half_of(const Words& words, std::size_t index) { return words[index / 2] >> index % 2 * 16 & 0xffffu; }

// Word m of lane l: column l / 4 of rows 2 (l % 4) and 2 (l % 4) + 1 of matrix m, whose row r thread 8 m + r has.
TEST(VocabularyOnHost, MatricesAreTransposed) {
  const auto expect_transposed = [](const Words& rows, const Words& words) {
    for (std::size_t thread = 0; thread < words.size() / 4; ++thread) {
      const std::size_t warp = thread / 32 * 32;
      const std::size_t lane = thread % 32;
      for (std::size_t matrix = 0; matrix < 4; ++matrix)
        for (std::size_t i = 0; i < 2; ++i) {
          const std::size_t row = warp + 8 * matrix + 2 * (lane % 4) + i;
          ASSERT_EQ(half_of(words, 8 * thread + 2 * matrix + i), half_of(rows, 8 * row + lane / 4)) << thread;
        }
    }
  };
  const AsyncCase& stored = async_case("store_matrices_transposed");
  expect_transposed(run_clean(stored), stored.operands.a);
  for (const VocabularyCase& item : matrix_cases())
    if (item.kernel == "load_matrices_transposed") expect_transposed(item.operands.a, run_clean(item));
}

// Elements of a type, in words.
struct Elements {
  Words words;
  mhcjit_dtype dtype;

  float get(std::size_t index) const {
    if (dtype == MHCJIT_FP32) return std::bit_cast<float>(words[index]);
    const auto half = static_cast<std::uint16_t>(half_of(words, index));
    return dtype == MHCJIT_BF16 ? bf16_to_float(half) : fp16_to_float(half);
  }
  void set(std::size_t index, float value) {
    if (dtype == MHCJIT_FP32) {
      words[index] = std::bit_cast<std::uint32_t>(value);
      return;
    }
    const std::uint32_t half = dtype == MHCJIT_BF16 ? float_to_bf16(value) : float_to_fp16(value);
    const auto shift = static_cast<unsigned>(index % 2 * 16);
    words[index / 2] = (words[index / 2] & ~(0xffffu << shift)) | half << shift;
  }
};

TEST(VocabularyOnHost, BoxesAreStoredAndAdded) {
  int cases = 0;
  for (const AsyncCase& item : async_cases()) {
    if (!item.is_output) continue;
    SCOPED_TRACE(item.name);
    ++cases;
    const BoxedTensor& tensor = *item.tensor;
    const auto& box = tensor.box;
    const bool adds = item.kernel == "add_box";
    const Elements boxes = {item.operands.a, tensor.dtype};
    Elements expected = {item.operands.b, tensor.dtype};
    const auto put = [&](std::size_t element, std::array<std::int64_t, 3> c) {
      for (int i = 0; i < 3; ++i)
        if (c[i] < 0 || c[i] >= static_cast<std::int64_t>(tensor.sizes[i])) return;
      const std::size_t at = c[0] + (c[1] * tensor.strides[0] + c[2] * tensor.strides[1]) / tensor.element_bytes();
      expected.set(at, adds ? expected.get(at) + boxes.get(element) : boxes.get(element));
    };
    for (std::uint32_t round = 0; round < 3; ++round) {
      for (std::uint32_t row = 0; row < box[1] * box[2]; ++row) {
        for (std::uint32_t column = 0; column < box[0]; ++column) {
          std::uint32_t byte = (row * box[0] + column) * tensor.element_bytes();
          if (tensor.swizzle_bytes != 0) byte ^= byte / 128 % (tensor.swizzle_bytes / 16) * 16;
          put((round * tensor.box_bytes() + byte) / tensor.element_bytes(),
              {item.first[0] + std::int64_t{column},
               item.first[1] + std::int64_t{row % box[1] + (adds ? 0 : 8 * round)},
               item.first[2] + std::int64_t{row / box[1]}});
        }
      }
    }
    Words seen_twice = expected.words;
    seen_twice.insert(seen_twice.end(), expected.words.begin(), expected.words.end());
    EXPECT_TRUE(run_clean(item) == seen_twice);
    EXPECT_NE(expected.words, item.operands.b);
  }
  EXPECT_EQ(cases, 2 * 3 * 3 * 3);
}

TEST(VocabularyOnHost, BarriersPassValuesOn) {
  const AsyncCase& item = async_case("barrier_arrive");
  Words expected = item.operands.a;
  for (std::size_t first = 0; first < expected.size(); first += vocabulary_threads) {
    for (std::size_t round = 0; round < 64; ++round) {
      const Words before(expected.begin() + static_cast<std::ptrdiff_t>(first),
                         expected.begin() + static_cast<std::ptrdiff_t>(first + vocabulary_threads));
      for (std::size_t i = 0; i < vocabulary_threads; ++i)
        expected[first + i] = before[(i * 37 + round) % vocabulary_threads];
    }
  }
  EXPECT_EQ(run_clean(item), expected);
}

TEST(VocabularyOnHost, SwizzleMovesChunksOfARow) {
  const Words plain = run_clean(async_case("copy_box of 200 at 64 8 1, swizzle 0"));
  const Words wide = run_clean(async_case("copy_box of 200 at 64 8 1, swizzle 128"));
  const Words narrow = run_clean(async_case("copy_box of 200 at 64 8 1, swizzle 64"));
  // Element (64, 8, 1) is the first, its index in the tensor's memory its value.
  EXPECT_EQ(plain[0] & 0xffffu, (64u + 208 * (8 + 21) + 1) % 0x10000);
  for (std::size_t row = 0; row < 16; ++row)
    for (std::size_t chunk = 0; chunk < 8; ++chunk)
      ASSERT_EQ(wide[row * 32 + (chunk ^ row % 8) * 4], plain[row * 32 + chunk * 4]);
  // Two rows of 64 bytes in one of 128.
  for (std::size_t row = 0; row < 16; ++row)
    for (std::size_t chunk = 0; chunk < 4; ++chunk)
      ASSERT_EQ(narrow[row * 16 + (chunk ^ row / 2 % 4) * 4], plain[row * 32 + chunk * 4]);
}

}  // namespace
}  // namespace mhcjit::gpu
