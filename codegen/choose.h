// Chooses the plans that serve a problem: up to so many tokens this one, beyond them another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/plan.h"
#include "codegen/tuned_record.h"

namespace mhcjit::codegen {

// What a choice of plans rests on: the estimated costs, or a row that was measured.
enum class Source { estimate, shipped, record };
std::string_view to_string(Source source);

// How near a row is to what was asked.
enum class Grade { none, exact, nearest_d, other_device, other_gamma };
std::string_view to_string(Grade grade);

struct Origin {
  Source source = Source::estimate;
  std::int64_t d = 0;          // of the row, which may be near the problem's
  bool has_gamma = false;      // of the row, which may be other than the problem's
  TunedRecordPtr record = {};  // that has the row
  std::string refused = {};    // why measured rows for the very problem do not serve; "": there are none

  // On a device of this name with as many multiprocessors.
  Grade grade(const Problem& problem, std::string_view device, int multiprocessors) const;
};

// A range of T and its plan. All buckets of a problem have one origin.
struct Bucket {
  std::int64_t max_tokens = 0;
  PlanPtr plan;
  Origin origin = {};
};

// SHA-256 over the problem and its buckets, hexadecimal: where it is the same, so are the plans.
std::string digest_of(const Problem& problem, const std::vector<Bucket>& buckets);

// Where measured rows come from; nullptr: from nowhere.
struct TunedRecords {
  TunedRecordPtr record = {};  // the user's, which comes first
  TunedRecordPtr shipped = {};
};

// In ChooseOptions::wanted, in place of a family: no plan that a device without clusters cannot run.
inline constexpr std::string_view without_clusters = "clusters=0";

struct ChooseOptions {
  // The plans that may be chosen: a family, then parameters that they must have, "FAMILY cluster_size=0";
  // without_clusters, alone or among them; "": all.
  std::string wanted = {};
  // A problem has up to three plans. They have at most so many kernels together, unless one plan alone has more.
  std::size_t max_kernels = 5;
  // Measured rows, which come before the estimate where all plans are wanted.
  TunedRecords tuned = {};
};

// The buckets of a problem, in rising order of T; the last one's max_tokens is codegen::max_tokens. The one function
// that decides what is compiled: dispatch, warm-up and the tools all ask it. Without a measured row, each range of T
// has the cheapest plan of a small set: the one that is best for many tokens, and what gains the most for few. The
// plans of a batch-invariant problem add a token's sums in the same order. Errors: INVALID_ARGUMENT (no plan is legal,
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

// As to_string() names its plan, legal or not.
std::string name_of(const NamedCandidate& candidate);

// True if `wanted`, which has passed check_wanted(), allows the plan; "" allows all.
bool is_wanted(const Plan& plan, std::string_view wanted);

// Success when `wanted` names a family of the operator and is well formed, or INVALID_ARGUMENT.
llvm::Error check_wanted(std::string_view wanted);

}  // namespace mhcjit::codegen
