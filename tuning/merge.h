// Records of a sweep's shards as one.
#pragma once

#include <span>
#include <string>

#include <llvm/Support/Error.h>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// What is written of the merged record.
enum class Parts {
  all,
  choices  // and no trials: enough to use, not to go on with
};

// Makes `output`, which is not there yet, of the trials in `inputs`, and decides anew. A row that several of them have
// is taken from the one that has the most trials of it. Errors: IO, BAD_FILE (an input is no record, or not of the
// first one's kind; the output is there).
llvm::Expected<codegen::TunedRecord> merge_records(const std::string& output, std::span<const std::string> inputs,
                                                   Parts parts = Parts::all);

}  // namespace mhcjit::tuning
