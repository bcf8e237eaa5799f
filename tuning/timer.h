// Runs plans on a device, or in tests on a fake of one.
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
  double spread_us = 0;  // half of the distance between the tenth and the ninetieth percentile
  int samples = 0;
  int sm_mhz = 0;  // 0: not known
};

// Thrown if a plan's outputs are not the oracle's.
struct WrongResult : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Thrown if the device has no room for a plan.
struct CannotRun : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A timer belongs to one process, which a plan may take down with it. Every exception of a member is a
// std::runtime_error. After one that is neither of those above, this timer is used no more.
class Timer {
 public:
  virtual ~Timer() = default;

  virtual Machine machine() = 0;

  // Makes plans run on this row's inputs from now on.
  virtual void begin(const Row& row) = 0;

  // Compares a plan's results in poisoned outputs with the oracle, on two inputs. Throws WrongResult, CannotRun.
  virtual void check(const codegen::PlanPtr& plan) = 0;

  // Times a plan that check() has accepted in this row. Throws WrongResult if the timed launches left other results.
  virtual Timing time(const codegen::PlanPtr& plan) = 0;
};

// Called in the process that the timer is for. `device` is an index among the devices that CUDA shows. Throws
// std::runtime_error if there is none.
using MakeTimer = std::function<std::unique_ptr<Timer>(int device)>;

}  // namespace mhcjit::tuning
