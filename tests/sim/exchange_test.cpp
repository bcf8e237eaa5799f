// Blocks of a cooperative launch: they run at the same time and wait for one another, and a wait that nothing ends is
// reported.
#include "exchange_run.h"

#include <numeric>

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

using device::u32;

using Slots = std::array<device::Vector<u32, 4>, 8>;

Launch cooperative(int blocks) {
  Launch launch = example(32, 1024);
  launch.grid_x = static_cast<std::uint32_t>(blocks);
  launch.is_cooperative = true;
  return launch;
}

void look_until_there(const u32* slot) {
  while (device::load_relaxed(slot)[0] == 0) device::sleep_nanoseconds(20);
}

TEST(Exchange, IsRightInEveryOrder) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (const int blocks : {1, 2, 5}) EXPECT_EQ(Exchange{.blocks = blocks}.run(seed), "") << blocks << " " << seed;
    EXPECT_EQ((Exchange{.blocks = 4, .cluster_size = 2}.run(seed)), "") << seed;
  }
}

TEST(Exchange, ReportsBlocksThatDoNotRunAtTheSameTime) {
  const std::string fault = Exchange{.is_cooperative = false}.run(1);
  EXPECT_TRUE(contains(fault, "dead lock: thread 0 waits at the barrier sim/exchange_kernel.cuh:")) << fault;
  EXPECT_TRUE(contains(fault, "thread 32 looks again and again at sim/exchange_kernel.cuh:")) << fault;
}

TEST(Exchange, ReportsALookThatNothingEnds) {
  Slots slots = {};
  for (const std::string& fault : faults(cooperative(3), [&] {
         if (device::block_index_x() == 1) look_until_there(&slots[0][0]);
         if (device::block_index_x() == 2) {
           // By turns at two places.
           while (device::load_relaxed(&slots[1][0])[0] == 0 && device::load_relaxed(&slots[2][0])[0] == 0) continue;
         }
       })) {
    EXPECT_TRUE(contains(fault, "block (1, 0) thread 0 looks again and again at sim/exchange_test.cpp:")) << fault;
    EXPECT_TRUE(contains(fault, "block (2, 0) thread 0 looks again and again at sim/exchange_test.cpp:")) << fault;
    EXPECT_TRUE(contains(fault, "block (0, 0) thread 0 has finished (as 31 others)")) << fault;
  }
}

TEST(Exchange, LetsOthersGoOnWhileThreadsLook) {
  Slots slots = {};
  alignas(16) std::array<float, 32> numbers;
  std::iota(numbers.begin(), numbers.end(), 0.0f);
  EXPECT_TRUE(runs_clean(cooperative(4), [&] {
    const int thread = device::thread_index();
    const auto block = static_cast<int>(device::block_index_x());
    const device::SharedAddress barrier = device::shared_base();
    const device::SharedAddress data = device::shared_base() + 128;
    if (thread == 0) {
      slots[block + 1] = {};
      device::barrier_init(barrier, 1);
      device::barrier_init_fence();
    }
    device::block_barrier();
    // A block hands on when what it has copied is there.
    if (thread == 0 && block > 0) look_until_there(&slots[block][0]);
    if (thread == 0) {
      device::barrier_arrive_expect(barrier, 128);
      device::copy_bytes(data, numbers.data(), 128, barrier);
    }
    device::barrier_wait(barrier, 0);
    device::warp_barrier();
    EXPECT_EQ(device::load_shared(data + 4 * static_cast<u32>(thread)), static_cast<float>(thread));
    if (thread == 31) device::store_relaxed(&slots[block + 1][0], {{1, 2, 3, 4}});
  }));
  for (int block = 0; block < 4; ++block) EXPECT_EQ(slots[block + 1][3], 4u);
}

TEST(Exchange, TakesManyLooksAtDifferentPlacesForWork) {
  std::vector<device::Vector<u32, 4>> slots(5000);
  EXPECT_TRUE(runs_clean(
      cooperative(1),
      [&] {
        if (device::thread_index() != 0) return;
        for (const auto& slot : slots) EXPECT_EQ(device::load_relaxed(&slot[0])[3], 0u);
      },
      1));
}

TEST(Exchange, ReportsAnAddressThatIsNotAligned) {
  Slots slots = {};
  const std::string loaded = run(cooperative(1), [&] { device::load_relaxed(&slots[0][2]); });
  EXPECT_TRUE(contains(loaded, "misaligned vector access")) << loaded;
  const std::string stored = run(cooperative(1), [&] { device::store_relaxed(&slots[0][1], {}); });
  EXPECT_TRUE(contains(stored, "misaligned vector access")) << stored;
}

}  // namespace
}  // namespace mhcjit::sim
