#include "vocabulary_cases.h"

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
  const std::size_t box_words = std::size_t{tensor.box[0]} * tensor.box[1] * tensor.box[2] / 2;
  return {.name = fmt::format("copy_box of {} at {} {} {}, swizzle {}", tensor.sizes[0], first[0], first[1], first[2],
                              tensor.swizzle_bytes),
          .kernel = "copy_box",
          .shape = {1, 1, vocabulary_threads, 1024 + box_words * 4},
          .operands = {std::move(words), {}, {}, 0, box_words},
          .tensor = tensor,
          .first = first};
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
  cases.push_back({"shared_memory", shape, operands_of(random_normals(threads * 4, 6))});
  for (const char* kernel : {"copy_async_4", "copy_async_8", "copy_async_16"})
    cases.push_back({kernel,
                     {blocks, 1, vocabulary_threads, std::size_t{2} * vocabulary_threads * 16},
                     {random_normals(threads * 4, 11), {}, {}, 0, threads * 8}});
  cases.push_back({"load_matrices", shape, operands_of(random_words(threads * 4, 7))});
  return cases;
}

VocabularyCase multiply_add_case(const std::string& kernel, std::uint32_t seed) {
  std::mt19937 engine(seed);
  Operands operands = operands_of(Words(threads * 4), Words(threads * 2));
  for (std::uint32_t& word : operands.a) word = random_pair(engine, kernel == "multiply_add_bf16");
  for (std::uint32_t& word : operands.b) word = random_pair(engine, kernel == "multiply_add_bf16");
  operands.c = random_normals(threads * 4, seed + 1);
  return {kernel, {blocks, 1, vocabulary_threads, 0}, std::move(operands)};
}

VocabularyCase wgmma_case(const std::string& element, unsigned columns, std::uint32_t seed) {
  std::mt19937 engine(seed);
  Operands operands = operands_of(Words(threads * 4), Words(std::size_t{blocks} * columns * 8));
  for (std::uint32_t& word : operands.a) word = random_pair(engine, element == "bf16");
  for (std::uint32_t& word : operands.b) word = random_pair(engine, element == "bf16");
  operands.c = random_normals(threads * (columns / 2), seed + 1);
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
    // Rows of 8 elements of padding.
    const BoxedTensor tensor = {{200, 21, 3}, {416, 416 * 21}, {swizzle_bytes == 64 ? 32u : 64u, 8, 2}, swizzle_bytes};
    for (const std::array<std::int32_t, 3> first :
         {std::array{0, 0, 0}, std::array{64, 8, 1}, std::array{192, 16, 2}, std::array{-8, -3, -1},
          std::array{200, 0, 0}, std::array{0, 21, 0}, std::array{8, 20, 1}})
      cases.push_back(box_case(tensor, first));
  }
  return cases;
}

Words run_case_on_host(const VocabularyCase& item, std::string& fault) {
  Words result(item.operands.results, 0xffffffffu);
  fault = run_on_host(
      item.kernel, item.shape,
      {item.operands.a.data(), item.operands.b.data(), item.operands.c.data(), result.data(), item.operands.count});
  return result;
}

Words run_case_on_host(const AsyncCase& item, std::string& fault) {
  Words result(item.operands.results, 0xffffffffu);
  AsyncVocabularyPointers args = {
      .pointers = {item.operands.a.data(), nullptr, nullptr, result.data(), item.operands.count},
      .first = item.first,
      .box_bytes = static_cast<std::int32_t>(item.operands.results * 4)};
  fault = item.tensor ? encode_on_host(*item.tensor, item.operands.a.data(), args.map) : "";
  if (fault.empty()) fault = run_async_on_host(item.kernel, item.shape, args);
  return result;
}

}  // namespace mhcjit::gpu
