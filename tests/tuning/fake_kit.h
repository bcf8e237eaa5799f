// Plays a device and its compiler: times follow from the estimate and from the plan's name, and plans do what they are
// told to do to their process.
#pragma once

#include <map>
#include <string>

#include "tuning/sweep.h"

namespace mhcjit::test {

enum class Behaviour { spills, does_not_compile, wrong, cannot_run, faults, crashes, hangs };

struct FakeDevice {
  std::string name = "Fake GPU";
  int count = 2;
  // What part of its time a plan takes more at most, beyond the estimate.
  double spread_of_plans = 0.3;
  // What part of its time two trials differ by at most.
  double noise = 0;
  double milliseconds = 0;                 // that a trial really takes
  std::map<std::string, Behaviour> plans;  // by name
  std::int64_t tokens_without_inputs = 0;  // a T at which no inputs can be made
};

double fake_us(const FakeDevice& device, const codegen::Plan& plan, std::int64_t tokens);

tuning::Kit fake_kit(const FakeDevice& device);

}  // namespace mhcjit::test
