// A node full of ranks: 16 processes use 200 kernels of one folder while another process trims it all the time. Nobody
// gets a wrong kernel, and nobody fails: what was trimmed is a miss.
#include <fcntl.h>

#include <ctime>
#include <random>

#include "cache/prune.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

constexpr int process_count = 16, key_count = 200, operations = 300;
constexpr int passed = 0, wrong_kernel = 1, failure = 2;

Options without_flush() {
  Options options;
  options.flush = false;
  return options;
}

// Each rank asks for random kernels, and "compiles" and publishes what it does not find.
int run_rank(const std::string& root, const std::vector<Sample>& kernels, unsigned seed) {
  std::mt19937 random(seed);
  Warnings warnings;
  Options options = warnings.options(/*flush=*/false);
  DiskCache cache(root, options);
  for (int operation = 0; operation < operations; ++operation) {
    const Sample& asked = kernels[random() % kernels.size()];
    const std::optional<Entry> found = cache.find(asked.key, "sm_90a");
    if (found && *found != asked.entry) return wrong_kernel;
    if (!found && !cache.publish(asked.key, asked.entry)) return failure;
  }
  return warnings.lines().empty() && cache.counters().corrupt_entries == 0 ? passed : failure;
}

// Trims to a fifth, over and over, until the pipe's other ends are closed. The half hour on the clock makes every entry
// old enough to go, and no temporary that a rank is writing. 0 when something went and nothing failed.
int trim_until_closed(const std::string& root, int stop_fd) {
  PruneOptions options;
  options.limits.max_entries = key_count / 5;
  bool removed = false;
  char byte = 0;
  while (::read(stop_fd, &byte, 1) != 0) {
    options.now_unix_seconds = std::time(nullptr) + 1800;
    llvm::Expected<PruneReport> report = prune(root, options);
    if (!report) {
      llvm::consumeError(report.takeError());
      return failure;
    }
    if (!report->failures.empty()) return failure;
    removed = removed || !report->removed_digests.empty();
  }
  return removed ? passed : failure;
}

TEST(Fleet, SixteenProcessesTwoHundredKernelsAndATrim) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "root";
  std::vector<Sample> kernels;
  for (unsigned seed = 1; seed <= key_count; ++seed) kernels.push_back(sample(seed, seed));
  ASSERT_TRUE(DiskCache(root, without_flush()).publish(kernels[0].key, kernels[0].entry));

  int stop[2];
  ASSERT_EQ(::pipe2(stop, O_NONBLOCK), 0);
  const pid_t trimmer = start_child([&] {
    ::close(stop[1]);
    return trim_until_closed(root, stop[0]);
  });
  std::vector<pid_t> ranks;
  for (unsigned rank = 0; rank < process_count; ++rank)
    ranks.push_back(start_child([&, rank] {
      ::close(stop[1]);
      return run_rank(root, kernels, rank + 1);
    }));
  for (const pid_t rank : ranks) EXPECT_EQ(wait_for_child(rank), 0) << "1 is a wrong kernel, 2 a failure";
  ::close(stop[1]);
  EXPECT_EQ(wait_for_child(trimmer), 0);
  ::close(stop[0]);
  EXPECT_EQ(names_ending(root, ".tmp"), std::vector<std::string>{});

  DiskCache cache(root, without_flush());
  for (const Sample& kernel : kernels) {
    if (!cache.find(kernel.key, "sm_90a")) {
      EXPECT_TRUE(cache.publish(kernel.key, kernel.entry));
    }
    EXPECT_EQ(cache.find(kernel.key, "sm_90a"), kernel.entry);
  }
}

}  // namespace
}  // namespace mhcjit::cache
