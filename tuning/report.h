// Prints a record for readers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// A line for each T of each choice: the plan's time beside the present plan's; then what was tried.
std::string table_of(const codegen::TunedRecord& record);

// The best time for each pair of values of two launch parameters, in multiples of the row's best. Nothing where no plan
// of the row that was measured has both.
std::string heat_map_of(const codegen::SizedProblem& shape, const std::vector<codegen::Trial>& trials,
                        std::string_view across, std::string_view down);

// The two parameters that took the most values in the trials; "" where there are fewer.
std::pair<std::string, std::string> widest_axes(const std::vector<codegen::Trial>& trials);

}  // namespace mhcjit::tuning
