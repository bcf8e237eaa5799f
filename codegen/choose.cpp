#include "codegen/choose.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
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
// Plans for fewer tokens are weighed by the product of their times at these T.
constexpr std::array<std::int64_t, 6> fewer_tokens = {1, 4, 16, 64, 256, 1024};

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
  Choice(const Device& device, KernelNumbers& number, PlanPtr many) : device_(device), number_(number) {
    add(std::move(many));
  }

  void add(PlanPtr plan) {
    for (const Kernel& kernel : plan->kernels()) kernels_.insert(number_(kernel));
    plans_.push_back(std::move(plan));
  }

  const PlanPtr& best(std::int64_t tokens) const {
    if (tokens >= many_tokens) return plans_.front();
    return *std::ranges::min_element(plans_, {}, [&](const PlanPtr& plan) { return cost(plan, tokens, device_); });
  }

  // The logarithm of the product of the times.
  double score() const {
    double sum = std::log(cost(plans_.front(), many_tokens, device_));
    for (const std::int64_t tokens : fewer_tokens) sum += std::log(cost(best(tokens), tokens, device_));
    return sum;
  }

  // Returns by how much score() would fall.
  double gain(const PlanPtr& plan) const {
    double sum = 0.0;
    for (const std::int64_t tokens : fewer_tokens)
      sum += std::max(0.0, std::log(cost(best(tokens), tokens, device_) / cost(plan, tokens, device_)));
    return sum;
  }

  std::size_t plans() const { return plans_.size(); }
  std::size_t kernels() const { return kernels_.size(); }
  std::size_t new_kernels(const Plan& plan) const {
    std::set<std::size_t> more;
    for (const Kernel& kernel : plan.kernels())
      if (const std::size_t number = number_(kernel); !kernels_.contains(number)) more.insert(number);
    return more.size();
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
  // looks at points that lie half as far apart as the ranges are large.
  std::int64_t last_like(std::int64_t first) const {
    const PlanPtr& plan = best(first);
    std::int64_t known = first;
    while (known < many_tokens) {
      const std::int64_t next = std::min(many_tokens, known + std::max<std::int64_t>(1, known / 2));
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
  KernelNumbers& number_;
  std::vector<PlanPtr> plans_;
  std::set<std::size_t> kernels_;
};

// Adds the plan that gains the most at few tokens, again and again, while there are plans and kernels left.
void add_few(Choice& choice, const std::vector<PlanPtr>& plans, std::size_t max_kernels) {
  // A plan must gain this much of the logarithm of the product of six times, beside the others, to be worth its
  // compilation. At n = 4, D 4096 tiles of half the tokens gain 7 % at T = 256.
  constexpr double worth_a_plan = 0.05;
  while (choice.plans() < max_plans) {
    std::vector<std::pair<double, const PlanPtr*>> gains;
    for (const PlanPtr& plan : plans)
      if (const double gain = choice.gain(plan); gain > worth_a_plan) gains.emplace_back(gain, &plan);
    std::ranges::stable_sort(gains, std::greater<>(), [](const auto& one) { return one.first; });
    const auto added = std::ranges::find_if(
        gains, [&](const auto& one) { return choice.kernels() + choice.new_kernels(**one.second) <= max_kernels; });
    if (added == gains.end()) return;
    choice.add(*added->second);
  }
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
  std::vector<Choice> choices;
  for (const PlanPtr& many : plans_for_many(plans, device)) {
    choices.emplace_back(device, number, many);
    add_few(choices.back(), plans, options.max_kernels);
  }
  return std::ranges::min_element(choices, {}, &Choice::score)->buckets(origin);
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
