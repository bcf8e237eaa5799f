// The device vocabulary on hardware against the simulator's: every simulated result counts on the two being the same.
// Bit for bit, except where the ISA leaves bits open: the payload of a NaN, and exponential, reciprocal,
// reciprocal_square_root and multiply_add, which have a bound.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include <fmt/format.h>

#include "gpu_test.h"
#include "kernel_program.h"
#include "vocabulary_cases.h"

namespace mhcjit::gpu {
namespace {

constexpr LaunchShape elementwise = {64, 1, vocabulary_threads, 0};
// Bounds in units of the last place. The first is that of CUDA's documentation of __expf, but not rounded down to whole
// units, which devices exceed by a few hundredths.
double exponential_ulp(double x) { return 2.0 + std::abs(1.173 * x); }
double reciprocal_ulp(double) { return 1.0; }
// 2^-22.9 of a value just below a power of two.
double reciprocal_square_root_ulp(double) { return 2.2; }
// Relative to the sum of the terms' magnitudes; device/matrix.cuh of the simulator says why.
constexpr double multiply_add_bound = 0x1p-19;

Operands of(Words a, Words b = {}, Words c = {}) {
  const std::size_t count = a.size();
  return {std::move(a), std::move(b), std::move(c), static_cast<std::uint32_t>(count), count};
}

bool is_nan(std::uint32_t word, std::uint32_t infinity) {
  return (word & 0x7fffffffu & (infinity | (infinity - 1))) > infinity;
}

Words all_halves() {
  Words words(0x10000);
  for (std::uint32_t i = 0; i < words.size(); ++i) words[i] = i;
  return words;
}

// All exponents, both signs, NaN, infinity and zero; each with the low bits that decide a rounding to bf16 (16 bits
// dropped) and to fp16 (13, or more below its normal numbers); then a million patterns drawn at random.
Words many_floats() {
  Words words;
  for (std::uint32_t exponent = 0; exponent < 256; ++exponent)
    for (const std::uint32_t sign : {0u, 0x80000000u})
      for (int dropped = 12; dropped <= 23; ++dropped)
        for (const std::uint32_t kept : {0u, 1u, 2u, 3u, 0x7fffffu >> dropped})
          for (const std::int32_t beside : {-1, 0, 1}) {
            const std::uint32_t half_way =
                (kept << dropped) + (1u << (dropped - 1)) + static_cast<std::uint32_t>(beside);
            words.push_back(sign | exponent << 23 | (half_way & 0x7fffffu));
          }
  for (const std::uint32_t special : {0u, 1u, 0x007fffffu, 0x00800000u, 0x7f7fffffu, 0x7f800000u, 0x7f800001u,
                                      0x7fc00000u, 0x7fffffffu, 0x477fe000u, 0x477fefffu, 0x477ff000u})
    for (const std::uint32_t sign : {0u, 0x80000000u}) words.push_back(sign | special);
  std::mt19937 engine(5);
  for (int i = 0; i < 1 << 20; ++i) words.push_back(static_cast<std::uint32_t>(engine()));
  return words;
}

class Vocabulary : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!IsSkipped()) program_ = std::make_unique<KernelProgram>(gpu(), vocabulary_source);
  }

  void expect_within(const char* kernel, Words inputs, double (*exact)(double), double (*bound_ulp)(double));

  Words on_device(const std::string& kernel, const LaunchShape& shape, const Operands& operands) {
    const auto upload = [&](const Words& words) {
      DeviceBuffer buffer(gpu(), words.size() * 4, 16);
      buffer.upload(std::as_bytes(std::span(words)));
      return buffer;
    };
    const DeviceBuffer a = upload(operands.a), b = upload(operands.b), c = upload(operands.c);
    const DeviceBuffer result = upload(Words(operands.results, unwritten));
    const VocabularyPointers pointers = {a.as<std::uint32_t>(), b.as<std::uint32_t>(), c.as<std::uint32_t>(),
                                         result.as<std::uint32_t>(), operands.count};
    program_->launch(("vocabulary_" + kernel).c_str(), shape, &pointers);
    gpu().synchronize();
    EXPECT_TRUE(result.intact()) << kernel;
    Words words(operands.results);
    const std::vector<std::byte> bytes = result.download();
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }

  static Words on_host(const std::string& kernel, const LaunchShape& shape, const Operands& operands) {
    Words result(operands.results, unwritten);
    EXPECT_EQ(run_on_host(kernel, shape,
                          {operands.a.data(), operands.b.data(), operands.c.data(), result.data(), operands.count}),
              "");
    return result;
  }

  // `infinity` is that of the result's type: greater magnitudes are NaN, and one NaN is as good as another. 0: none is.
  void expect_same(const std::string& kernel, const LaunchShape& shape, const Operands& operands,
                   std::uint32_t infinity = 0) {
    const Words device = on_device(kernel, shape, operands);
    const Words host = on_host(kernel, shape, operands);
    std::size_t different = 0;
    for (std::size_t i = 0; i < host.size(); ++i) {
      if (device[i] == host[i]) continue;
      if (infinity != 0 && is_nan(device[i], infinity) && is_nan(host[i], infinity)) continue;
      if (++different <= 5)
        ADD_FAILURE() << fmt::format(
            "{}: result {} is {:#x} on the device, {:#x} in the simulator (first operand {:#x})", kernel, i, device[i],
            host[i], operands.a[i % operands.a.size()]);
    }
    EXPECT_EQ(different, 0u) << kernel << ": of " << host.size();
  }

  // Products, over several seeds.
  void expect_products_within_bound(const std::function<VocabularyCase(std::uint32_t seed)>& case_of) {
    double worst = 0.0;
    for (std::uint32_t seed = 0; seed < 8; ++seed) {
      const VocabularyCase item = case_of(seed);
      const VocabularyCase magnitudes = magnitudes_of(item);
      const Words device = on_device(item.kernel, item.shape, item.operands);
      const Words host = on_host(item.kernel, item.shape, item.operands);
      const Words terms = on_host(magnitudes.kernel, magnitudes.shape, magnitudes.operands);
      for (std::size_t i = 0; i < host.size(); ++i) {
        const double difference =
            static_cast<double>(std::bit_cast<float>(device[i])) - static_cast<double>(std::bit_cast<float>(host[i]));
        const double error = std::abs(difference) / static_cast<double>(std::bit_cast<float>(terms[i]));
        worst = error <= worst ? worst : error;
      }
    }
    EXPECT_LE(worst, multiply_add_bound) << case_of(0).kernel;
    RecordProperty(case_of(0).kernel + " log2 error", fmt::format("{:.2f}", std::log2(worst)));
  }

  std::unique_ptr<KernelProgram> program_;
};

constexpr std::uint32_t float_infinity = 0x7f800000;

TEST_F(Vocabulary, EveryHalfBecomesTheSameFloat) {
  expect_same("bf16_to_float", elementwise, of(all_halves()));
  expect_same("fp16_to_float", elementwise, of(all_halves()), float_infinity);
}

TEST_F(Vocabulary, FloatsAreRoundedAlike) {
  expect_same("float_to_bf16", elementwise, of(many_floats()), 0x7f80);
  expect_same("float_to_fp16", elementwise, of(many_floats()), 0x7c00);
  expect_same("float_to_float", elementwise, of(many_floats()));
}

TEST_F(Vocabulary, ArithmeticIsRoundedAlike) {
  Words a = many_floats(), b = many_floats(), c = many_floats();
  std::mt19937 engine(6);
  std::ranges::shuffle(b, engine);
  std::ranges::shuffle(c, engine);
  expect_same("fused_multiply_add", elementwise, of(std::move(a), std::move(b), std::move(c)), float_infinity);
  // Operands of one size, whose sums cancel and round.
  expect_same("fused_multiply_add", elementwise,
              of(random_normals(1 << 18, 1), random_normals(1 << 18, 2), random_normals(1 << 18, 3)), float_infinity);
}

// `kernel` against `exact` over all magnitudes. The property is the worst error as a part of its bound.
void Vocabulary::expect_within(const char* kernel, Words inputs, double (*exact)(double), double (*bound_ulp)(double)) {
  const Operands operands = of(std::move(inputs));
  const Words device = on_device(kernel, elementwise, operands);
  double worst = 0.0;
  double worst_x = 0.0;
  for (std::size_t i = 0; i < device.size(); ++i) {
    const auto value = std::bit_cast<float>(device[i]);
    const double x = static_cast<double>(std::bit_cast<float>(operands.a[i]));
    const double wanted = exact(x);
    const auto rounded = static_cast<float>(wanted);
    if (std::isnan(wanted) || std::isinf(rounded)) {
      const bool alike = std::isnan(wanted) ? std::isnan(value) : value == rounded;
      EXPECT_TRUE(alike) << fmt::format("{} of {:#x} is {:#x}", kernel, operands.a[i], device[i]);
      continue;
    }
    const double ulp = std::abs(static_cast<double>(std::nextafter(rounded, std::numeric_limits<float>::infinity())) -
                                static_cast<double>(rounded));
    const double error = std::abs(static_cast<double>(value) - wanted) / (std::isfinite(ulp) ? ulp : 0x1p104);
    const double part = error / bound_ulp(x);
    if (part <= worst) continue;
    worst = part;
    worst_x = x;
  }
  EXPECT_LE(worst, 1.0) << kernel << " of " << worst_x;
  RecordProperty(fmt::format("{} error over its bound", kernel), fmt::format("{:.3f}", worst));
}

TEST_F(Vocabulary, ApproximationsAreWithinTheirBounds) {
  Words exponents = many_floats();
  for (int i = -110 * 512; i < 95 * 512; ++i)
    exponents.push_back(std::bit_cast<std::uint32_t>(static_cast<float>(i) / 512.0f));
  expect_within("exponential", std::move(exponents), [](double x) { return std::exp(x); }, exponential_ulp);
  expect_within("reciprocal", many_floats(), [](double x) { return 1.0 / x; }, reciprocal_ulp);
  expect_within(
      "reciprocal_square_root", many_floats(), [](double x) { return 1.0 / std::sqrt(x); }, reciprocal_square_root_ulp);
}

TEST_F(Vocabulary, VectorsKeepTheirOrder) {
  for (const char* kernel : {"vectors_of_1_float", "vectors_of_2_float", "vectors_of_4_float", "vectors_of_1_bf16",
                             "vectors_of_2_bf16", "vectors_of_4_bf16", "vectors_of_8_bf16", "vectors_of_8_fp16"})
    expect_same(kernel, elementwise, of(many_floats()));
}

TEST_F(Vocabulary, PrefetchChangesNothing) {
  expect_same("prefetch_to_l2", {32, 1, vocabulary_threads, 0},
              of(random_normals(std::size_t{32} * vocabulary_threads, 10)));
}

TEST_F(Vocabulary, ThreadsMeetAlike) {
  const LaunchShape shape = {32, 1, vocabulary_threads, vocabulary_threads * sizeof(float)};
  const std::size_t threads = std::size_t{shape.grid_x} * vocabulary_threads;
  Operands operands = of(random_normals(threads, 9));
  expect_same("block_barrier", shape, operands);
  operands.results = threads * 31;
  expect_same("shuffle_xor", shape, operands);
}

TEST_F(Vocabulary, ThreadsKnowTheirPlaceAlike) {
  Operands operands;
  operands.a = {0};
  const LaunchShape shape = {11, 7, vocabulary_threads, 0};
  operands.results = std::size_t{11} * 7 * vocabulary_threads * 5;
  expect_same("position", shape, operands);
}

TEST_F(Vocabulary, BlocksHandOnWholeWords) {
  const VocabularyCase item = exchange_case();
  for (int turn = 0; turn < 10; ++turn) expect_same(item.kernel, item.shape, item.operands);
}

TEST_F(Vocabulary, MatricesAndPairsAreAlike) {
  for (const VocabularyCase& item : matrix_cases()) expect_same(item.kernel, item.shape, item.operands, float_infinity);
}

TEST_F(Vocabulary, MultiplyAddIsWithinItsBound) {
  for (const std::string element : {"bf16", "fp16"})
    for (const unsigned depth : {8u, 16u})
      expect_products_within_bound([&](std::uint32_t seed) { return multiply_add_case(element, depth, seed); });
}

class WgmmaVocabulary : public Vocabulary {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (gpu().architecture != "sm_90a") GTEST_SKIP() << gpu().architecture << " has no products of warp groups";
    program_ = std::make_unique<KernelProgram>(gpu(), wgmma_vocabulary_source);
  }
};

TEST_F(WgmmaVocabulary, ProductsAreWithinTheBoundOfMultiplyAdd) {
  for (const std::string element : {"bf16", "fp16"})
    for (const unsigned columns : {8u, 16u, 32u, 64u})
      expect_products_within_bound([&](std::uint32_t seed) { return wgmma_case(element, columns, seed); });
}

}  // namespace
}  // namespace mhcjit::gpu
