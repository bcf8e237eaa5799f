// Sixteen ranks prepare the same operator with an empty cache folder, with the real compiler: one of them compiles each
// kernel, and the others load what it published.
#include <array>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

constexpr int ranks = 16;

// Memory of all ranks.
struct Fleet {
  pthread_barrier_t start;
  std::array<mhcjit_counters, ranks> counters;
  std::array<bool, ranks> ready;
};

class FleetTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    if (::access(TEST_NVRTC_13, R_OK) != 0)
      GTEST_SKIP() << "scripts/install-deps --tests has not installed " << TEST_NVRTC_13;
    nvrtc_path = TEST_NVRTC_13;
    void* const memory = ::mmap(nullptr, sizeof(Fleet), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    fleet = new (memory) Fleet();
    pthread_barrierattr_t attributes;
    ::pthread_barrierattr_init(&attributes);
    ::pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_barrier_init(&fleet->start, &attributes, ranks);
  }
  void TearDown() override {
    if (fleet != nullptr) ::munmap(fleet, sizeof(Fleet));
  }

  void be_rank(int rank) {
    const EnginePtr engine = make_engine();
    ::pthread_barrier_wait(&fleet->start);
    fleet->ready[rank] = prepare(engine, problem) != nullptr && warnings.empty();
    mhcjit_engine_counters(engine.get(), &fleet->counters[rank]);
  }

  static constexpr mhcjit_problem problem = {.op = MHCJIT_PRE_FORWARD, .n = 1, .d = 8, .dtype = MHCJIT_FP32};
  Fleet* fleet = nullptr;
};

TEST_F(FleetTest, SixteenColdProcessesCompileOnce) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      be_rank(rank);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  std::uint64_t compiles = 0, hits = 0, timeouts = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    EXPECT_TRUE(fleet->ready[rank]) << "rank " << rank;
    compiles += fleet->counters[rank].misses;
    hits += fleet->counters[rank].disk_hits;
    timeouts += fleet->counters[rank].lock_timeouts;
  }
  const std::uint64_t kernels = kernels_of(problem).size();
  EXPECT_GT(kernels, 1u);
  EXPECT_EQ(compiles, kernels);
  EXPECT_EQ(hits, kernels * (ranks - 1u));
  EXPECT_EQ(timeouts, 0u);
}

}  // namespace
}  // namespace mhcjit::test
