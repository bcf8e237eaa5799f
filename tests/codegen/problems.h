// Problems, plans and constants, as the tests of codegen look at them.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/emit.h"
#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::codegen {

inline constexpr Architecture hopper = {9, 0, 'a'};
inline constexpr Architecture architectures[] = {{8, 0, 0},   {8, 6, 0},    {8, 9, 0},   {9, 0, 0},
                                                 {9, 0, 'a'}, {10, 0, 'a'}, {12, 0, 'a'}};
inline constexpr DType dtypes[] = {DType::bf16, DType::fp16, DType::fp32};

inline Problem forward_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true,
                          Architecture architecture = hopper) {
  return {&pre_forward, n, d, dtype, has_gamma, false, architecture};
}

// Problems of every operator: each n and each width of a load on one architecture, and a few shapes on all of them.
template <typename Visit>
void for_many_problems(Visit&& visit) {
  for (const Operator* op : operators()) {
    for (int n = 1; n <= max_n; ++n)
      for (const std::int64_t d : {1, 2, 12, 60, 127, 200, 1000, 1920, 4096, 5129, 8000, 1 << 24})
        for (const DType dtype : dtypes) visit(Problem{op, n, d, dtype, n % 2 == 0, false, hopper});
    if (op->has_dtype_flag(&Problem::has_fp32_dx))
      for (const int n : {1, 4, 16})
        for (const std::int64_t d : {1, 12, 1920, 5129})
          for (const DType dtype : dtypes) visit(Problem{op, n, d, dtype, n % 2 == 0, false, hopper, true});
    for (const Architecture& architecture : architectures)
      for (const int n : {1, 4, 8, 16})
        for (const std::int64_t d : {1, 127, 2560, 1 << 24})
          for (const DType dtype : dtypes) visit(Problem{op, n, d, dtype, true, false, architecture});
  }
}

// Calls visit(plan) for each legal candidate.
template <typename Visit>
void for_legal_plans(const Problem& problem, Visit&& visit) {
  for (const auto& [family, candidate] : candidates(problem, device_of(problem.architecture))) {
    if (!candidate.legal()) continue;
    SCOPED_TRACE(to_string(problem) + ": " + to_string(*candidate.plan));
    visit(*candidate.plan);
  }
}

inline std::vector<Candidate> candidates_of(const Problem& problem, std::string_view family) {
  std::vector<Candidate> list;
  for (NamedCandidate& named : candidates(problem, device_of(problem.architecture)))
    if (named.family == family) list.push_back(std::move(named.candidate));
  return list;
}

// The reasons for which the family's candidates are not legal.
inline std::set<std::string> rejections(const Problem& problem, std::string_view family) {
  std::set<std::string> reasons;
  for (const Candidate& candidate : candidates_of(problem, family))
    if (!candidate.legal()) reasons.insert(candidate.rejected);
  return reasons;
}

// The plan of T tokens, of those that are wanted.
inline PlanPtr plan_of(const Problem& problem, std::string wanted, std::int64_t tokens = 8192) {
  return bucket_of(llvm::cantFail(choose(problem, {.wanted = std::move(wanted)})), tokens).plan;
}

inline std::string refusal(const Problem& problem, std::string wanted) {
  auto chosen = choose(problem, {.wanted = std::move(wanted)});
  if (chosen) return "accepted";
  const Failure failure = take_failure(chosen.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
  return failure.text;
}

// Fails the test where the kernel has no such constant.
inline std::int64_t constant(const Kernel& kernel, std::string_view wanted) {
  for (const auto& [name, value] : kernel.constants)
    if (name == wanted) return std::visit([](auto one) { return static_cast<std::int64_t>(one); }, value);
  ADD_FAILURE() << kernel.name << " has no constant " << wanted;
  return 0;
}

// The kernels that the buckets need, each once.
inline std::set<std::string> texts_of(const Problem& problem, const std::vector<Bucket>& buckets) {
  std::set<std::string> texts;
  for (const Bucket& bucket : buckets)
    for (const Kernel& kernel : bucket.plan->kernels()) texts.insert(emit(problem, kernel));
  return texts;
}

}  // namespace mhcjit::codegen
