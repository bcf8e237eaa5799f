// Blocks of a cluster: they run at the same time, meet, and send to each other; what would hang or corrupt a device is
// reported.
#include <set>

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

using device::SharedAddress;

SharedAddress barrier(int index) { return device::shared_base() + 8 * static_cast<unsigned>(index); }
SharedAddress slot(int index) { return device::shared_base() + 256 + 16 * static_cast<unsigned>(index); }

int count(const std::vector<std::string>& texts, std::string_view part) {
  return static_cast<int>(
      std::count_if(texts.begin(), texts.end(), [&](const std::string& text) { return contains(text, part); }));
}

void init_barriers_of_cluster(int count, int arrivals) {
  if (device::thread_index() == 0) {
    for (int i = 0; i < count; ++i) device::barrier_init(barrier(i), arrivals);
    device::barrier_init_fence();
  }
  device::cluster_arrive();
  device::cluster_wait();
}

void meet() {
  device::cluster_arrive();
  device::cluster_wait();
}

TEST(Cluster, BlocksKnowTheirRank) {
  Launch launch = example(32, 64, 4);
  launch.grid_x = 12;
  launch.grid_y = 2;
  std::multiset<std::array<std::int64_t, 3>> seen;
  EXPECT_EQ(run(launch,
                [&] {
                  EXPECT_EQ(device::cluster_rank(), device::block_index_x() % 4);
                  seen.insert({device::block_index_x(), device::block_index_y(), device::thread_index()});
                }),
            "");
  EXPECT_EQ(seen.size(), 12u * 2 * 32);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), seen.size());
}

TEST(Cluster, ReportsAGridThatIsNoMultiple) {
  Launch launch = example(32, 64, 4);
  launch.grid_x = 6;
  EXPECT_TRUE(contains(run(launch, [] {}), "clusters of 4 blocks in a grid of 6"));
  launch.grid_x = 17;
  launch.cluster_size = 17;
  EXPECT_TRUE(contains(run(launch, [] {}), "clusters of 17 blocks"));
}

TEST(Cluster, HasSharedMemoryForEachBlock) {
  EXPECT_TRUE(runs_clean(example(32, 256, 4), [] {
    EXPECT_TRUE(std::isnan(device::load_shared(device::shared_base())));
    device::warp_barrier();
    if (device::thread_index() == 0) device::store_shared(device::shared_base(), 1.0f);
    meet();
  }));
}

TEST(ClusterBarrier, HoldsEveryThreadUntilAllHaveArrived) {
  int arrived = 0;
  EXPECT_TRUE(runs_clean(example(64, 0, 4), [&] {
    for (int turn = 1; turn <= 3; ++turn) {
      ++arrived;
      device::cluster_arrive();
      device::cluster_wait();
      EXPECT_GE(arrived % 768, turn * 256 % 768);
      meet();
    }
  }));
}

TEST(ClusterBarrier, ReportsImbalance) {
  const std::string twice = run(example(32, 0, 2), [] {
    device::cluster_arrive();
    device::cluster_arrive();
  });
  EXPECT_TRUE(contains(twice, "second cluster_arrive at sim/cluster_test.cpp:")) << twice;
  const std::string without = run(example(32, 0, 2), [] { device::cluster_wait(); });
  EXPECT_TRUE(contains(without, "cluster_wait at sim/cluster_test.cpp:")) << without;
  EXPECT_TRUE(contains(without, "without a cluster_arrive before it")) << without;
  const std::string unfinished = run(example(32, 0, 2), [] { device::cluster_arrive(); });
  EXPECT_TRUE(contains(unfinished, "ended between cluster_arrive and cluster_wait")) << unfinished;
}

TEST(ClusterBarrier, ReportsABlockThatDoesNotCome) {
  const std::string fault = run(example(32, 0, 2), [] {
    if (device::cluster_rank() == 0) meet();
  });
  EXPECT_TRUE(contains(fault, "dead lock: block (0, 0) thread 0 waits for the cluster at sim/cluster_test.cpp:"))
      << fault;
  EXPECT_TRUE(contains(fault, "block (1, 0) thread 0 has finished (as 31 others)")) << fault;
}

TEST(ClusterBarrier, ReportsALaneThatDoesNotCome) {
  const std::string fault = run(example(32, 0, 2), [] {
    if (device::thread_index() != 4 || device::cluster_rank() == 0) meet();
  });
  EXPECT_TRUE(contains(fault, "waits at the cluster_arrive sim/cluster_test.cpp:")) << fault;
}

// Each block reads what all have written.
TEST(LoadCluster, ReadsWhatBlocksWroteBeforeTheyArrived) {
  for (const int blocks : {2, 4, 8}) {
    EXPECT_TRUE(runs_clean(example(64, 256, blocks), [&] {
      const int thread = device::thread_index();
      const SharedAddress mine = device::shared_base() + 4 * static_cast<unsigned>(thread);
      device::store_shared(mine, static_cast<float>(100 * device::cluster_rank() + thread));
      device::cluster_arrive_release();
      device::cluster_wait();
      EXPECT_EQ(device::cluster_blocks(), blocks);
      for (int rank = 0; rank < blocks; ++rank) {
        EXPECT_EQ(device::load_cluster(device::in_block(mine, rank)), static_cast<float>(100 * rank + thread));
      }
      meet();
    })) << blocks;
  }
}

TEST(LoadCluster, ReportsABlockThatHasEnded) {
  const std::vector<std::string> all = faults(example(32, 256, 2), [] {
    device::store_shared(device::shared_base() + 4 * static_cast<unsigned>(device::thread_index()), 1.0f);
    device::cluster_arrive_release();
    device::cluster_wait();
    if (device::cluster_rank() == 0) device::load_cluster(device::in_block(device::shared_base(), 1));
  });
  EXPECT_GE(count(all, "comes after the end of block 1"), 10);
}

TEST(LoadCluster, ReportsAddressesThatAreNone) {
  const auto fault_of = [](const std::function<void()>& body) {
    return run(example(32, 256, 2), [&] {
      meet();
      if (device::thread_index() == 0) body();
      meet();
    });
  };
  EXPECT_TRUE(contains(fault_of([] { device::load_cluster({device::shared_base()}); }), "no address that in_block"));
  EXPECT_TRUE(contains(fault_of([] { device::load_cluster(device::in_block(device::shared_base() + 2, 1)); }),
                       "not aligned to 4 bytes"));
}

// A number goes round the blocks, each adds its rank.
TEST(Send, PassesANumberRoundTheBlocks) {
  for (const int blocks : {2, 4, 8}) {
    constexpr int turns = 6;
    EXPECT_TRUE(runs_clean(example(64, 512, blocks), [&] {
      init_barriers_of_cluster(1, 1);
      const int rank = device::cluster_rank();
      const int next = (rank + 1) % blocks;
      if (device::thread_index() == 40) {
        for (int turn = 0; turn < turns; ++turn) {
          device::Vector<float, 4> value = {{static_cast<float>(turn), 0.0f, 0.0f, 0.0f}};
          if (rank != 0 || turn != 0) {
            device::barrier_arrive_expect(barrier(0), 16);
            device::barrier_wait_cluster(barrier(0), (rank == 0 ? turn - 1 : turn) % 2);
            value = device::load_shared_4(slot(0));
          }
          value[1] += static_cast<float>(rank);
          const bool is_last = turn == turns - 1 && next == 0;
          if (!is_last) device::send(device::in_block(slot(0), next), value, device::in_block(barrier(0), next));
          if (is_last) {
            EXPECT_EQ(value[1], static_cast<float>(turns * blocks * (blocks - 1) / 2));
          }
        }
      }
      meet();
    })) << blocks;
  }
}

// Every lane of a warp sends to every block: what one exchange of partial sums does.
TEST(Send, AddsUpFromAllBlocks) {
  constexpr int blocks = 8;
  EXPECT_TRUE(runs_clean(example(32, 256 + 16 * 32 * blocks, blocks), [&] {
    init_barriers_of_cluster(1, 1);
    const int lane = device::thread_index();
    const int rank = device::cluster_rank();
    if (lane == 0) device::barrier_arrive_expect(barrier(0), 16 * 32 * blocks);
    for (int to = 0; to < blocks; ++to)
      device::send(device::in_block(slot(32 * rank + lane), to),
                   {{static_cast<float>(rank), static_cast<float>(to), static_cast<float>(lane), 0.0f}},
                   device::in_block(barrier(0), to));
    device::barrier_wait_cluster(barrier(0), 0);
    for (int from = 0; from < blocks; ++from) {
      const auto value = device::load_shared_4(slot(32 * from + lane));
      EXPECT_EQ(value[0], static_cast<float>(from));
      EXPECT_EQ(value[1], static_cast<float>(rank));
      EXPECT_EQ(value[2], static_cast<float>(lane));
    }
  }));
}

// The first thread of block 0 sends 16 bytes to block 1, with one error.
struct OneSend {
  bool meets_before = true;
  bool waits = true;
  bool waits_for_cluster = true;
  bool receiver_stays = true;
};

std::vector<std::string> faults_of(const OneSend& kernel) {
  return faults(example(32, 512, 2), [&] {
    if (device::thread_index() == 0) {
      device::barrier_init(barrier(0), 1);
      device::barrier_init_fence();
    }
    if (kernel.meets_before)
      meet();
    else
      device::block_barrier();
    if (device::thread_index() != 0) return;
    if (device::cluster_rank() == 0) {
      device::send(device::in_block(slot(0), 1), {{1.0f, 2.0f, 3.0f, 4.0f}}, device::in_block(barrier(0), 1));
    } else if (kernel.receiver_stays) {
      device::barrier_arrive_expect(barrier(0), 16);
      if (kernel.waits && kernel.waits_for_cluster) device::barrier_wait_cluster(barrier(0), 0);
      if (kernel.waits && !kernel.waits_for_cluster) device::barrier_wait(barrier(0), 0);
      if (device::load_shared(slot(0) + 12) != 4.0f) throw Fault("read a wrong value");
    }
  });
}

TEST(Send, ArrivesWhenTheKernelIsRight) { EXPECT_EQ(count(faults_of({}), ":"), 0); }

TEST(Send, ReportsABlockThatHasNotInitialised) {
  EXPECT_GE(count(faults_of({.meets_before = false}), "byte 0 of shared memory holds no barrier"), 3);
}

TEST(Send, ReadsWrongValuesWithoutTheWait) { EXPECT_GE(count(faults_of({.waits = false}), "read a wrong value"), 10); }

TEST(Send, ReportsAWaitOfTheBlockOnly) {
  EXPECT_EQ(count(faults_of({.waits_for_cluster = false}), "bytes came from other blocks"), 30);
}

TEST(Send, ReportsABlockThatHasEnded) {
  EXPECT_GE(count(faults_of({.receiver_stays = false}), "comes after the end of block 1 of the cluster"), 10);
  EXPECT_EQ(count(faults_of({.receiver_stays = false}), "block"), 30);
}

TEST(Send, ReportsAddressesThatAreNone) {
  const auto expect_fault = [](const std::function<void()>& body, std::string_view part) {
    const std::string fault = run(example(32, 512, 2), [&] {
      init_barriers_of_cluster(1, 1);
      if (device::thread_index() == 0) body();
    });
    EXPECT_TRUE(contains(fault, part) && contains(fault, "sim/cluster_test.cpp:")) << fault;
  };
  const device::Vector<float, 4> value = {};
  expect_fault([] { device::in_block(device::shared_base(), 2); }, "rank 2 in a cluster of 2 blocks");
  expect_fault([] { device::in_block(device::shared_base() + 513, 0); }, "outside the block's 512 bytes");
  expect_fault([&] { device::send({slot(0)}, value, device::in_block(barrier(0), 1)); },
               "no address that in_block returned");
  expect_fault([&] { device::send(device::in_block(slot(0), 0), value, device::in_block(barrier(0), 1)); },
               "in different blocks");
  expect_fault([&] { device::send(device::in_block(slot(0) + 8, 1), value, device::in_block(barrier(0), 1)); },
               "not aligned to 16 bytes");
}

TEST(Registers, AreSetByAllWarpsOfAGroup) {
  EXPECT_TRUE(runs_clean(example(256), [] {
    if (device::thread_index() < 128)
      device::raise_registers<168>();
    else
      device::lower_registers<40>();
  }));
  const std::string fault = run(example(256), [] {
    if (device::thread_index() < 96) device::raise_registers<168>();
  });
  EXPECT_TRUE(contains(fault, "warps 0 and 3 of one warp group set different registers")) << fault;
}

}  // namespace
}  // namespace mhcjit::sim
