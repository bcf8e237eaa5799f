#include "codegen/plan.h"

#include <algorithm>

#include <fmt/format.h>

namespace mhcjit::codegen {

std::vector<Constant> with_shape(const Problem& problem, std::vector<Constant> more) {
  std::vector<Constant> constants = {
      {"n", problem.n}, {"d", problem.d}, {"rows", problem.rows()}, {"columns", problem.columns()}};
  constants.insert(constants.end(), more.begin(), more.end());
  return constants;
}

std::optional<std::int64_t> Plan::parameter(std::string_view name) const {
  for (const auto& [known, value] : parameters_)
    if (known == name) return value;
  return std::nullopt;
}

bool Plan::uses_clusters() const {
  return std::ranges::any_of(
      kernels_, [](const Kernel& kernel) { return kernel.max_cluster_size != 0 || kernel.is_cooperative; });
}

std::string Plan::order() const { return to_string(*this); }

std::string to_string(const Parameters& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

std::string plan_name(std::string_view family, const Parameters& parameters) {
  return parameters.empty() ? std::string(family) : fmt::format("{} {}", family, to_string(parameters));
}

std::string to_string(const Plan& plan) { return plan_name(plan.family(), plan.parameters()); }

}  // namespace mhcjit::codegen
