// A problem's buckets from what was measured.
#pragma once

#include <string>
#include <vector>

#include "codegen/choose.h"

namespace mhcjit::codegen {

// The buckets of the first row that serves the problem: of the user's record, then of the shipped one, in each the row
// for the problem itself, then those of the same problem with another D, the nearest first, which differs by a quarter
// at most; of two with one D first that with gamma if the problem has it, and then the other. A row serves if all its
// plans are legal candidates. Empty where none does. `refused` receives why a row for
// the problem itself does not.
std::vector<Bucket> tuned_buckets(const Problem& problem, const TunedRecords& tuned,
                                  const std::vector<NamedCandidate>& candidates, std::string& refused);

}  // namespace mhcjit::codegen
