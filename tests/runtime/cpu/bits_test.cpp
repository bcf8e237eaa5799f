// The bits of a result must depend on the inputs alone: not on the number of threads, other callers,
// the neighbours of a token, or which other outputs are wanted. And what is not asked for must not be written.
#include <cmath>
#include <thread>

#include <gtest/gtest.h>

#include "oracle/garbage.h"
#include "oracle/storage.h"
#include "tests/runtime/cpu/cpu_case.h"

namespace mhcjit::runtime::cpu {
namespace {

oracle::RandomOptions odd_options(mhcjit_dtype dtype) {
  return {.shape = {.T = 61, .n = 4, .D = 387, .has_gamma = true}, .dtype = dtype, .seed = 61};
}

// Names of the tensors that are in both and differ.
std::vector<std::string> differences(const Tensors& a, const Tensors& b) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : a) {
    if (const auto found = b.find(name); found != b.end() && found->second != bytes) names.push_back(name);
  }
  return names;
}

class CpuBits : public testing::TestWithParam<mhcjit_dtype> {
 protected:
  CpuCase case_{odd_options(GetParam())};
  Tensors forward_ = run_forward(case_, 1);
  Tensors backward_ = run_backward(case_, forward_, 1);
};

TEST_P(CpuBits, DoNotDependOnTheNumberOfThreads) {
  for (const unsigned threads : {2u, 3u, 8u}) {
    EXPECT_EQ(differences(run_forward(case_, threads), forward_), std::vector<std::string>());
    EXPECT_EQ(differences(run_backward(case_, forward_, threads), backward_), std::vector<std::string>());
  }
}

TEST_P(CpuBits, DoNotDependOnOtherCallers) {
  for (const unsigned threads : {1u, 3u}) {
    std::vector<std::vector<std::string>> found(4);
    {
      std::vector<std::jthread> callers;
      for (std::vector<std::string>& names : found) {
        callers.emplace_back([this, threads, &names] {
          for (int repeat = 0; repeat < 3; ++repeat) {
            for (std::string& name : differences(run_forward(case_, threads), forward_)) names.push_back(name);
            for (std::string& name : differences(run_backward(case_, forward_, threads), backward_)) {
              names.push_back(name);
            }
          }
        });
      }
    }
    for (const std::vector<std::string>& names : found) EXPECT_EQ(names, std::vector<std::string>());
  }
}

TEST_P(CpuBits, OfATokenDoNotDependOnTOrItsPlace) {
  const std::int64_t T = case_.options.shape.T;
  for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {60, 1}, {5, 13}, {11, 50}}) {
    const CpuCase part = case_.tokens(first, count);
    const Tensors part_forward = run_forward(part, 1);
    Tensors alone = part_forward;
    alone["dx"] = run_backward(part, part_forward, 1).at("dx");
    Tensors together = forward_;
    together["dx"] = backward_.at("dx");
    for (auto& [name, bytes] : together) {
      const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(T);
      const std::size_t begin = static_cast<std::size_t>(first) * row_bytes;
      const std::size_t end = begin + static_cast<std::size_t>(count) * row_bytes;
      bytes = Bytes(bytes.data() + begin, bytes.data() + end);
    }
    EXPECT_EQ(differences(alone, together), std::vector<std::string>()) << "tokens from " << first;
  }
}

// What stands in one token's inputs, saved tensors included, changes no bit of another token's outputs.
TEST_P(CpuBits, OfATokenDoNotDependOnGarbageInOthers) {
  const std::int64_t T = case_.options.shape.T;
  const auto expect_unchanged = [T](const Tensors& clean, const Tensors& outputs, const std::string& name) {
    EXPECT_EQ(oracle::changed_rows(clean.at(name), outputs.at(name), T), std::vector<std::int64_t>()) << name;
  };
  for (const oracle::Garbage garbage : oracle::all_garbage) {
    SCOPED_TRACE(to_string(garbage));
    CpuCase spoilt = case_;
    const auto put = [&](mhcjit_dtype dtype, std::vector<double>& tensor) {
      oracle::put_garbage(garbage, T, dtype, tensor);
    };
    put(case_.options.dtype, spoilt.inputs.x);
    put(case_.options.dtype, spoilt.gradients.dh_in);
    put(MHCJIT_FP32, spoilt.gradients.dh_post);
    put(MHCJIT_FP32, spoilt.gradients.dh_res);
    const Tensors forward = run_forward(spoilt, 1);
    for (const auto& [name, bytes] : forward) expect_unchanged(forward_, forward, name);

    Tensors saved = forward_;
    for (const char* name : {"h_post", "inv_rms", "h_mix", "h_pre"}) {
      std::vector<double> values = values_of(case_, forward_, name);
      put(MHCJIT_FP32, values);
      saved[name] = oracle::to_storage(values, MHCJIT_FP32);
    }
    expect_unchanged(backward_, run_backward(spoilt, saved, 1), "dx");
  }
}

TEST_P(CpuBits, DoNotDependOnWhichOutputsAreWanted) {
  for (const char* name : {"inv_rms", "h_mix", "h_pre"}) {
    EXPECT_EQ(differences(run_forward(case_, 1, {name}), forward_), std::vector<std::string>()) << name;
  }
  EXPECT_EQ(differences(run_forward(case_, 1, {"inv_rms", "h_mix", "h_pre"}), forward_), std::vector<std::string>());
  const std::set<std::string> all = {"dx", "dphi", "dgamma", "dalpha", "dbias"};
  for (const std::string& name : all) {
    const Tensors without = run_backward(case_, forward_, 1, {.unwanted = {name}, .initial = {}});
    EXPECT_EQ(differences(without, backward_), std::vector<std::string>()) << name;
    std::set<std::string> others = all;
    others.erase(name);
    const Tensors alone = run_backward(case_, forward_, 1, {.unwanted = others, .initial = {}});
    EXPECT_EQ(alone.at(name), backward_.at(name)) << name;
  }
}

TEST_P(CpuBits, WithoutTokensParameterGradientsAreZeroOrKept) {
  CpuCase none = case_.tokens(0, 0);
  for (double& gamma : none.inputs.gamma) gamma = -INFINITY;
  const Tensors saved = run_forward(none, 1);
  for (const auto& [name, bytes] : saved) EXPECT_TRUE(bytes.empty()) << name;

  const Tensors overwritten = run_backward(none, saved, 1);
  for (const auto& [name, bytes] : overwritten) EXPECT_EQ(bytes, Bytes(bytes.size())) << name;
  EXPECT_EQ(overwritten.size(), 5u);

  const Tensors kept = run_backward(
      none, saved, 1, {.unwanted = {"dx"}, .initial = backward_, .accumulate_dx = true, .accumulate_parameters = true});
  EXPECT_EQ(differences(kept, backward_), std::vector<std::string>());
  EXPECT_EQ(kept.size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(DTypes, CpuBits, testing::Values(MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32));

TEST(CpuWorkspace, GrowsWithTBeyond32Bits) {
  const CpuCase c(odd_options(MHCJIT_BF16));
  const codegen::Problem backward = c.problem(codegen::pre_backward);
  EXPECT_EQ(pre_backward_workspace_bytes(backward, 0), 0u);
  EXPECT_EQ(pre_backward_workspace_bytes(backward, codegen::max_tokens),
            static_cast<std::size_t>(codegen::max_tokens) * pre_backward_workspace_bytes(backward, 1));
  EXPECT_GT(pre_backward_workspace_bytes(backward, codegen::max_tokens), std::size_t{1} << 32);
}

}  // namespace
}  // namespace mhcjit::runtime::cpu
