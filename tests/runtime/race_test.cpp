// ThreadSanitizer finds no race in the memory cache, the builder and the loader while many threads use one engine, and
// finds one as soon as the locks are not taken.
#include <gtest/gtest.h>

#include "tests/sim/race_process.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::test {
namespace {

Finished race_check(std::vector<std::string> arguments) {
  const TemporaryFolder folder;
  arguments.insert(arguments.begin(), folder.path());
  return run_under_thread_sanitizer(MHCJIT_ENGINE_RACE_CHECK, std::move(arguments));
}

TEST(EngineRace, NoneWhileManyThreadsUseOneEngine) {
  const Finished finished = race_check({});
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

TEST(EngineRace, FoundWhenLocksAreNotTaken) {
  const Finished finished = race_check({"--without-locks"});
  EXPECT_EQ(finished.exit_code, race_exit_code) << finished.output;
  EXPECT_NE(finished.output.find("data race"), std::string::npos);
}

}  // namespace
}  // namespace mhcjit::test
