#include "tuning/space.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "bench/floor.h"
#include "codegen/choose.h"
#include "codegen/operators.h"

namespace mhcjit::tuning {
namespace {

using codegen::PlanPtr;

std::vector<PlanPtr> legal_plans(const codegen::Problem& problem) {
  std::vector<PlanPtr> plans;
  for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
    if (candidate.legal()) plans.push_back(std::move(candidate.plan));
  return plans;
}

Row row_of(const codegen::SizedProblem& shape, const std::vector<PlanPtr>& plans, const codegen::Plan& present,
           const Pruning& pruning) {
  const codegen::Device& device = codegen::device_of(shape.problem.architecture);
  const auto cost = [&](const PlanPtr& plan) { return plan->cost_us(shape.tokens, device); };
  Row row = {shape, plans};
  std::ranges::stable_sort(row.candidates, {}, cost);
  const double most = pruning.margin * cost(row.candidates.front());
  const auto is_out = [&](const PlanPtr& plan) { return cost(plan) > most; };
  const auto first_out = std::ranges::find_if(row.candidates, is_out) - row.candidates.begin();
  const std::size_t kept = std::clamp<std::size_t>(static_cast<std::size_t>(first_out), 1, pruning.most);
  const std::string name = codegen::to_string(present);
  const auto is_present = [&](const PlanPtr& plan) { return codegen::to_string(*plan) == name; };
  const auto found = std::ranges::find_if(row.candidates, is_present);
  row.present = std::min(static_cast<std::size_t>(found - row.candidates.begin()), kept);
  if (row.present == kept) std::swap(row.candidates[kept], *found);
  row.candidates.resize(std::max(kept, row.present + 1));
  row.pruned = plans.size() - row.candidates.size();
  return row;
}

}  // namespace

llvm::Expected<std::vector<Row>> rows_of(std::span<const codegen::SizedProblem> shapes, const Pruning& pruning) {
  struct Known {
    std::vector<codegen::Bucket> present;
    std::vector<PlanPtr> plans;
  };
  std::map<codegen::Problem, Known> known;
  std::vector<Row> rows;
  for (const codegen::SizedProblem& shape : shapes) {
    const auto [found, is_new] = known.try_emplace(shape.problem);
    if (is_new) {
      auto present = codegen::choose(shape.problem);
      if (!present) return present.takeError();
      found->second = {std::move(*present), legal_plans(shape.problem)};
    }
    const auto& [present, plans] = found->second;
    rows.push_back(row_of(shape, plans, *codegen::bucket_of(present, shape.tokens).plan, pruning));
  }
  return rows;
}

double floor_us(const Row& row, double copy_gigabytes_per_second) {
  return static_cast<double>(bench::floor_bytes(row.shape.problem, row.shape.tokens)) / copy_gigabytes_per_second *
         1e-3;
}

std::string space_digest(const codegen::Architecture& architecture) {
  using codegen::DType;
  struct Shape {
    int n;
    std::int64_t d;
    DType dtype;
  };
  constexpr Shape shapes[] = {{4, 128, DType::bf16},  {4, 2560, DType::bf16}, {4, 8192, DType::bf16},
                              {4, 5129, DType::bf16}, {4, 4096, DType::fp32}, {8, 2560, DType::bf16}};
  llvm::SHA256 hash;
  for (const codegen::Operator* op : codegen::operators())
    for (const auto& [n, d, dtype] : shapes) {
      const codegen::Problem problem = {op, n, d, dtype, false, false, architecture};
      for (const auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(architecture)))
        hash.update(fmt::format("{} {} {}: {}\n", codegen::to_string(problem), family,
                                codegen::to_string(candidate.parameters), candidate.rejected));
    }
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

}  // namespace mhcjit::tuning
