// Missing barriers: ThreadSanitizer finds no race in the kernels, and finds one as soon as any barrier is deleted.
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace {

constexpr int race_exit_code = 66;

struct Finished {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};

Finished race_check(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), MHCJIT_RACE_CHECK);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    // ThreadSanitizer's shadow has no room for every address that randomisation may choose.
    personality(ADDR_NO_RANDOMIZE);
    setenv("TSAN_OPTIONS", "halt_on_error=1 exitcode=66", 1);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof(buffer))) > 0;) finished.output.append(buffer, size);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) finished.exit_code = WEXITSTATUS(status);
  return finished;
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
