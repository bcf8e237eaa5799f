#include "tuning/compile_ahead.h"

#include <unistd.h>

namespace mhcjit::tuning {

CompileAhead::CompileAhead(const Compiler& compiler, std::vector<codegen::PlanPtr> plans, unsigned threads)
    : compiler_(compiler), plans_(std::move(plans)) {
  for (const codegen::PlanPtr& plan : plans_) results_[plan];
  while (threads_.count() < threads && threads_.start([this] { work(); })) {
  }
}

CompileAhead::~CompileAhead() {
  next_ = plans_.size();
  threads_.join();
}

Compiled CompileAhead::get(const codegen::PlanPtr& plan) {
  std::unique_lock lock(mutex_);
  const auto found = results_.find(plan);
  if (found != results_.end() && threads_.count() > 0) {
    changed_.wait(lock, [&] { return found->second.has_value(); });
    return *found->second;
  }
  lock.unlock();
  return compiler_.compile(plan);
}

void CompileAhead::work() {
  // The timed process needs a core whenever it asks for one.
  [[maybe_unused]] const int priority = ::nice(10);
  for (std::size_t i = next_++; i < plans_.size(); i = next_++) {
    const codegen::PlanPtr& plan = plans_[i];
    if (i == 0 || plans_[i - 1]->problem() != plan->problem()) compiler_.compile_inputs(plan->problem());
    Compiled compiled = compiler_.compile(plan);
    const std::lock_guard lock(mutex_);
    results_[plan] = std::move(compiled);
    changed_.notify_all();
  }
}

}  // namespace mhcjit::tuning
