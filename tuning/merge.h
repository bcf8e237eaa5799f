// Merges the records of a sweep's shards into one.
#pragma once

#include <span>
#include <string>

#include <llvm/Support/Error.h>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// The parts of the merged record that are written.
enum class Parts {
  all,
  choices  // without trials: enough to use, but not to continue
};

// Makes `output`, which must not exist, from the trials in `inputs`, and decides anew. A row that several of them have
// is taken from the one with the most trials of it. Errors: IO, BAD_FILE (an input is no record, or not of the first
// one's kind; the output exists).
llvm::Expected<codegen::TunedRecord> merge_records(const std::string& output, std::span<const std::string> inputs,
                                                   Parts parts = Parts::all);

}  // namespace mhcjit::tuning
