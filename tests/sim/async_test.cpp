// Barriers in shared memory and the copies that count on them: each operation alone, each misuse that would hang or
// corrupt a device, and kernels with one wait or one arrival missing.
#include <algorithm>
#include <cmath>

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

using device::SharedAddress;

constexpr int bytes_of_tile = 512;
constexpr int tile_offset = 1024;

SharedAddress barrier(int index) { return device::shared_base() + 8 * static_cast<unsigned>(index); }
SharedAddress tile(int index) {
  return device::shared_base() + tile_offset + static_cast<unsigned>(index * bytes_of_tile);
}

void init_barriers(int count, int arrivals) {
  if (device::thread_index() == 0) {
    for (int i = 0; i < count; ++i) device::barrier_init(barrier(i), arrivals);
    device::barrier_init_fence();
  }
  device::block_barrier();
}

struct alignas(16) Source {
  std::array<float, 1024> values;
};

Source numbers() {
  Source source;
  for (std::size_t i = 0; i < source.values.size(); ++i) source.values[i] = static_cast<float>(i);
  return source;
}

// ---- Shared memory by address ---------------------------------------------------------------------------------------

TEST(SharedMemory, KeepsWhatIsStored) {
  EXPECT_TRUE(runs_clean(example(32, 32 * 16), [] {
    const int thread = device::thread_index();
    const SharedAddress mine = device::shared_base() + static_cast<unsigned>(thread) * 16;
    const auto t = static_cast<unsigned>(thread);
    device::store_shared_4(mine, {{1.0f, 3.0f, 4.0f, 2.0f}});
    device::store_shared(mine, t);
    device::store_shared(mine + 4, 5.0f);
    device::store_shared_words(mine + 8,
                               device::Vector<unsigned, 2>{{device::float_bits(-4.0f), device::float_bits(2.0f)}});
    EXPECT_EQ(device::float_of_bits(device::load_shared_words<2>(mine + 8)[0]), -4.0f);
    EXPECT_EQ(device::load_shared_words<4>(mine)[0], t);
    EXPECT_EQ(device::load_shared(mine + 12), 2.0f);
    EXPECT_EQ(device::load_shared_2(mine + 8)[1], 2.0f);
    EXPECT_EQ(device::load_shared_4(mine)[1], 5.0f);
    EXPECT_EQ(device::shared_floats()[4 * thread + 1], 5.0f);
  }));
}

TEST(SharedMemory, BaseIsAlignedTo1024BytesAndNoMore) { EXPECT_EQ(device::shared_base() % 2048, 1024u); }

TEST(SharedMemory, ReportsAnAccessOutside) {
  for (const int offset : {-16, 1024, 1012}) {
    const std::string fault =
        run(example(32, 1024), [&] { device::load_shared_4(device::shared_base() + static_cast<unsigned>(offset)); });
    EXPECT_TRUE(contains(fault, "thread ") && contains(fault, "load at sim/async_test.cpp:")) << fault;
    EXPECT_TRUE(contains(fault, offset % 16 == 0 ? "are outside the block's 1024 bytes" : "not aligned to 16 bytes"))
        << fault;
  }
  const std::string fault = run(example(32, 1024), [] { device::store_shared(16, 1.0f); });
  EXPECT_TRUE(contains(fault, "store at sim/async_test.cpp:")) << fault;
}

// ---- Barriers -------------------------------------------------------------------------------------------------------

TEST(Barrier, LetsWaitersGoWhenAllHaveArrived) {
  EXPECT_TRUE(runs_clean(example(128, 64 + 512), [] {
    init_barriers(1, 96);
    const int thread = device::thread_index();
    const SharedAddress data = device::shared_base() + 64;
    for (int turn = 0; turn < 4; ++turn) {
      if (thread < 96) {
        device::store_shared(data + 4 * static_cast<unsigned>(thread), static_cast<float>(turn * 100 + thread));
        device::barrier_arrive(barrier(0));
      } else {
        device::barrier_wait(barrier(0), turn % 2);
        for (int other = 0; other < 96; ++other)
          EXPECT_EQ(device::load_shared(data + 4 * static_cast<unsigned>(other)),
                    static_cast<float>(turn * 100 + other));
      }
      device::block_barrier();
    }
  }));
}

TEST(Barrier, ThePhaseBeforeTheFirstHasParityOne) {
  EXPECT_TRUE(runs_clean(example(32, 64), [] {
    init_barriers(1, 1);
    device::barrier_wait(barrier(0), 1);
  }));
}

TEST(Barrier, CountsBytesThatComeBeforeTheyAreExpected) {
  const Source source = numbers();
  EXPECT_TRUE(runs_clean(example(64, 2048), [&] {
    init_barriers(1, 1);
    if (device::thread_index() == 0) device::copy_bytes(tile(0), source.values.data(), 64, barrier(0));
    if (device::thread_index() == 32) device::barrier_arrive_expect(barrier(0), 64);
    device::barrier_wait(barrier(0), 0);
    EXPECT_EQ(device::load_shared(tile(0) + 60), 15.0f);
  }));
}

// Body of a launch with one block of one warp, and the fault that thread 0 of it gets.
std::string fault_of(const std::function<void()>& body) {
  return run(example(32, 4096), [&] {
    init_barriers(2, 1);
    if (device::thread_index() == 0) body();
  });
}

TEST(Barrier, ReportsMisuse) {
  const auto expect_fault = [](const std::function<void()>& body, std::string_view part) {
    const std::string fault = fault_of(body);
    EXPECT_TRUE(contains(fault, part)) << fault;
    EXPECT_TRUE(contains(fault, "example block (0, 0): thread 0: ")) << fault;
    EXPECT_TRUE(contains(fault, "sim/async_test.cpp:")) << fault;
  };
  expect_fault([] { device::barrier_arrive(barrier(5)); }, "byte 40 of shared memory holds no barrier");
  expect_fault([] { device::barrier_wait(barrier(5), 0); }, "byte 40 of shared memory holds no barrier");
  expect_fault([] { device::barrier_arrive(barrier(0) + 4); }, "is not aligned to 8 bytes");
  expect_fault([] { device::barrier_arrive(device::shared_base() + 4096); }, "outside the block's 4096 bytes");
  expect_fault([] { device::barrier_init(barrier(0), 1); }, "byte 0 holds a barrier already");
  expect_fault([] { device::barrier_init(barrier(5), 0); }, "0 arrivals");
  expect_fault([] { device::barrier_init(barrier(5), 1 << 20); }, "1048576 arrivals");
  expect_fault([] { device::barrier_wait(barrier(0), 2); }, "parity 2");
  expect_fault([] { device::barrier_arrive_expect(barrier(0), -16); }, "the bytes expected at once");
  expect_fault([] { device::barrier_arrive_expect(barrier(0), 1 << 20); }, "the bytes expected at once");
  expect_fault(
      [] {
        device::barrier_arrive_expect(barrier(0), 16);
        device::barrier_arrive(barrier(0));
      },
      "more arrivals than the phase waits for (barrier at byte 0, phase 0)");
  expect_fault(
      [] {
        device::store_shared(barrier(0), 0.0f);
        device::barrier_arrive(barrier(0));
      },
      "the barrier at byte 0 was written over");
}

TEST(Barrier, ReportsAWaitThatNothingEnds) {
  const std::string fault = run(example(64, 64), [] {
    init_barriers(2, 2);
    if (device::thread_index() < 32) return;
    if (device::thread_index() == 32) device::barrier_arrive_expect(barrier(1), 48);
    device::barrier_wait(barrier(1), 0);
  });
  EXPECT_TRUE(contains(fault, "example block (0, 0): dead lock: thread 32 waits at sim/async_test.cpp:")) << fault;
  EXPECT_TRUE(contains(fault,
                       "for parity 0 of the barrier at byte 8, whose phase 0 lacks 1 arrivals and 48 bytes "
                       "(as 31 others), thread 0 has finished (as 31 others)"))
      << fault;
}

// ---- Copies ---------------------------------------------------------------------------------------------------------

TEST(CopyBytes, BringsTheBytesByTheEndOfThePhase) {
  const Source source = numbers();
  EXPECT_TRUE(runs_clean(example(64, 4096), [&] {
    init_barriers(1, 1);
    if (device::thread_index() == 0) {
      device::barrier_arrive_expect(barrier(0), 256 + 16);
      device::copy_bytes(tile(0), source.values.data(), 256, barrier(0));
      device::copy_bytes(tile(1), source.values.data() + 100, 16, barrier(0));
    }
    device::barrier_wait(barrier(0), 0);
    EXPECT_EQ(device::load_shared(tile(0) + 252), 63.0f);
    EXPECT_EQ(device::load_shared(tile(1) + 12), 103.0f);
    EXPECT_TRUE(std::isnan(device::load_shared(tile(1) + 16)));
  }));
}

TEST(CopyBytes, ReportsMisuse) {
  const Source source = numbers();
  const float* from = source.values.data();
  const auto expect_fault = [](const std::function<void()>& body, std::string_view part) {
    const std::string fault = fault_of(body);
    EXPECT_TRUE(contains(fault, part) && contains(fault, "thread 0: copy_bytes at sim/async_test.cpp:")) << fault;
  };
  expect_fault([&] { device::copy_bytes(tile(0), from, 8, barrier(0)); }, "not a multiple of 16");
  expect_fault([&] { device::copy_bytes(tile(0), from, 0, barrier(0)); }, "not a multiple of 16");
  expect_fault([&] { device::copy_bytes(tile(0), from + 1, 16, barrier(0)); }, "not a multiple of 16");
  expect_fault([&] { device::copy_bytes(tile(0) + 8, from, 16, barrier(0)); }, "not aligned to 16 bytes");
  expect_fault([&] { device::copy_bytes(tile(5), from, 1024, barrier(0)); }, "outside the block's 4096 bytes");
  const std::string missing = fault_of([&] { device::copy_bytes(tile(0), from, 16, barrier(3)); });
  EXPECT_TRUE(contains(missing, "byte 24 of shared memory holds no barrier")) << missing;
  const std::string unfenced = run(example(32, 2048), [&] {
    if (device::thread_index() == 0) {
      device::barrier_init(barrier(0), 1);
      device::copy_bytes(tile(0), from, 16, barrier(0));
    }
  });
  EXPECT_TRUE(contains(unfenced, "no barrier_init_fence followed")) << unfenced;
}

TEST(CopyBytes, ReportsBytesThatComeAfterTheBlocksEnd) {
  const Source source = numbers();
  for (const std::string& fault : faults(example(32, 2048), [&] {
         init_barriers(1, 1);
         if (device::thread_index() == 0) {
           device::barrier_arrive_expect(barrier(0), 16);
           device::copy_bytes(tile(0), source.values.data(), 16, barrier(0));
         }
         device::warp_barrier();
       }))
    EXPECT_TRUE(fault.empty() || contains(fault, "copy_bytes at sim/async_test.cpp:")) << fault;
}

// ---- A pipeline with one error --------------------------------------------------------------------------------------

// One producer warp fills two stages in turn, two consumer warps read them.
struct Pipeline {
  bool waits_for_full = true;
  bool waits_for_empty = true;
  bool arrives_on_empty = true;
  int expected = 256;

  void run_in_block(const Source& source) const {
    constexpr int tiles = 12;
    if (device::thread_index() == 0) {
      for (int stage = 0; stage < 2; ++stage) {
        device::barrier_init(full(stage), 1);
        device::barrier_init(empty(stage), 64);
      }
      device::barrier_init_fence();
    }
    device::block_barrier();
    const int thread = device::thread_index();
    for (int i = 0; i < tiles; ++i) {
      const int stage = i % 2;
      const int parity = i / 2 % 2;
      if (thread >= 64) {
        if (thread != 64) continue;
        if (waits_for_empty) device::barrier_wait(empty(stage), parity ^ 1);
        device::barrier_arrive_expect(full(stage), expected);
        device::copy_bytes(tile(stage), source.values.data() + 64 * i, 256, full(stage));
      } else {
        if (waits_for_full) device::barrier_wait(full(stage), parity);
        const float value = device::load_shared(tile(stage) + 4 * static_cast<unsigned>(thread));
        if (value != static_cast<float>(64 * i + thread)) throw Fault("read a wrong value");
        if (arrives_on_empty) device::barrier_arrive(empty(stage));
      }
    }
  }

  static SharedAddress full(int stage) { return barrier(stage); }
  static SharedAddress empty(int stage) { return barrier(2 + stage); }
};

std::vector<std::string> faults_of(const Pipeline& pipeline) {
  const Source source = numbers();
  return faults(example(96, 4096), [&] { pipeline.run_in_block(source); });
}

int count(const std::vector<std::string>& texts, std::string_view part) {
  return static_cast<int>(std::ranges::count_if(texts, [&](const std::string& text) { return contains(text, part); }));
}

TEST(Pipeline, RunsUnderEverySeed) {
  const Source source = numbers();
  EXPECT_TRUE(runs_clean(example(96, 4096), [&] { Pipeline().run_in_block(source); }, 100));
}

TEST(Pipeline, ReadsWrongValuesWithoutTheWaitForData) {
  const std::vector<std::string> texts = faults_of({.waits_for_full = false});
  EXPECT_GE(count(texts, "read a wrong value"), 20);
}

TEST(Pipeline, FailsWithoutTheWaitForSpace) {
  // A wrong value, or a second arrival in a phase.
  const std::vector<std::string> texts = faults_of({.waits_for_empty = false});
  EXPECT_GE(std::ranges::count_if(texts, [](const std::string& text) { return !text.empty(); }), 20);
  EXPECT_GE(count(texts, "read a wrong value") + count(texts, "more arrivals than"), 10);
}

TEST(Pipeline, LocksWithoutTheArrival) {
  for (const std::string& text : faults_of({.arrives_on_empty = false})) {
    EXPECT_TRUE(contains(text, "dead lock: thread 0 waits at sim/async_test.cpp:")) << text;
    EXPECT_TRUE(contains(text, "thread 64 waits at sim/async_test.cpp:")) << text;
    EXPECT_TRUE(contains(text, "for parity 0 of the barrier at byte 16, whose phase 0 lacks 64 arrivals")) << text;
  }
}

TEST(Pipeline, LocksWhenTooManyBytesAreExpected) {
  for (const std::string& text : faults_of({.expected = 272}))
    EXPECT_TRUE(contains(text, "whose phase 0 lacks 0 arrivals and 16 bytes")) << text;
}

TEST(Pipeline, FailsWhenTooFewBytesAreExpected) {
  for (const std::string& text : faults_of({.expected = 240})) EXPECT_NE(text, "");
}

// ---- Boxes on their way out ---------------------------------------------------------------------------------------

// A warp writes tiles of 8 x 16 floats, two in turn, and one lane stores each to a tensor and reads what it has stored.
struct Output {
  bool meets_before_store = true;
  bool waits_for_read = true;
  bool waits_for_write = true;
  bool adds = false;

  static constexpr int tiles = 8;
  using Tile = std::array<float, 128>;
  struct alignas(16) Tensor {
    std::array<Tile, tiles> tile = {};
  };

  static float value(int tile, int element) { return static_cast<float>(1000 * tile + element); }

  std::string run(std::uint64_t seed) const {
    Tensor tensor;
    device::TensorMap map;
    EXPECT_EQ(encode({.base = &tensor,
                      .sizes = {16, 8 * tiles, 1},
                      .strides = {64, sizeof(tensor)},
                      .box = {16, 8, 1},
                      .dtype = MHCJIT_FP32},
                     map.opaque),
              "");
    Launch launch = example(32, 4096);
    launch.seed = seed;
    const std::string fault = sim::run(launch, [&] { run_in_warp(map, tensor); });
    for (int tile = 0; tile < tiles && fault.empty(); ++tile)
      for (int i = 0; i < 128; ++i)
        if (tensor.tile[tile][i] != value(tile, i)) return "stored a wrong value";
    return fault;
  }

  void run_in_warp(const device::TensorMap& map, const Tensor& tensor) const {
    const int lane = device::thread_index();
    for (int i = 0; i < tiles; ++i) {
      if (lane == 0 && waits_for_read) device::store_wait_read<1>();
      device::warp_barrier();
      for (int element = lane; element < 128; element += 32)
        device::store_shared(tile(i % 2) + 4 * static_cast<unsigned>(element), value(i, element));
      device::copy_fence();
      if (meets_before_store) device::warp_barrier();
      if (lane == 0) {
        (adds ? device::add_box : device::store_box)(map, 0, 8 * i, 0, tile(i % 2), Place::current());
        device::store_commit();
      }
    }
    if (lane != 0) return;
    if (!waits_for_write) return device::store_wait_read<0>();
    device::store_wait<0>();
    for (int i = 0; i < tiles; ++i)
      if (tensor.tile[i][127] != value(i, 127)) throw Fault("read a wrong value");
  }
};

std::vector<std::string> faults_of(const Output& output) {
  std::vector<std::string> texts;
  for (std::uint64_t seed = 0; seed < 30; ++seed) texts.push_back(output.run(seed));
  return texts;
}

TEST(StoreBox, IsRightUnderEverySeed) {
  for (const std::string& text : faults_of(Output())) EXPECT_EQ(text, "");
  for (const std::string& text : faults_of(Output{.adds = true})) EXPECT_EQ(text, "");
  for (const std::string& text : faults_of(Output{.waits_for_write = false})) EXPECT_EQ(text, "");
}

TEST(StoreBox, StoresWrongValuesWhenSharedMemoryIsWrittenTooEarly) {
  EXPECT_GE(count(faults_of(Output{.waits_for_read = false}), "wrong value"), 10);
}

TEST(StoreBox, StoresWrongValuesWithoutTheBarrierBefore) {
  EXPECT_GE(count(faults_of(Output{.meets_before_store = false}), "wrong value"), 10);
}

// One lane stores a tile and ends.
std::vector<std::string> faults_of_one_store(const std::function<void(const std::array<float, 128>&)>& end) {
  alignas(16) std::array<float, 128> tensor = {};
  device::TensorMap map;
  EXPECT_EQ(
      encode({.base = &tensor, .sizes = {16, 8, 1}, .strides = {64, 512}, .box = {16, 8, 1}, .dtype = MHCJIT_FP32},
             map.opaque),
      "");
  return faults(example(32, 4096), [&] {
    tensor = {};
    device::store_shared_4(tile(0) + 16 * static_cast<unsigned>(device::thread_index()), {{1.0f, 1.0f, 1.0f, 1.0f}});
    device::warp_barrier();
    if (device::thread_index() != 0) return;
    device::store_box(map, 0, 0, 0, tile(0));
    end(tensor);
  });
}

TEST(StoreBox, IsSeenOnlyAfterTheWaitUntilItIsWritten) {
  const auto read = [](const std::array<float, 128>& tensor) {
    if (tensor[5] != 1.0f) throw Fault("read a wrong value");
  };
  const std::vector<std::string> without = faults_of_one_store([&](const auto& tensor) {
    device::store_commit();
    device::store_wait_read<0>();
    read(tensor);
  });
  EXPECT_GE(count(without, "read a wrong value"), 10);
  const std::vector<std::string> with = faults_of_one_store([&](const auto& tensor) {
    device::store_commit();
    device::store_wait<0>();
    read(tensor);
  });
  EXPECT_EQ(count(with, "read a wrong value"), 0);
}

TEST(StoreBox, ReportsAThreadThatEndsBeforeItIsRead) {
  const std::string_view text = "thread 0: ended without waiting until all of its stores have read";
  EXPECT_EQ(count(faults_of_one_store([](const auto&) {}), text), 30);
  EXPECT_EQ(count(faults_of_one_store([](const auto&) { device::store_commit(); }), text), 30);
  EXPECT_EQ(count(faults_of_one_store([](const auto&) {
                    device::store_commit();
                    device::store_wait_read<1>();
                  }),
                  text),
            30);
  EXPECT_EQ(count(faults_of_one_store([](const auto&) {
                    device::store_commit();
                    device::store_wait_read<0>();
                  }),
                  ":"),
            0);
}

TEST(Prefetch, ReportsNoAddress) {
  const float value = 0.0f;
  EXPECT_TRUE(runs_clean(example(32), [&] { device::prefetch_to_l2(&value); }, 1));
  const std::string fault = run(example(32), [] { device::prefetch_to_l2(nullptr); });
  EXPECT_TRUE(contains(fault, "prefetch_to_l2 of no address")) << fault;
}

}  // namespace
}  // namespace mhcjit::sim
