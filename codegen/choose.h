// Chooses the plans that serve a problem: up to so many tokens this one, beyond them another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/plan.h"

namespace mhcjit::codegen {

// A range of T and its plan.
struct Bucket {
  std::int64_t max_tokens = 0;
  PlanPtr plan;
};

// In ChooseOptions::wanted, in place of a family: no plan that a device without clusters cannot run.
inline constexpr std::string_view without_clusters = "clusters=0";

struct ChooseOptions {
  // The plans that may be chosen: a family, then parameters that they must have, "FAMILY cluster_size=0";
  // without_clusters, alone or among them; "": all.
  std::string wanted = {};
  // A problem has up to three plans. They have at most so many kernels together, unless one plan alone has more.
  std::size_t max_kernels = 5;
};

// The buckets of a problem, in rising order of T; the last one's max_tokens is codegen::max_tokens. The one function
// that decides what is compiled: dispatch, warm-up and the tools all ask it. Each range of T has the cheapest plan of a
// small set: the one that is best for many tokens, and what gains the most for few. A batch-invariant problem has one
// bucket, since a token's sums are added in another order by another plan. Errors: INVALID_ARGUMENT (no plan is legal,
// or none that is wanted, with the reasons).
llvm::Expected<std::vector<Bucket>> choose(const Problem& problem, const Device& device,
                                           const ChooseOptions& options = {});

// For the device that stands for the problem's architecture.
llvm::Expected<std::vector<Bucket>> choose(const Problem& problem, const ChooseOptions& options = {});

// The plan of T tokens.
inline const Bucket& bucket_of(const std::vector<Bucket>& buckets, std::int64_t tokens) {
  std::size_t i = 0;
  while (tokens > buckets[i].max_tokens) ++i;
  return buckets[i];
}

// All candidates of the operator's families, each with its family's name.
struct NamedCandidate {
  std::string_view family;
  Candidate candidate;
};
std::vector<NamedCandidate> candidates(const Problem& problem, const Device& device);

// True if `wanted`, which has passed check_wanted(), allows the plan; "" allows all.
bool is_wanted(const Plan& plan, std::string_view wanted);

// Success when `wanted` names a family of the operator and is well formed, or INVALID_ARGUMENT.
llvm::Error check_wanted(std::string_view wanted);

}  // namespace mhcjit::codegen
