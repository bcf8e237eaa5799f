// What plans do to the process that runs them.
#include "tuning/worker.h"

#include <gtest/gtest.h>

#include "codegen/operators.h"
#include "tests/tuning/fake_kit.h"
#include "tuning/probe.h"

namespace mhcjit::test {
namespace {

using codegen::Outcome;
using tuning::Attempt;
using tuning::Limits;
using tuning::Row;
using tuning::Worker;

constexpr Limits limits = {.row = std::chrono::seconds(10), .plan = std::chrono::milliseconds(300)};

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() {
    std::vector<codegen::SizedProblem> shapes;
    for (const std::int64_t tokens : {1, 1024, 4096})
      shapes.push_back({{&codegen::pre_forward, 4, 2560, codegen::DType::bf16, false, false, {9, 0, 'a'}}, tokens});
    rows = llvm::cantFail(tuning::rows_of(shapes, {}));
  }

  Worker start(int place = 0) const { return llvm::cantFail(Worker::start(fake_kit(device).make_timer, place, rows)); }
  std::string name(std::size_t candidate, std::size_t row = 1) const {
    return codegen::to_string(*rows[row].candidates[candidate]);
  }
  static Attempt attempt(Worker& worker, std::size_t candidate, std::size_t row = 1) {
    return llvm::cantFail(worker.attempt(row, candidate, limits));
  }
  // In this row and in another.
  void expect_measures(Worker& worker, std::size_t candidate) const {
    for (const std::size_t row : {1, 0}) {
      const Attempt after = attempt(worker, candidate, row);
      EXPECT_EQ(after.outcome, Outcome::measured) << after.reason;
      EXPECT_DOUBLE_EQ(after.timing.us, fake_us(device, *rows[row].candidates[candidate], rows[row].shape.tokens));
    }
  }

  FakeDevice device;
  std::vector<Row> rows;
};

TEST_F(WorkerTest, Measures) {
  Worker worker = start();
  const Attempt first = attempt(worker, 0);
  EXPECT_EQ(first.outcome, Outcome::measured);
  EXPECT_EQ(first.timing.samples, 20);
  EXPECT_EQ(first.timing.sm_mhz, 1980);
  expect_measures(worker, 1);
}

struct Told {
  Behaviour behaviour;
  Outcome outcome;
  std::string reason;
};

class WorkerOutcome : public WorkerTest, public testing::WithParamInterface<Told> {};

TEST_P(WorkerOutcome, CostsOneAttempt) {
  device.plans[name(0)] = GetParam().behaviour;
  Worker worker = start();
  for (int time = 0; time < 2; ++time) {
    const Attempt told = attempt(worker, 0);
    EXPECT_EQ(told.outcome, GetParam().outcome);
    EXPECT_NE(told.reason.find(GetParam().reason), std::string::npos) << told.reason;
    EXPECT_FALSE(told.has_no_row);
    expect_measures(worker, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, WorkerOutcome,
                         testing::Values(Told{Behaviour::wrong, Outcome::wrong, "h_in: error 1"},
                                         Told{Behaviour::cannot_run, Outcome::not_run, "no room for its clusters"},
                                         Told{Behaviour::faults, Outcome::faulted, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                         Told{Behaviour::crashes, Outcome::faulted, "ended by signal 6"},
                                         Told{Behaviour::hangs, Outcome::hung, "longer than 0.3 s"}),
                         [](const auto& info) {
                           return std::string(codegen::to_string(info.param.outcome)) +
                                  std::to_string(static_cast<int>(info.param.behaviour));
                         });

TEST_F(WorkerTest, ARowWithoutInputsSaysNothingOfAPlan) {
  device.tokens_without_inputs = rows[2].shape.tokens;
  Worker worker = start();
  const Attempt none = attempt(worker, 0, 2);
  EXPECT_TRUE(none.has_no_row);
  EXPECT_EQ(none.reason, "no room for the inputs");
  expect_measures(worker, 0);
}

TEST_F(WorkerTest, EachDeviceHasItsOwn) {
  Worker first = start(0), second = start(1);
  expect_measures(first, 0);
  expect_measures(second, 0);
}

TEST_F(WorkerTest, ADeviceThatIsNotThereIsSaid) {
  Worker worker = start(7);
  const Attempt none = attempt(worker, 0);
  EXPECT_TRUE(none.has_no_row);
  EXPECT_EQ(none.reason, "there are 2 fake devices");
  const std::vector<int> places = {0, 7};
  const Failure failure = take_failure(tuning::probe(fake_kit(device).make_timer, places).takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_NO_DEVICE);
  EXPECT_EQ(failure.text, "device 7: there are 2 fake devices");
}

TEST_F(WorkerTest, ProbingTellsWhatEachDeviceIs) {
  const std::vector<int> places = {1, 0};
  const auto machines = llvm::cantFail(tuning::probe(fake_kit(device).make_timer, places));
  ASSERT_EQ(machines.size(), 2u);
  EXPECT_EQ(machines[0].device, "Fake GPU");
  EXPECT_EQ(machines[0].multiprocessors, 132);
  EXPECT_EQ(to_string(machines[0].architecture), "sm_90a");
  EXPECT_EQ(machines[0].driver, "13.0");
  EXPECT_EQ(machines[0].copy_gigabytes_per_second, 4000);
}

}  // namespace
}  // namespace mhcjit::test
