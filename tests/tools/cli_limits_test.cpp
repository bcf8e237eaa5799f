// The command line in a shell or a container at its limit of threads, memory or open files: a command succeeds or ends
// with 1 and a text, with --json as one object; a signal never ends it.
#include <gtest/gtest.h>

#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

class CliLimits : public testing::Test {
 protected:
  void SetUp() override {
    // The real one takes memory and files of its own, and answers for itself where there are none.
    cli_.environment["MHCJIT_NVRTC"] = FAKE_NVRTC;
    ASSERT_EQ(cli_("make-inputs --t 40 --n 4 --d 96 --dtype bf16 -o in.safetensors").exit_code, 0);
  }

  static constexpr const char* warmup = "warmup --n 4 --d 64,96 --arch sm_90a --jobs 3 --json";
  static constexpr const char* check =
      "run --inputs in.safetensors --outputs out.safetensors --device cpu --backward --check --json";
  static constexpr const char* commands[] = {warmup, check, "cache ls --json", "cache stats --json", "doctor --json"};

  // Under a limit of ulimit: "-v 9000".
  CliResult run(const std::string& limit, const std::string& arguments) const {
    return cli_.shell("ulimit -c 0 && ulimit " + limit + " && exec mhcjit " + arguments);
  }

  // The first limit, in steps, under which the program itself starts: below it the loader answers.
  int first_to_start(const std::string& option, int limit, int step) const {
    while (run(option + " " + std::to_string(limit), "--help").exit_code != 0) limit += step;
    return limit;
  }

  static void expect_an_answer(const CliResult& result, const std::string& what) {
    SCOPED_TRACE(what);
    EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 1) << result.exit_code << result.err;
    EXPECT_FALSE(json_of(result).empty());
    if (result.exit_code == 1) {
      EXPECT_NE(result.err.find("mhcjit: "), std::string::npos);
    }
  }

  Cli cli_;
};

TEST_F(CliLimits, OfThreads) {
  cli_.environment["LD_PRELOAD"] = FEW_THREADS;
  for (const char* threads : {"0", "1", "2"}) {
    cli_.environment["MHCJIT_TEST_THREADS"] = threads;
    cli_.environment["MHCJIT_CACHE_DIR"] = cli_.file("cache") + threads;
    const CliResult warm = cli_(warmup);
    EXPECT_EQ(warm.exit_code, 0) << warm.err;
    EXPECT_EQ(json_of(warm).getInteger("compiled"), 4) << threads;
    const CliResult checked = cli_(check);
    EXPECT_EQ(checked.exit_code, 0) << checked.err;
  }
}

// NVRTC itself does without.
TEST_F(CliLimits, OfThreadsWithTheRealCompiler) {
  cli_.environment["LD_PRELOAD"] = FEW_THREADS;
  cli_.environment["MHCJIT_TEST_THREADS"] = "0";
  cli_.environment["MHCJIT_NVRTC"] = MHCJIT_TEST_NVRTC;
  const CliResult warm = cli_("warmup --n 2 --d 8 --arch sm_90a --json");
  EXPECT_EQ(warm.exit_code, 0) << warm.err;
}

TEST_F(CliLimits, OfMemory) {
  // With a little more, so that the C++ runtime has what it sets aside to throw with.
  const int first = first_to_start("-v", 4000, 50) + 150;
  for (const char* command : commands) {
    int failures = 0;
    for (int step = 0; step < 40; ++step) {
      const std::string limit = "-v " + std::to_string(first + 100 * step);
      std::filesystem::remove_all(cli_.cache());
      const CliResult result = run(limit, command);
      expect_an_answer(result, limit + " " + command);
      failures += result.exit_code;
    }
    if (command == warmup || command == check) {
      EXPECT_GT(failures, 0) << command;
    }
  }
}

TEST_F(CliLimits, OfOpenFiles) {
  const int first = first_to_start("-n", 3, 1);
  for (const char* command : commands)
    for (int files = first; files < first + 8; ++files) {
      const std::string limit = "-n " + std::to_string(files);
      std::filesystem::remove_all(cli_.cache());
      expect_an_answer(run(limit, command), limit + " " + command);
    }
}

TEST_F(CliLimits, OfMemoryForOneTensor) {
  const CliResult result = run("-v 60000", "make-inputs --t 100000 --n 4 --d 4096 --dtype bf16 -o large.safetensors");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.err.find("memory"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace mhcjit::test
