// Architectures and the devices that stand for them.
#include "codegen/device.h"

#include <gtest/gtest.h>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

TEST(Architecture, ParsesAndPrints) {
  for (const char* text : {"sm_80", "sm_89", "sm_90", "sm_90a", "sm_100a", "sm_100f", "sm_120a"}) {
    auto architecture = parse_architecture(text);
    ASSERT_TRUE(static_cast<bool>(architecture)) << text;
    EXPECT_EQ(to_string(*architecture), text);
  }
  EXPECT_EQ(to_string(architecture_of_device(8, 6)), "sm_86");
  EXPECT_EQ(to_string(architecture_of_device(9, 0)), "sm_90a");
  EXPECT_EQ(to_string(architecture_of_device(12, 0)), "sm_120a");
}

TEST(Architecture, RefusesEverythingElse) {
  for (const char* text :
       {"", "sm_", "sm_75", "sm_9", "sm_90b", "sm_90aa", "sm_1000", "90", "compute_90", "sm_-90", "sm_9 0"}) {
    auto architecture = parse_architecture(text);
    ASSERT_FALSE(static_cast<bool>(architecture)) << text;
    const Failure failure = take_failure(architecture.takeError());
    EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(failure.text.find(fmt::format("architecture is '{}'", text)), std::string::npos) << failure.text;
  }
}

TEST(Device, StandsForItsArchitecture) {
  const auto name_of = [](const char* text) {
    return std::string(device_of(llvm::cantFail(parse_architecture(text))).name);
  };
  EXPECT_EQ(name_of("sm_80"), "a100");
  EXPECT_EQ(name_of("sm_87"), "a100");
  EXPECT_EQ(name_of("sm_86"), "rtx4090");
  EXPECT_EQ(name_of("sm_89"), "rtx4090");
  EXPECT_EQ(name_of("sm_90a"), "h200");
  EXPECT_EQ(name_of("sm_100a"), "b200");
  EXPECT_EQ(name_of("sm_120a"), "rtx5090");
}

TEST(Device, RunsAsManyClustersAsTheDriverSays) {
  const Device& device = device_of({9, 0, 'a'});
  EXPECT_EQ(device.clusters_at_once[1], 132);
  EXPECT_EQ(device.clusters_at_once[2], 66);
  EXPECT_EQ(device.clusters_at_once[8], 15);
  EXPECT_EQ(device.clusters_at_once[16], 7);
  for (int size = 2; size <= max_cluster_size; ++size) {
    EXPECT_LE(device.clusters_at_once[size] * size, device.multiprocessors) << size;
    EXPECT_LE(device.clusters_at_once[size], device.clusters_at_once[size - 1]) << size;
    EXPECT_GE(device.clusters_at_once[size], 1) << size;
  }
}

TEST(Device, HasClustersOrNot) {
  EXPECT_TRUE(device_of({9, 0, 'a'}).has_clusters());
  EXPECT_TRUE(device_of({10, 0, 'a'}).has_clusters());
  for (const Architecture& architecture : {Architecture{8, 0, 0}, {8, 9, 0}, {12, 0, 'a'}})
    EXPECT_FALSE(device_of(architecture).has_clusters());
  const Device without = device_of({9, 0, 'a'}).without_clusters();
  EXPECT_FALSE(without.has_clusters());
  EXPECT_EQ(without.multiprocessors, 132);
}

// A slice of a device: never without a cluster of a size that the whole has, since only a loaded kernel tells.
TEST(Device, IsCutDownInProportion) {
  const Device& whole = device_of({9, 0, 'a'});
  EXPECT_EQ(whole.with_multiprocessors(132).clusters_at_once, whole.clusters_at_once);
  const Device half = whole.with_multiprocessors(66);
  EXPECT_EQ(half.multiprocessors, 66);
  EXPECT_EQ(half.clusters_at_once[2], 33);
  EXPECT_EQ(half.clusters_at_once[16], 3);
  EXPECT_EQ(whole.with_multiprocessors(8).clusters_at_once[16], 1);
  EXPECT_FALSE(device_of({8, 0, 0}).with_multiprocessors(20).has_clusters());
}

TEST(Device, TakesItsClocksForMicroseconds) {
  Device device = device_of({9, 0, 'a'});
  device.clock_ghz = 2.0;
  EXPECT_EQ(device.microseconds(3000.0), 1.5);
}

}  // namespace
}  // namespace mhcjit::codegen
