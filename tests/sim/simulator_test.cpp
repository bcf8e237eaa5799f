// The simulator itself: it reports what would hang or corrupt a device, and its orders differ.
#include "simulator.h"

#include <limits>
#include <set>

#include "launch_test.h"
#include "tests/guarded_buffer.h"

namespace mhcjit::sim {
namespace {

const Launch two_warps = {.kernel = "example", .threads_per_block = 64, .shared_bytes = 0};

TEST(Simulator, RunsEveryThreadOfEveryBlockOnce) {
  std::multiset<std::vector<std::int64_t>> seen;
  Launch launch = two_warps;
  launch.grid_x = 3;
  launch.grid_y = 2;
  EXPECT_EQ(run(launch,
                [&] {
                  seen.insert({device::block_index_x(), device::block_index_y(), device::thread_index()});
                  EXPECT_EQ(device::grid_size_x(), 3);
                  EXPECT_EQ(device::grid_size_y(), 2);
                }),
            "");
  EXPECT_EQ(seen.size(), 3u * 2 * 64);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), seen.size());
}

TEST(Simulator, OrdersDifferBySeedAndRepeat) {
  const auto order = [](std::uint64_t seed) {
    std::vector<std::int64_t> threads;
    Launch launch = two_warps;
    launch.grid_x = 4;
    launch.seed = seed;
    EXPECT_EQ(run(launch, [&] { threads.push_back(device::block_index_x() * 64 + device::thread_index()); }), "");
    return threads;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST(Simulator, ShuffleGivesThePartnersValue) {
  for (const int mask : {1, 2, 7, 16, 31}) {
    const std::string fault = run(two_warps, [&] {
      const int thread = device::thread_index();
      EXPECT_EQ(device::shuffle_xor(static_cast<float>(thread), mask), static_cast<float>(thread ^ mask));
    });
    EXPECT_EQ(fault, "");
  }
}

TEST(Simulator, BarrierMakesWritesSeen) {
  Launch launch = two_warps;
  launch.shared_bytes = 64 * sizeof(float);
  for (launch.seed = 0; launch.seed < 20; ++launch.seed) {
    const std::string fault = run(launch, [] {
      const int thread = device::thread_index();
      device::shared_floats()[thread] = static_cast<float>(thread);
      device::block_barrier();
      EXPECT_EQ(device::shared_floats()[63 - thread], static_cast<float>(63 - thread));
    });
    EXPECT_EQ(fault, "");
  }
}

TEST(Simulator, SharedMemoryBeginsAsNaNInEveryBlock) {
  Launch launch = two_warps;
  launch.grid_x = 2;
  launch.shared_bytes = 64 * sizeof(float);
  EXPECT_EQ(run(launch,
                [] {
                  float& mine = device::shared_floats()[device::thread_index()];
                  EXPECT_TRUE(std::isnan(mine));
                  mine = 1.0f;
                }),
            "");
}

TEST(Simulator, ReportsABarrierThatAThreadDoesNotReach) {
  const std::string fault = run(two_warps, [] {
    if (device::thread_index() != 37) device::block_barrier();
  });
  EXPECT_TRUE(contains(fault, "example block (0, 0): dead lock: thread 0 waits at the barrier sim/simulator_test.cpp:"))
      << fault;
  EXPECT_TRUE(contains(fault, "thread 37 has finished")) << fault;
}

TEST(Simulator, ReportsTwoBarriersThatThreadsMeetAt) {
  const std::string fault = run(two_warps, [] {
    if (device::thread_index() < 32)
      device::block_barrier();
    else
      device::block_barrier();
  });
  EXPECT_TRUE(contains(fault, "waits at the barrier sim/simulator_test.cpp:")) << fault;
}

TEST(Simulator, ReportsAShuffleThatALaneDoesNotReach) {
  const std::string fault = run(two_warps, [] {
    if (device::thread_index() != 40) device::shuffle_xor(1.0f, 1);
  });
  EXPECT_TRUE(contains(fault, "thread 32 waits at the shuffle sim/simulator_test.cpp:")) << fault;
  EXPECT_TRUE(contains(fault, "thread 40 has finished")) << fault;
}

TEST(Simulator, ReportsLanesThatDisagreeOnAShuffle) {
  const std::string fault = run(two_warps, [] { device::shuffle_xor(1.0f, device::thread_index() == 5 ? 2 : 1); });
  EXPECT_TRUE(contains(fault, "with mask 2 in lane 5 and 1 in lane 0")) << fault;
}

TEST(Simulator, ReportsAWriteBesideSharedMemory) {
  if (test::GuardedBuffer::is_watched()) GTEST_SKIP() << "AddressSanitizer reports the access itself";
  Launch launch = two_warps;
  launch.shared_bytes = 48 * sizeof(float);
  const std::string fault = run(launch, [] { device::shared_floats()[device::thread_index()] = 1.0f; });
  EXPECT_EQ(fault, "example block (0, 0): wrote outside its 192 bytes of shared memory");
}

TEST(Simulator, ReportsAMisalignedVector) {
  alignas(16) const float values[8] = {};
  const std::string fault = run(two_warps, [&] { device::load<4>(values + device::thread_index() % 2); });
  EXPECT_TRUE(contains(fault, "misaligned vector access")) << fault;
}

// What kernels need of the conversions; support/half_test.cpp has the rest.
TEST(Vocabulary, ConversionsRoundToNearestEven) {
  EXPECT_EQ(device::from_float<device::bf16>(1.0f + 0x1p-8f).bits, 0x3f80);
  EXPECT_EQ(device::from_float<device::bf16>(1.0f + 0x3p-8f).bits, 0x3f82);
  EXPECT_EQ(device::from_float<device::fp16>(1.0f + 0x1p-11f).bits, 0x3c00);
  EXPECT_EQ(device::from_float<device::fp16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(device::to_float(device::fp16{0x0001}), 0x1p-24f);
  EXPECT_EQ(device::to_float(device::bf16{0xff80}), -std::numeric_limits<float>::infinity());
}

TEST(Vocabulary, FmaRoundsOnce) {
  const float a = 1.0f + 0x1p-12f;
  EXPECT_EQ(device::fma(a, a, -1.0f - 0x1p-11f), 0x1p-24f);
}

}  // namespace
}  // namespace mhcjit::sim
