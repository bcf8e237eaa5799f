#include "tests/tuning/fake_kit.h"

#include <chrono>
#include <cstdlib>
#include <thread>

#include <unistd.h>

#include <fmt/format.h>
#include <llvm/Support/xxhash.h>

namespace mhcjit::test {
namespace {

// From 0 to 1, the same in every process.
double share_of(const std::string& text) {
  return static_cast<double>(llvm::xxh3_64bits(llvm::StringRef(text)) % 10007) / 10006;
}

class FakeTimer final : public tuning::Timer {
 public:
  FakeTimer(FakeDevice device, int place) : device_(std::move(device)) {
    if (place >= device_.count) throw std::runtime_error(fmt::format("there are {} fake devices", device_.count));
  }

  tuning::Machine machine() override { return {device_.name, {9, 0, 'a'}, 132, "13.0", 4000.0}; }

  void begin(const tuning::Row& row) override {
    tokens_ = row.shape.tokens;
    if (tokens_ == device_.tokens_without_inputs) throw std::runtime_error("no room for the inputs");
  }

  void check(const codegen::PlanPtr& plan) override {
    const auto told = device_.plans.find(codegen::to_string(*plan));
    if (told == device_.plans.end()) return;
    switch (told->second) {
      case Behaviour::wrong: throw tuning::WrongResult("h_in: error 1");
      case Behaviour::cannot_run: throw tuning::CannotRun("no room for its clusters");
      case Behaviour::faults: throw std::runtime_error("CUDA_ERROR_ILLEGAL_ADDRESS");
      case Behaviour::crashes: std::abort();
      case Behaviour::hangs:
        while (true) ::pause();
      case Behaviour::spills:
      case Behaviour::does_not_compile: std::abort();  // it must not be run
    }
  }

  tuning::Timing time(const codegen::PlanPtr& plan) override {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(device_.milliseconds));
    const double us = fake_us(device_, *plan, tokens_);
    const double noise = device_.noise * share_of(fmt::format("{} {}", codegen::to_string(*plan), ++trials_));
    return {us * (1 + noise), us * device_.noise / 2, 20, 1980};
  }

 private:
  const FakeDevice device_;
  std::int64_t tokens_ = 0;
  int trials_ = 0;
};

}  // namespace

double fake_us(const FakeDevice& device, const codegen::Plan& plan, std::int64_t tokens) {
  const double more = device.spread_of_plans * share_of(fmt::format("{} {}", codegen::to_string(plan), tokens));
  return plan.cost_us(tokens, codegen::device_of(plan.problem().architecture)) * (1 + more);
}

tuning::Kit fake_kit(const FakeDevice& device) {
  const auto compile = [device](const codegen::PlanPtr& plan) -> tuning::Compiled {
    const auto told = device.plans.find(codegen::to_string(*plan));
    if (told == device.plans.end()) return {};
    if (told->second == Behaviour::does_not_compile)
      return {Failure{MHCJIT_ERROR_COMPILATION_FAILED, "error: no such thing"}};
    return {.spill_bytes = told->second == Behaviour::spills ? 8 : 0};
  };
  return {[device](int place) { return std::make_unique<FakeTimer>(device, place); },
          [compile] { return tuning::Compiler{compile, [](const codegen::Problem&) {}}; },
          [](const codegen::Architecture&) -> llvm::Expected<std::string> { return "13.0"; }};
}

}  // namespace mhcjit::test
