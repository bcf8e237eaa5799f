// Missing barriers, waits and arrivals: ThreadSanitizer finds no race in the kernels; as soon as any of them is deleted
// it finds one, or the kernel locks or breaks a barrier's rules.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/sim/race_process.h"

namespace {

using mhcjit::test::Finished;
using mhcjit::test::race_exit_code;

constexpr int fault_exit_code = 67;  // of threads.h

// A program that runs kernels on threads, what it is to run, and where the kernels stand.
struct Program {
  const char* name;
  const char* path;
  std::vector<std::string> arguments;
  std::vector<std::filesystem::path> kernels;
};

Finished run(const Program& program, const std::vector<std::string>& more_arguments, const char* sanitizer_options) {
  std::vector<std::string> arguments = program.arguments;
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  return mhcjit::test::run_under_thread_sanitizer(program.path, std::move(arguments), sanitizer_options);
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

// "sums.cuh:47": where kernels meet, arrive or wait.
std::set<std::string> barriers_in(const std::vector<std::filesystem::path>& kernels) {
  static const std::regex pattern(
      R"(device::(block_barrier|warp_barrier|barrier_(arrive|arrive_expect|wait|wait_cluster)|cluster_(arrive|wait))\()");
  std::set<std::string> names;
  for (const std::filesystem::path& file : kernels) {
    std::ifstream stream(file);
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (std::regex_search(line, pattern)) names.insert(file.filename().string() + ":" + std::to_string(number));
    }
  }
  return names;
}

constexpr const char* one_pass = "pre_forward_one_pass.cuh";
constexpr const char* few_tokens = "pre_forward_few_tokens.cuh";
const std::set<std::string> two_pass = {"phi_stream.cuh", "pre_forward_project_mma.cuh"};

// The templates, less those of other kernels than the portable ones.
std::vector<std::filesystem::path> portable_kernels() {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(MHCJIT_TEMPLATES)) {
    const std::string name = file.path().filename().string();
    if (file.path().extension() == ".cuh" && name != one_pass && name != few_tokens && !two_pass.contains(name) &&
        !name.starts_with("device"))
      files.push_back(file.path());
  }
  return files;
}

std::vector<std::filesystem::path> two_pass_kernels() {
  const std::filesystem::path folder = MHCJIT_TEMPLATES;
  std::vector<std::filesystem::path> files = {folder / "pre_forward_apply.cuh"};
  for (const std::string& name : two_pass) files.push_back(folder / name);
  return files;
}

std::vector<Program> programs() {
  return {{"portable", MHCJIT_RACE_CHECK, {"n1_d264_bf16_gamma", "3"}, portable_kernels()},
          {"two_pass", MHCJIT_RACE_CHECK, {"n1_d264_fp16_gamma_w16_r1", "20"}, two_pass_kernels()},
          {"ring", MHCJIT_RING_RACE_CHECK, {}, {MHCJIT_RING_KERNEL}}};
}

class Race : public ::testing::TestWithParam<Program> {};

TEST_P(Race, NoneInTheKernels) {
  const Finished finished = run(GetParam(), {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  // So that the next test deletes every one there is.
  EXPECT_EQ(lines_of(finished.output), barriers_in(GetParam().kernels));
}

TEST_P(Race, SeenWhenAnyBarrierWaitOrArrivalIsDeleted) {
  for (const std::string& name : barriers_in(GetParam().kernels)) {
    // To name the lines of a race takes longer than to find it.
    const Finished finished = run(GetParam(), {"--delete", name}, "symbolize=0");
    if (finished.exit_code == race_exit_code)
      EXPECT_NE(finished.output.find("data race"), std::string::npos) << name << "\n" << finished.output;
    else
      EXPECT_EQ(finished.exit_code, fault_exit_code) << name << "\n" << finished.output;
  }
}

// Deleting each of its barriers in turn takes minutes, so that only its own clean run stands here: phi, the products,
// the exchange in a cluster and h_in of a few tiles.
TEST(OnePassRace, NoneInTheKernel) {
  const Finished finished =
      run({"one_pass", MHCJIT_RACE_CHECK, {"n1_d128_bf16_gamma_c2_t8", "20"}, {}}, {}, "symbolize=0");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

// Likewise of the kernel for few tokens.
TEST(FewTokensRace, NoneInTheKernel) {
  const Finished finished =
      run({"few_tokens", MHCJIT_RACE_CHECK, {"n1_d64_bf16_gamma_f2_k1", "60"}, {}}, {}, "symbolize=0");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

INSTANTIATE_TEST_SUITE_P(, Race, ::testing::ValuesIn(programs()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
