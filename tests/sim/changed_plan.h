// A plan that is another one but for what a derived class changes.
#pragma once

#include <string>
#include <utility>

#include "codegen/plan.h"

namespace mhcjit::sim {

class ChangedPlan : public codegen::Plan {
 public:
  explicit ChangedPlan(codegen::PlanPtr plan)
      : Plan(plan->problem(), plan->family(), plan->parameters()), plan_(std::move(plan)) {
    kernels_ = plan_->kernels();
  }

  codegen::Grid grid(std::size_t kernel, std::int64_t tokens, const codegen::Device& device) const override {
    return plan_->grid(kernel, tokens, device);
  }
  std::string order() const override { return plan_->order(); }
  double cost_us(std::int64_t tokens, const codegen::Device& device) const override {
    return plan_->cost_us(tokens, device);
  }
  std::size_t workspace_bytes(std::int64_t tokens) const override { return plan_->workspace_bytes(tokens); }
  std::size_t zeroed_bytes(std::int64_t tokens) const override { return plan_->zeroed_bytes(tokens); }
  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    plan_->fill_work(tokens, workspace, work);
  }

 private:
  const codegen::PlanPtr plan_;
};

}  // namespace mhcjit::sim
