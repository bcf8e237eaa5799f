#include "vocabulary_cases.h"

#include <algorithm>
#include <bit>
#include <random>

#include <fmt/format.h>

#include "support/half.h"

namespace mhcjit::gpu {
namespace {

constexpr unsigned blocks = 8;
constexpr std::size_t threads = std::size_t{blocks} * vocabulary_threads;
constexpr LaunchShape elementwise = {64, 1, vocabulary_threads, 0};

Words random_words(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  Words words(count);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(engine());
  return words;
}

// Infinities among them, and no NaN.
Words random_floats(std::size_t count, std::uint32_t seed) {
  Words words = random_words(count, seed);
  for (std::uint32_t& word : words)
    if ((word & 0x7fffffffu) > 0x7f800000u) word &= 0xff800000u;
  return words;
}

// Each half twice: beside others in the low and in the high half of a word.
Words all_pairs() {
  Words words(0x10000);
  for (std::uint32_t i = 0; i < words.size(); ++i) words[i] = i | (i * 40503u & 0xffffu) << 16;
  return words;
}

Operands operands_of(Words a, Words b = {}) {
  const std::size_t count = a.size();
  return {std::move(a), std::move(b), {}, static_cast<std::uint32_t>(count), count};
}

std::uint32_t random_pair(std::mt19937& engine, bool is_bf16) {
  std::normal_distribution<float> normal;
  const auto half = [&] {
    const float value = normal(engine);
    return std::uint32_t{is_bf16 ? float_to_bf16(value) : float_to_fp16(value)};
  };
  const std::uint32_t low = half();
  return low | half() << 16;
}

// Elements are their indices, padding too.
AsyncCase box_case(const BoxedTensor& tensor, std::array<std::int32_t, 3> first) {
  Words words(tensor.strides[1] * tensor.sizes[2] / 4);
  for (std::uint32_t i = 0; i < words.size(); ++i) words[i] = (2 * i + 1) % 0x10000 | (2 * i + 2) % 0x10000 << 16;
  const std::size_t box_words = tensor.box_bytes() / 4;
  return {.name = fmt::format("copy_box of {} at {} {} {}, swizzle {}", tensor.sizes[0], first[0], first[1], first[2],
                              tensor.swizzle_bytes),
          .kernel = "copy_box",
          .shape = {1, 1, vocabulary_threads, 1024 + box_words * 4},
          .operands = {std::move(words), {}, {}, 0, box_words},
          .tensor = tensor,
          .first = first};
}

Words random_pairs(std::size_t count, std::uint32_t seed, bool is_bf16) {
  std::mt19937 engine(seed);
  Words words(count);
  for (std::uint32_t& word : words) word = random_pair(engine, is_bf16);
  return words;
}

Words random_elements(std::size_t count, std::uint32_t seed, mhcjit_dtype dtype) {
  return dtype == MHCJIT_FP32 ? random_normals(count, seed) : random_pairs(count, seed, dtype == MHCJIT_BF16);
}

// `kernel` is "store_box" or "add_box".
AsyncCase output_case(const std::string& kernel, const BoxedTensor& tensor, std::array<std::int32_t, 3> first) {
  const std::size_t box_words = tensor.box_bytes() / 4;
  const std::size_t words = tensor.strides[1] * tensor.sizes[2] / 4;
  return {.name = fmt::format("{} of type {} at {} {} {}, swizzle {}", kernel, static_cast<int>(tensor.dtype), first[0],
                              first[1], first[2], tensor.swizzle_bytes),
          .kernel = kernel,
          .shape = {1, 1, vocabulary_threads, 1024 + 2 * box_words * 4},
          .operands = {random_elements(3 * box_words, 12, tensor.dtype),
                       random_elements(words, 13, tensor.dtype),
                       {},
                       static_cast<std::uint32_t>(words),
                       2 * words},
          .tensor = tensor,
          .first = first,
          .is_output = true};
}

// Boxes of 8 x 2 rows as wide as the swizzle, or of 128 bytes. Rows of the tensor have 16 bytes of padding.
BoxedTensor tensor_of(std::array<std::uint64_t, 3> sizes, mhcjit_dtype dtype, std::uint32_t swizzle_bytes) {
  BoxedTensor tensor;
  tensor.sizes = sizes;
  tensor.swizzle_bytes = swizzle_bytes;
  tensor.dtype = dtype;
  const std::uint64_t row = (sizes[0] * tensor.element_bytes() + 15) / 16 * 16 + 16;
  tensor.strides = {row, row * sizes[1]};
  tensor.box = {(swizzle_bytes == 64 ? 64 : 128) / tensor.element_bytes(), 8, 2};
  return tensor;
}

}  // namespace

Words random_normals(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Words words(count);
  for (std::uint32_t& word : words) word = std::bit_cast<std::uint32_t>(normal(engine));
  return words;
}

std::vector<VocabularyCase> matrix_cases() {
  std::vector<VocabularyCase> cases;
  for (const char* kernel : {"pack_bf16", "pack_fp16"}) {
    cases.push_back({kernel, elementwise, operands_of(random_floats(1 << 16, 1), random_floats(1 << 16, 2))});
    cases.push_back({kernel, elementwise, operands_of(random_normals(1 << 16, 3), random_normals(1 << 16, 4))});
  }
  for (const char* kernel : {"low_half_bf16", "high_half_bf16", "low_half_fp16", "high_half_fp16"})
    cases.push_back({kernel, elementwise, operands_of(all_pairs())});
  const LaunchShape shape = {blocks, 1, vocabulary_threads, vocabulary_threads * 16};
  cases.push_back({"shuffle", shape, {random_normals(threads, 5), {}, {}, 0, threads * 32}});
  cases.push_back({"any_lane", shape, operands_of(random_words(threads, 15))});
  cases.push_back({"shared_memory", shape, operands_of(random_normals(threads * 4, 6))});
  for (const char* kernel : {"copy_async_4", "copy_async_8", "copy_async_16"})
    cases.push_back({kernel,
                     {blocks, 1, vocabulary_threads, std::size_t{2} * vocabulary_threads * 16},
                     {random_normals(threads * 4, 11), {}, {}, 0, threads * 8}});
  cases.push_back({"copy_async_first", shape, operands_of(random_words(threads * 4, 14))});
  for (const char* kernel : {"load_matrices", "load_matrices_transposed"})
    cases.push_back({kernel, shape, operands_of(random_words(threads * 4, 7))});
  return cases;
}

VocabularyCase exchange_case() {
  constexpr std::uint32_t rounds = 16;
  LaunchShape shape = {blocks, 1, vocabulary_threads, 0};
  shape.is_cooperative = true;
  return {"exchange", shape, {random_normals(threads, 15), {}, {}, rounds, threads * (1 + 4 * rounds)}};
}

VocabularyCase multiply_add_case(const std::string& element, unsigned depth, std::uint32_t seed) {
  Operands operands = operands_of(random_pairs(threads * depth / 4, seed, element == "bf16"),
                                  random_pairs(threads * depth / 8, seed + 1, element == "bf16"));
  operands.c = random_normals(threads * 4, seed + 2);
  operands.results = operands.c.size();
  return {fmt::format("multiply_add_{}_{}", element, depth), {blocks, 1, vocabulary_threads, 0}, std::move(operands)};
}

VocabularyCase wgmma_case(const std::string& element, unsigned columns, std::uint32_t seed) {
  Operands operands = operands_of(random_pairs(threads * 4, seed, element == "bf16"),
                                  random_pairs(std::size_t{blocks} * columns * 8, seed + 1, element == "bf16"));
  operands.c = random_normals(threads * (columns / 2), seed + 2);
  operands.results = operands.c.size();
  return {fmt::format("wgmma_{}_{}", element, columns),
          {blocks, 1, vocabulary_threads, std::size_t{columns} * 32},
          std::move(operands)};
}

VocabularyCase magnitudes_of(VocabularyCase item) {
  for (std::uint32_t& word : item.operands.a) word &= 0x7fff7fffu;
  for (std::uint32_t& word : item.operands.b) word &= 0x7fff7fffu;
  for (std::uint32_t& word : item.operands.c) word &= 0x7fffffffu;
  return item;
}

std::vector<AsyncCase> async_cases() {
  std::vector<AsyncCase> cases;
  cases.push_back({.name = "barrier_arrive",
                   .kernel = "barrier_arrive",
                   .shape = {blocks, 1, vocabulary_threads, 1024 + vocabulary_threads * 4},
                   .operands = operands_of(random_normals(threads, 8))});
  cases.push_back({.name = "copy_bytes",
                   .kernel = "copy_bytes",
                   .shape = {1, 1, vocabulary_threads, 1024 + 2 * 512 * 4},
                   .operands = operands_of(random_normals(std::size_t{16} * 512, 9))});
  for (const unsigned cluster_size : {1u, 2u, 4u, 8u}) {
    AsyncCase item = {.name = fmt::format("send among {} blocks", cluster_size),
                      .kernel = "send",
                      .shape = {blocks, 1, vocabulary_threads,
                                1024 + std::size_t{cluster_size} * vocabulary_threads * 16, cluster_size},
                      .operands = operands_of(random_normals(threads, 10))};
    item.operands.count = cluster_size;
    cases.push_back(std::move(item));
  }
  for (const unsigned cluster_size : {2u, 4u, 8u})
    cases.push_back({.name = fmt::format("load_cluster among {} blocks", cluster_size),
                     .kernel = "load_cluster",
                     .shape = {blocks, 1, vocabulary_threads, 1024 + vocabulary_threads * 4, cluster_size},
                     .operands = operands_of(random_normals(threads, 11))});
  for (const std::uint32_t swizzle_bytes : {0, 64, 128}) {
    const BoxedTensor tensor = tensor_of({200, 21, 3}, MHCJIT_BF16, swizzle_bytes);
    for (const std::array<std::int32_t, 3> first :
         {std::array{0, 0, 0}, std::array{64, 8, 1}, std::array{192, 16, 2}, std::array{-8, -3, -1},
          std::array{200, 0, 0}, std::array{0, 21, 0}, std::array{8, 20, 1}})
      cases.push_back(box_case(tensor, first));
  }
  // 104 columns: a row ends inside a box.
  for (const char* kernel : {"store_box", "add_box"})
    for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32})
      for (const std::uint32_t swizzle_bytes : {0, 64, 128})
        for (const std::array<std::int32_t, 3> first :
             {std::array{0, 0, 0}, std::array{32, 4, 1}, std::array{96, 16, 2}})
          cases.push_back(output_case(kernel, tensor_of({104, 21, 3}, dtype, swizzle_bytes), first));
  cases.push_back({.name = "store_matrices_transposed",
                   .kernel = "store_matrices_transposed",
                   .shape = {blocks, 1, vocabulary_threads, vocabulary_threads * 16},
                   .operands = operands_of(random_words(threads * 4, 14))});
  return cases;
}

Words AsyncCase::initial_results() const {
  Words words(operands.results, unwritten);
  if (is_output) std::ranges::copy(operands.b, words.begin());
  return words;
}

Words run_case_on_host(const VocabularyCase& item, std::string& fault) {
  Words result(item.operands.results, unwritten);
  fault = run_on_host(
      item.kernel, item.shape,
      {item.operands.a.data(), item.operands.b.data(), item.operands.c.data(), result.data(), item.operands.count});
  return result;
}

Words run_case_on_host(const AsyncCase& item, std::string& fault) {
  Words result = item.initial_results();
  AsyncVocabularyPointers args = {
      .pointers = {item.operands.a.data(), nullptr, nullptr, result.data(), item.operands.count},
      .first = item.first,
      .box_bytes = item.box_bytes()};
  const void* base = item.is_output ? result.data() : item.operands.a.data();
  fault = item.tensor ? encode_on_host(*item.tensor, base, args.map) : "";
  if (fault.empty()) fault = run_async_on_host(item.kernel, item.shape, args);
  return result;
}

}  // namespace mhcjit::gpu
