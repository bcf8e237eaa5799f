#include "codegen/choose.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/SHA256.h>

#include "codegen/emit.h"
#include "codegen/operators.h"
#include "codegen/tuned_choice.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

// From this T on the best plan serves: it is a usual step of training or prefill.
constexpr std::int64_t many_tokens = 8192;
// Plans for fewer tokens are weighed by their times at these T.
constexpr std::array<std::int64_t, 13> fewer_tokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

// A family and parameters that a plan must have.
struct Wanted {
  std::string_view family;  // "": any
  std::vector<std::pair<std::string_view, std::int64_t>> parameters;
  bool without_clusters = false;

  bool allows(const Plan& plan) const {
    if (without_clusters && plan.uses_clusters()) return false;
    if (family.empty()) return true;
    return plan.family() == family && std::ranges::all_of(parameters, [&](const auto& parameter) {
             return plan.parameter(parameter.first) == parameter.second;
           });
  }
};

llvm::Expected<Wanted> parse_wanted(std::string_view text) {
  Wanted wanted;
  for (const llvm::StringRef word : llvm::split(llvm::StringRef(text), ' ')) {
    if (word.empty()) continue;
    if (word == llvm::StringRef(without_clusters)) {
      wanted.without_clusters = true;
      continue;
    }
    if (wanted.family.empty()) {
      wanted.family = word;
      continue;
    }
    const auto [name, number] = word.split('=');
    std::int64_t value = 0;
    if (name.empty() || number.getAsInteger(10, value))
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                        "plan is '{}', allowed: a family, parameters of it as NAME=NUMBER, and {}", text,
                        without_clusters);
    wanted.parameters.emplace_back(name, value);
  }
  return wanted;
}

double cost(const PlanPtr& plan, std::int64_t tokens, const Device& device) { return plan->cost_us(tokens, device); }

// Numbers the kernels of the problem's plans. Kernels with the same text are one cubin and have one number. Each
// kernel's text is made once.
class KernelNumbers {
 public:
  explicit KernelNumbers(const Problem& problem) : problem_(problem) {}

  std::size_t operator()(const Kernel& kernel) {
    const auto [known, is_new] = numbers_.try_emplace(&kernel, texts_.size());
    if (is_new) known->second = texts_.try_emplace(emit(problem_, kernel), texts_.size()).first->second;
    return known->second;
  }

 private:
  const Problem& problem_;
  std::map<const Kernel*, std::size_t> numbers_;
  std::map<std::string, std::size_t> texts_;
};

// Plans that share out the range of T. The one for many tokens is first.
class Choice {
 public:
  Choice(const Device& device, std::vector<PlanPtr> plans) : device_(device), plans_(std::move(plans)) {}

  const PlanPtr& best(std::int64_t tokens) const {
    if (tokens >= many_tokens) return plans_.front();
    return *std::ranges::min_element(plans_, {}, [&](const PlanPtr& plan) { return cost(plan, tokens, device_); });
  }

  std::vector<Bucket> buckets(const Origin& origin) const {
    std::vector<Bucket> list;
    for (std::int64_t first = 1; first <= max_tokens;) {
      const std::int64_t last = last_like(first);
      list.push_back({last, best(first), origin});
      first = last + 1;
    }
    return list;
  }

 private:
  // Returns the last T of the range from `first` on that has one plan. Costs rise in steps and linearly, so the search
  // looks at points that lie half as far apart as the ranges are large, and at powers of two.
  std::int64_t last_like(std::int64_t first) const {
    const PlanPtr& plan = best(first);
    std::int64_t known = first;
    while (known < many_tokens) {
      const auto power = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(known))) * 2;
      const std::int64_t next = std::min(power, known + std::max<std::int64_t>(1, known / 2));
      if (best(next) != plan) return last_before(plan, known, next);
      known = next;
    }
    return max_tokens;
  }

  // The boundary lies between a T that has the plan and one that has another.
  std::int64_t last_before(const PlanPtr& plan, std::int64_t known, std::int64_t other) const {
    while (other - known > 1) {
      const std::int64_t middle = known + (other - known) / 2;
      (best(middle) == plan ? known : other) = middle;
    }
    return known;
  }

  const Device& device_;
  std::vector<PlanPtr> plans_;
};

// The logarithms of times at each of the fewer tokens. Their sum is what a set of plans is weighed by.
using Logs = std::array<double, fewer_tokens.size()>;

Logs logs_of(const PlanPtr& plan, const Device& device) {
  Logs logs;
  for (std::size_t i = 0; i < logs.size(); ++i) logs[i] = std::log(cost(plan, fewer_tokens[i], device));
  return logs;
}

// Returns those of two plans, or sets, that serve together.
Logs least(const Logs& one, const Logs& other) {
  Logs logs;
  for (std::size_t i = 0; i < logs.size(); ++i) logs[i] = std::min(one[i], other[i]);
  return logs;
}

double sum(const Logs& logs) { return std::accumulate(logs.begin(), logs.end(), 0.0); }

// Plans that serve a problem together. The one for many tokens is first.
struct Set {
  std::vector<PlanPtr> plans;
  double weight = HUGE_VAL;
};

// Returns the plan for many tokens with the one or the two others that weigh the least beside it, all of at most so
// many kernels.
Set with_few(const PlanPtr& many, const std::vector<PlanPtr>& plans, const std::vector<Logs>& logs,
             KernelNumbers& number, std::size_t max_kernels, const Device& device) {
  static_assert(max_plans == 3);
  // A plan must gain this much, beside the others, to be worth its compilation: 5 % at two T. At n = 4, D 4096 tiles of
  // half the tokens gain 7 % at T = 256.
  constexpr double worth_a_plan = 0.1;
  const auto fit = [&](std::initializer_list<const Plan*> together) {
    std::set<std::size_t> kernels;
    for (const Plan* plan : together)
      for (const Kernel& kernel : plan->kernels()) kernels.insert(number(kernel));
    return kernels.size() <= max_kernels;
  };
  const Logs alone = logs_of(many, device);
  Set best = {{many}, sum(alone)};
  double wanted = best.weight - worth_a_plan;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const double weight = sum(least(alone, logs[i]));
    if (weight >= wanted || !fit({many.get(), plans[i].get()})) continue;
    best = {{many, plans[i]}, weight};
    wanted = weight;
  }
  if (best.plans.size() == 1) return best;
  wanted = best.weight - worth_a_plan;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const Logs first = least(alone, logs[i]);
    for (std::size_t k = i + 1; k < plans.size(); ++k) {
      const double weight = sum(least(first, logs[k]));
      if (weight >= wanted || !fit({many.get(), plans[i].get(), plans[k].get()})) continue;
      best = {{many, plans[i], plans[k]}, weight};
      wanted = weight;
    }
  }
  return best;
}

// Returns the best plan for many tokens for each number of kernels. The fewer kernels it has, the more are left for few
// tokens, whose gain is larger than the loss at many. That loss is at most what the regret test allows.
std::vector<PlanPtr> plans_for_many(const std::vector<PlanPtr>& plans, const Device& device) {
  constexpr double may_lose = 1.03;
  std::vector<PlanPtr> best;  // by number of kernels
  double least = HUGE_VAL;
  for (const PlanPtr& plan : plans) {
    const double time = cost(plan, many_tokens, device);
    least = std::min(least, time);
    const std::size_t kernels = plan->kernels().size();
    if (best.size() <= kernels) best.resize(kernels + 1);
    if (!best[kernels] || time < cost(best[kernels], many_tokens, device)) best[kernels] = plan;
  }
  std::erase_if(best, [&](const PlanPtr& plan) { return !plan || cost(plan, many_tokens, device) > may_lose * least; });
  return best;
}

}  // namespace

std::vector<NamedCandidate> candidates(const Problem& problem, const Device& device) {
  std::vector<NamedCandidate> list;
  for (const Family* family : problem.op->families)
    for (Candidate& candidate : family->candidates(problem, device))
      list.push_back({family->name, std::move(candidate)});
  return list;
}

std::string name_of(const NamedCandidate& candidate) {
  return plan_name(candidate.family, candidate.candidate.parameters);
}

llvm::Expected<std::vector<Bucket>> choose(const Problem& problem, const Device& device, const ChooseOptions& options) {
  if (auto error = check(problem)) return error;
  auto wanted = parse_wanted(options.wanted);
  if (!wanted) return wanted.takeError();
  auto all = candidates(problem, wanted->without_clusters ? device.without_clusters() : device);
  Origin origin;
  if (wanted->family.empty() && !wanted->without_clusters)
    if (auto buckets = tuned_buckets(problem, options.tuned, all, origin.refused); !buckets.empty()) return buckets;
  std::vector<PlanPtr> plans;
  std::string reason = "the operator has no such family";
  for (auto& [family, candidate] : all) {
    if (candidate.legal()) {
      if (wanted->allows(*candidate.plan)) plans.push_back(std::move(candidate.plan));
    } else if (wanted->family.empty() || family == wanted->family) {
      reason = candidate.rejected;
    }
  }
  if (plans.empty())
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: no plan {} fits: {}", to_string(problem), options.wanted,
                      reason);

  if (problem.batch_invariant) {
    const std::string order = (*std::ranges::min_element(plans, {}, [&](const PlanPtr& one) {
                                return cost(one, many_tokens, device);
                              }))->order();
    std::erase_if(plans, [&](const PlanPtr& plan) { return plan->order() != order; });
  }
  KernelNumbers number(problem);
  std::vector<Logs> logs;
  for (const PlanPtr& plan : plans) logs.push_back(logs_of(plan, device));
  Set best;
  for (const PlanPtr& many : plans_for_many(plans, device)) {
    Set set = with_few(many, plans, logs, number, options.max_kernels, device);
    set.weight += std::log(cost(many, many_tokens, device));
    if (set.weight < best.weight) best = std::move(set);
  }
  return Choice(device, std::move(best.plans)).buckets(origin);
}

llvm::Expected<std::vector<Bucket>> choose(const Problem& problem, const ChooseOptions& options) {
  return choose(problem, device_of(problem.architecture), options);
}

std::string_view to_string(Source source) {
  constexpr std::array<std::string_view, 3> names = {"estimate", "shipped", "record"};
  return names[static_cast<std::size_t>(source)];
}

std::string_view to_string(Grade grade) {
  constexpr std::array<std::string_view, 5> names = {"none", "exact", "nearest_d", "other_device", "other_gamma"};
  return names[static_cast<std::size_t>(grade)];
}

Grade Origin::grade(const Problem& problem, std::string_view device, int multiprocessors) const {
  if (record == nullptr) return Grade::none;
  const RecordHeader& made_on = record->header;
  if (made_on.device != device || made_on.multiprocessors != multiprocessors) return Grade::other_device;
  if (has_gamma != problem.has_gamma) return Grade::other_gamma;
  return d == problem.d ? Grade::exact : Grade::nearest_d;
}

std::string digest_of(const Problem& problem, const std::vector<Bucket>& buckets) {
  llvm::SHA256 hash;
  hash.update(to_string(problem) + "\n");
  for (const Bucket& bucket : buckets) hash.update(fmt::format("{} {}\n", bucket.max_tokens, to_string(*bucket.plan)));
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

bool is_wanted(const Plan& plan, std::string_view text) {
  auto wanted = parse_wanted(text);
  if (wanted) return wanted->allows(plan);
  llvm::consumeError(wanted.takeError());
  return false;
}

llvm::Error check_wanted(std::string_view text) {
  auto wanted = parse_wanted(text);
  if (!wanted) return wanted.takeError();
  std::set<std::string_view> names;
  for (const Operator* op : operators())
    for (const Family* family : op->families) names.insert(family->name);
  if (wanted->family.empty() || names.contains(wanted->family)) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "family is '{}', allowed: {}", wanted->family,
                    fmt::join(names, ", "));
}

}  // namespace mhcjit::codegen
