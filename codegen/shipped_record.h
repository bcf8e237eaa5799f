// The measured choices that the library comes with: codegen/tuned, a record for each architecture.
#pragma once

#include <map>

#include "codegen/tuned_record.h"

namespace mhcjit::codegen {

// Read at the first call.
const std::map<Architecture, TunedRecordPtr>& shipped_records();

// nullptr where the library ships none.
TunedRecordPtr shipped_record(const Architecture& architecture);

}  // namespace mhcjit::codegen
