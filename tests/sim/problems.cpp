#include "problems.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringRef.h>

#include "changed_plan.h"
#include "codegen/choose.h"
#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::sim {
namespace {

// The numbers of a name, each behind a letter.
using Numbers = std::map<char, int>;

struct Name {
  codegen::Problem problem;
  Numbers plan;
};

llvm::Error bad_name(std::string_view name) {
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "problem is '{}', allowed: "
                    "nN_dD_DTYPE[_gamma][_fp32dx]"
                    "[_cC_tT[_pP_gG]|_fF_kK|_wW_rR[_cC[_xX]]|_gR[_cC[_xX]]|_cC[_pP][_eE]|_lC[_pP][_eE]|_bB[_mM]][_sS]",
                    name);
}

bool take_number(llvm::StringRef part, llvm::StringRef letter, auto& number) {
  return part.consume_front(letter) && !part.getAsInteger(10, number);
}

llvm::Expected<Name> parse_name(std::string_view text, const codegen::Operator& op) {
  Name name;
  codegen::Problem& problem = name.problem;
  problem.op = &op;
  problem.batch_invariant = true;  // one plan

  const llvm::SmallVector<llvm::StringRef> split = llvm::to_vector(llvm::split(llvm::StringRef(text), '_'));
  llvm::ArrayRef<llvm::StringRef> parts = split;
  if (parts.size() < 3 || !take_number(parts[0], "n", problem.n) || !take_number(parts[1], "d", problem.d))
    return bad_name(text);
  auto dtype = codegen::parse_dtype(parts[2]);
  if (!dtype) return dtype.takeError();
  problem.dtype = *dtype;
  parts = parts.drop_front(3);
  const auto take_flag = [&](llvm::StringRef flag) {
    const bool is_set = !parts.empty() && parts.front() == flag;
    if (is_set) parts = parts.drop_front();
    return is_set;
  };
  problem.has_gamma = take_flag("gamma");
  problem.has_fp32_dx = take_flag("fp32dx");
  for (const llvm::StringRef part : parts) {
    int number = 0;
    if (part.empty() || !take_number(part, part.take_front(), number) ||
        !name.plan.emplace(part.front(), number).second)
      return bad_name(text);
  }
  // Clusters and products of warp groups are of one architecture alone.
  const bool needs_sm_90a = std::ranges::any_of(name.plan, [](const auto& number) {
    return std::string_view("acfgl").find(number.first) != std::string_view::npos;
  });
  problem.architecture = needs_sm_90a ? codegen::Architecture{9, 0, 'a'} : codegen::Architecture{8, 0, 0};
  if (auto error = codegen::check(problem)) return error;
  return name;
}

std::string wanted_backward_plan(const codegen::Problem& problem, Numbers& numbers) {
  for (const auto& [letter, uses_clusters] : {std::pair('c', 1), std::pair('l', 0)}) {
    const auto blocks = numbers.extract(letter);
    if (!blocks) continue;
    const auto panel = numbers.extract('p');
    const auto exchange = numbers.extract('e');
    const auto registers = numbers.extract('r');
    return fmt::format("one_pass uses_clusters={} group_blocks={} panel_columns={} exchange_slots={}{}", uses_clusters,
                       blocks.mapped(), panel ? panel.mapped() : 128 / codegen::bytes_of(problem.dtype),
                       exchange ? exchange.mapped() : 4,
                       registers ? fmt::format(" consumer_registers={}", registers.mapped()) : "");
  }
  if (const auto tiles = numbers.extract('b')) {
    const auto splits = numbers.extract('a');
    return fmt::format("portable tiles_per_warp={} splits_in_dx={}", tiles.mapped(), splits ? splits.mapped() : 1);
  }
  return "portable splits_in_dx=0";
}

// What choose() calls wanted.
std::string wanted_plan(const codegen::Problem& problem, Numbers& numbers) {
  const auto has = [&](char letter) { return numbers.contains(letter); };
  const auto take = [&](char letter, int otherwise = 0) {
    const auto number = numbers.extract(letter);
    return number ? number.mapped() : otherwise;
  };
  const auto clusters = [&] {
    const int compiled = take('c');
    return fmt::format("compiled_cluster_size={} cluster_size={}", compiled, take('x', compiled));
  };
  if (problem.op == &codegen::pre_backward) return wanted_backward_plan(problem, numbers);
  if (has('f') && has('p'))
    return fmt::format("few_tokens cluster_size={} panel_columns={} gemm_warps={}", take('f'), take('p'), take('g'));
  if (has('f')) return fmt::format("few_tokens cluster_size={} chunks_per_warp={}", take('f'), take('k'));
  if (has('t'))
    return fmt::format("one_pass cluster_size={} tokens_per_tile={} panel_columns={} row_groups={}", take('c'),
                       take('t'), take('p', 128 / codegen::bytes_of(problem.dtype)), take('g', 1));
  if (has('w'))
    return fmt::format("two_pass uses_wgmma=0 tokens_per_warp={} row_blocks={} {}", take('w'), take('r'), clusters());
  if (has('g')) return fmt::format("two_pass uses_wgmma=1 row_blocks={} {}", take('g'), clusters());
  // A block of many tokens takes as long to simulate however few there are.
  return "two_pass cluster_size=0 tokens_per_warp=16";
}

llvm::Expected<codegen::PlanPtr> find_plan(const codegen::Problem& problem, const codegen::Device& device,
                                           const std::string& wanted) {
  for (const auto& [family, candidate] : codegen::candidates(problem, device))
    if (candidate.legal() && codegen::is_wanted(*candidate.plan, wanted)) return candidate.plan;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: no legal plan is {}", to_string(problem), wanted);
}

class OtherStages final : public ChangedPlan {
 public:
  OtherStages(codegen::PlanPtr plan, int stages) : ChangedPlan(std::move(plan)) {
    for (codegen::Kernel& kernel : kernels_) {
      const codegen::Constant* constant = find_stages(kernel);
      if (constant == nullptr) continue;
      kernel.constants[constant - kernel.constants.data()].value = std::int64_t{stages};
      kernel.dynamic_smem_bytes = smem_bytes_of_template;
    }
  }
};

}  // namespace

const codegen::Constant* find_stages(const codegen::Kernel& kernel) {
  const auto found = std::ranges::find_if(kernel.constants, [](const codegen::Constant& constant) {
    return constant.name == "pipeline_stages" || constant.name == "stages";
  });
  return found == kernel.constants.end() ? nullptr : &*found;
}

llvm::Expected<codegen::PlanPtr> parse_plan(std::string_view text, const codegen::Operator& op) {
  auto name = parse_name(text, op);
  if (!name) return name.takeError();
  const auto stages = name->plan.extract('s');
  codegen::Device device = codegen::device_of(name->problem.architecture);
  if (const auto multiprocessors = name->plan.extract('m'))
    device = device.with_multiprocessors(multiprocessors.mapped());
  const std::string wanted = wanted_plan(name->problem, name->plan);
  if (!name->plan.empty()) return bad_name(text);
  auto plan = find_plan(name->problem, device, wanted);
  if (!plan || !stages) return plan;
  return std::make_shared<OtherStages>(std::move(*plan), stages.mapped());
}

}  // namespace mhcjit::sim
