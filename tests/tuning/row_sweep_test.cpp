// Rounds of one row: which plans are tried how often, and in which order.
#include "tuning/row_sweep.h"

#include <gtest/gtest.h>

#include "codegen/operators.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using codegen::Trial;

// Rows whose plans do not matter: times are given by place.
class RowSweep : public testing::Test {
 protected:
  explicit RowSweep() { row.candidates.resize(12); }

  bool run(const Halving& halving = {}) {
    return sweep_row(row, halving, [&](std::size_t candidate) -> std::optional<Trial> {
      if (visits.size() == most_trials) return std::nullopt;
      visits.push_back(candidate);
      Trial trial;
      trial.outcome = outcomes.contains(candidate) ? outcomes[candidate] : Outcome::measured;
      trial.us = times.contains(candidate) ? times[candidate] : 100.0 + static_cast<double>(candidate);
      return trial;
    });
  }
  std::ptrdiff_t visits_of(std::size_t candidate) const { return std::ranges::count(visits, candidate); }

  Row row;
  std::map<std::size_t, double> times;
  std::map<std::size_t, Outcome> outcomes;
  std::size_t most_trials = 1000;
  std::vector<std::size_t> visits;
};

TEST_F(RowSweep, HalvesUntilTheFinalistsAreLeft) {
  EXPECT_TRUE(run({.finalists = 3, .rounds = 5, .margin = 2}));
  // 12, 6, then three of the five rounds with 3.
  EXPECT_EQ(visits.size(), 12u + 6 + 3 * 3);
  for (const std::size_t candidate : {0, 1, 2}) EXPECT_EQ(visits_of(candidate), 5) << candidate;
  EXPECT_EQ(visits_of(5), 2);
  EXPECT_EQ(visits_of(6), 1);
}

TEST_F(RowSweep, TurnsTheOrderOfEachRound) {
  row.candidates.resize(3);
  EXPECT_TRUE(run({.finalists = 3, .rounds = 3, .margin = 2}));
  EXPECT_EQ(visits, (std::vector<std::size_t>{0, 1, 2, 2, 1, 0, 0, 1, 2}));
}

TEST_F(RowSweep, KeepsThePresentPlanHoweverSlow) {
  row.present = 11;
  times[11] = 1000;
  EXPECT_TRUE(run());
  EXPECT_EQ(visits_of(11), Halving().rounds);
}

TEST_F(RowSweep, DropsWhatIsFarFromTheBest) {
  for (std::size_t candidate = 1; candidate < 12; ++candidate) times[candidate] = 120;
  EXPECT_TRUE(run());
  EXPECT_EQ(visits.size(), 12u) << "one is left, and nothing to compare it with";
}

TEST_F(RowSweep, DropsWhatCannotBeMeasured) {
  outcomes = {{0, Outcome::wrong}, {1, Outcome::hung}};
  row.present = 1;
  EXPECT_TRUE(run());
  EXPECT_EQ(visits_of(0), 1);
  EXPECT_EQ(visits_of(1), 1);
  EXPECT_EQ(visits_of(2), Halving().rounds);
}

TEST_F(RowSweep, EndsWhereNothingCanBeMeasured) {
  for (std::size_t candidate = 0; candidate < 12; ++candidate) outcomes[candidate] = Outcome::faulted;
  EXPECT_TRUE(run());
  EXPECT_EQ(visits.size(), 12u);
}

TEST_F(RowSweep, IsNotDoneWhereItHasToStop) {
  most_trials = 20;
  EXPECT_FALSE(run());
  EXPECT_EQ(visits.size(), 20u);
}

}  // namespace
}  // namespace mhcjit::tuning
