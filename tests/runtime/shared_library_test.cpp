// libmhcjit.so as an application meets it: it exports the C ABI alone (two visible copies of LLVM in one process
// abort), needs none of NVIDIA's libraries to load, and works through the C++ header.
#include <cstdio>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "mhcjit/memory.h"
#include "mhcjit/mhcjit.hpp"

namespace {

std::string output_of(const std::string& command) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const std::size_t bytes = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, bytes);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

std::set<std::string> matches(const std::string& text, const char* pattern) {
  std::set<std::string> found;
  const std::regex regex(pattern);
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match)
    found.insert((*match)[1]);
  return found;
}

TEST(SharedLibrary, ExportsTheDeclaredFunctionsAndNothingElse) {
  const auto exported = matches(output_of(NM " -D --defined-only " LIBRARY), R"( [A-Za-z] ([^\s@]+))");
  const std::string headers = output_of("cat " INCLUDE_DIR "/mhcjit/*.h");
  const auto declared = matches(headers, R"(MHCJIT_API [^(]*?\*?(mhcjit_\w+)\()");
  EXPECT_GT(declared.size(), 10u);
  EXPECT_EQ(exported, declared);
}

TEST(SharedLibrary, NeedsNothingOfNvidiasNorLlvm) {
  const auto needed = matches(output_of(READELF " -d " LIBRARY), R"(\(NEEDED\).*\[(.*)\])");
  EXPECT_FALSE(needed.empty());
  for (const std::string& library : needed)
    for (const char* unwanted : {"libcuda", "libnvrtc", "libcudart", "libLLVM"})
      EXPECT_EQ(library.find(unwanted), std::string::npos) << library;
}

#ifdef TOOL
// The wheel's platform is manylinux_2_34: glibc 2.34, libgcc of its time, and no libstdc++ of the system's.
TEST(SharedLibrary, AndTheToolAskForNothingNewerThanGlibc234) {
  const std::map<std::string, std::pair<int, int>> newest = {{"GLIBC", {2, 34}}, {"GCC", {11, 0}}};
  for (const char* file : {LIBRARY, TOOL}) {
    const auto symbols = matches(output_of(std::string(NM " -D --undefined-only ") + file), R"((\S+@\S+))");
    EXPECT_GT(symbols.size(), 100u) << file;
    for (const std::string& symbol : symbols) {
      std::smatch version;
      ASSERT_TRUE(std::regex_search(symbol, version, std::regex("@([A-Z]+)_([0-9]+)\\.([0-9]+)"))) << symbol;
      const auto allowed = newest.find(version[1]);
      const std::pair asked(std::stoi(version[2]), std::stoi(version[3]));
      EXPECT_TRUE(allowed != newest.end() && asked <= allowed->second) << symbol << " in " << file;
    }
  }
}
#endif

TEST(SharedLibrary, FailuresAreValuesInTheCppHeader) {
  mhcjit_engine_options options = {};
  options.cpu_threads = -1;
  const auto refused = mhcjit::Engine::create(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.status().code(), MHCJIT_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(refused.status().name(), "MHCJIT_ERROR_INVALID_ARGUMENT");
  EXPECT_NE(refused.status().text().find("cpu_threads is -1"), std::string::npos);

  auto engine = mhcjit::Engine::create();
  ASSERT_TRUE(engine) << engine.status().text();
  const auto op =
      engine->prepare({.op = MHCJIT_PRE_FORWARD, .n = 17, .d = 64, .dtype = MHCJIT_FP32}, MHCJIT_DEVICE_CPU);
  ASSERT_FALSE(op);
  EXPECT_NE(op.status().text().find("n is 17"), std::string::npos) << op.status().text();
  const auto compiled = engine->compile({.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 64, .dtype = MHCJIT_FP32}, "sm_10");
  ASSERT_FALSE(compiled);
  EXPECT_NE(compiled.status().text().find("architecture is 'sm_10'"), std::string::npos);
}

// h_res is alpha[2] * u + bias and h_in the weighted sum of the streams: recomputed here from what forward itself
// reports, on random tensors.
TEST(SharedLibrary, RunsForwardOnTheCpuThroughTheCppHeader) {
  constexpr int n = 3, d = 40, rows = n * n + 2 * n;
  constexpr std::int64_t T = 11;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto draw = [&](std::size_t size, float scale) {
    std::vector<float> values(size);
    for (float& value : values) value = scale * normal(random);
    return values;
  };
  const auto x = draw(T * n * d, 1.0f), phi = draw(rows * n * d, 0.1f), bias = draw(rows, 0.1f);
  const std::vector<float> alpha = {1.1f, 0.9f, 1.05f};
  std::vector<float> h_in(T * d), h_post(T * n), h_res(T * n * n), inv_rms(T), h_mix(T * rows), h_pre(T * n);

  auto created = mhcjit::Engine::create();
  ASSERT_TRUE(created) << created.status().text();
  mhcjit::Engine engine = std::move(*created);
  const auto op = engine.prepare({.op = MHCJIT_PRE_FORWARD, .n = n, .d = d, .dtype = MHCJIT_FP32}, MHCJIT_DEVICE_CPU);
  ASSERT_TRUE(op) << op.status().text();
  const auto bytes = op->workspace_bytes(T);
  ASSERT_TRUE(bytes) << bytes.status().text();
  std::vector<std::max_align_t> workspace(*bytes / sizeof(std::max_align_t) + 1);
  mhcjit_pre_forward_args args = {};
  EXPECT_EQ(args.post_mult, 2.0f);
  EXPECT_EQ(mhcjit_pre_backward_args{}.post_mult, 2.0f);
  args.x = x.data();
  args.phi = phi.data();
  args.alpha = alpha.data();
  args.bias = bias.data();
  args.T = T;
  args.norm_eps = args.hc_eps = 1e-6f;
  args.h_in = h_in.data();
  args.h_post = h_post.data();
  args.h_res = h_res.data();
  args.inv_rms = inv_rms.data();
  args.h_mix = h_mix.data();
  args.h_pre = h_pre.data();
  args.workspace = workspace.data();
  args.workspace_bytes = *bytes;
  const auto status = op->pre_forward(args);
  ASSERT_TRUE(status.ok()) << status.text();
  for (std::int64_t t = 0; t < T; ++t) {
    for (int j = 0; j < n * n; ++j)
      EXPECT_NEAR(h_res[t * n * n + j], alpha[2] * h_mix[t * rows + 2 * n + j] * inv_rms[t] + bias[2 * n + j], 1e-5);
    for (int k = 0; k < d; ++k) {
      double sum = 0;
      for (int i = 0; i < n; ++i) sum += double{h_pre[t * n + i]} * x[(t * n + i) * d + k];
      EXPECT_NEAR(h_in[t * d + k], sum, 1e-5);
    }
  }
  EXPECT_EQ(op->pre_backward({}).code(), MHCJIT_ERROR_INVALID_ARGUMENT);
  const auto counters = engine.counters();
  ASSERT_TRUE(counters);
  EXPECT_EQ(counters->misses, 0u);
}

}  // namespace
