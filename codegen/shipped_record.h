// The measured choices that the library comes with: codegen/tuned, a record for each architecture.
#pragma once

#include "codegen/tuned_record.h"

namespace mhcjit::codegen {

// nullptr where the library ships none. Read at the first call.
TunedRecordPtr shipped_record(const Architecture& architecture);

}  // namespace mhcjit::codegen
