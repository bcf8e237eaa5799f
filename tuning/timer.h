// What runs plans: a device, or in tests something that plays one.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "tuning/space.h"

namespace mhcjit::tuning {

struct Machine {
  std::string device;
  codegen::Architecture architecture;
  int multiprocessors = 0;
  std::string driver;  // "13.0"
  double copy_gigabytes_per_second = 0;
};

struct Timing {
  double us = 0;         // median of the samples
  double spread_us = 0;  // half of what lies between the tenth and the ninetieth percentile
  int samples = 0;
  int sm_mhz = 0;  // 0: not known
};

// A plan whose outputs are not the oracle's.
struct WrongResult : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A plan that the device has no room for.
struct CannotRun : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Belongs to one process, which a plan may take down with it. Whatever a member throws is a std::runtime_error; after
// one that is neither of those above nothing more is asked of this timer.
class Timer {
 public:
  virtual ~Timer() = default;

  virtual Machine machine() = 0;

  // From now on plans run on this row's inputs.
  virtual void begin(const Row& row) = 0;

  // Compares what the plan leaves in poisoned outputs with the oracle, on two inputs. Throws WrongResult, CannotRun.
  virtual void check(const codegen::PlanPtr& plan) = 0;

  // Times a plan that check() has accepted in this row. Throws WrongResult, when the timed launches left other results.
  virtual Timing time(const codegen::PlanPtr& plan) = 0;
};

// Called in the process that the timer is for. `device` is a place among the devices that CUDA shows. Throws
// std::runtime_error where there is none.
using MakeTimer = std::function<std::unique_ptr<Timer>(int device)>;

}  // namespace mhcjit::tuning
