#include "codegen/tuned_choice.h"

#include <algorithm>
#include <tuple>

#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

using CandidatesByName = llvm::StringMap<const Candidate*>;

CandidatesByName by_name(const std::vector<NamedCandidate>& candidates) {
  CandidatesByName map;
  for (const NamedCandidate& one : candidates) map.try_emplace(name_of(one), &one.candidate);
  return map;
}

// How many times as large the larger D is.
double ratio(std::int64_t a, std::int64_t b) {
  return static_cast<double>(std::max(a, b)) / static_cast<double>(std::min(a, b));
}

// The record's rows for the problem, the nearest first.
std::vector<const TunedChoice*> rows_for(const Problem& problem, const TunedRecord& record) {
  constexpr double farthest = 1.25;
  std::vector<const TunedChoice*> rows;
  for (const TunedChoice& row : record.choices) {
    Problem like = row.problem;
    like.d = problem.d;
    like.has_gamma = problem.has_gamma;
    if (like == problem && ratio(row.problem.d, problem.d) <= farthest) rows.push_back(&row);
  }
  std::ranges::sort(rows, {}, [&](const TunedChoice* row) {
    const Problem& near = row->problem;
    return std::tuple(ratio(near.d, problem.d), near.d, near.has_gamma != problem.has_gamma);
  });
  return rows;
}

// The row's buckets. Errors: INVALID_ARGUMENT, with the plan that is not legal, or not beside the others.
llvm::Expected<std::vector<Bucket>> buckets_of(const TunedChoice& row, const CandidatesByName& candidates,
                                               const Origin& origin) {
  std::vector<Bucket> buckets;
  for (const auto& [max_tokens, plan] : row.buckets) {
    const Candidate* candidate = candidates.lookup(plan);
    if (candidate == nullptr)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "plan '{}': the families list no such plan", plan);
    if (!candidate->legal())
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "plan '{}': {}", plan, candidate->rejected);
    buckets.push_back({max_tokens, candidate->plan, origin});
    if (row.problem.batch_invariant && candidate->plan->order() != buckets.front().plan->order())
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "plan '{}': it adds a token's sums in another order than '{}'",
                        plan, row.buckets.front().plan);
  }
  return buckets;
}

}  // namespace

std::vector<Bucket> tuned_buckets(const Problem& problem, const TunedRecords& tuned,
                                  const std::vector<NamedCandidate>& candidates, std::string& refused) {
  CandidatesByName named;  // made where there is a row
  for (const auto& [source, record] : {std::pair(Source::record, tuned.record), {Source::shipped, tuned.shipped}}) {
    if (record == nullptr) continue;
    for (const TunedChoice* row : rows_for(problem, *record)) {
      if (named.empty()) named = by_name(candidates);
      auto buckets = buckets_of(*row, named, {source, row->problem.d, row->problem.has_gamma, record, refused});
      if (buckets) return std::move(*buckets);
      const Failure failure = take_failure(buckets.takeError());
      if (row->problem == problem)
        refused += fmt::format("{}{} row: {}", refused.empty() ? "" : "; ", to_string(source), failure.text);
    }
  }
  return {};
}

}  // namespace mhcjit::codegen
