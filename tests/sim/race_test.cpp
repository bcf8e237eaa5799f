// Missing barriers: ThreadSanitizer finds no race in the kernels, and finds one as soon as any barrier is deleted.
#include <filesystem>
#include <fstream>
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

Finished race_check(std::vector<std::string> arguments) {
  return mhcjit::test::run_under_thread_sanitizer(MHCJIT_RACE_CHECK, std::move(arguments));
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

// Every block_barrier() of the kernels, "sums.cuh:47".
std::set<std::string> barriers_in_templates() {
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(MHCJIT_TEMPLATES)) {
    if (file.path().extension() != ".cuh" || file.path().filename() == "device.cuh") continue;
    std::ifstream stream(file.path());
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (line.find("device::block_barrier()") != std::string::npos)
        names.insert(file.path().filename().string() + ":" + std::to_string(number));
    }
  }
  return names;
}

TEST(Race, NoneInTheKernels) {
  const Finished finished = race_check({});
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  // So that the next test deletes every barrier there is.
  EXPECT_EQ(lines_of(finished.output), barriers_in_templates());
}

TEST(Race, FoundWhenAnyBarrierIsDeleted) {
  for (const std::string& name : barriers_in_templates()) {
    const Finished finished = race_check({"--delete", name});
    EXPECT_EQ(finished.exit_code, race_exit_code) << name << "\n" << finished.output;
    EXPECT_NE(finished.output.find("data race"), std::string::npos) << name;
  }
}

}  // namespace
