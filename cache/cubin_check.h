// Checks bytes before a CUDA driver sees them as a cubin.
#pragma once

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

// Success when `cubin` is a whole ELF executable for CUDA whose SM number is that of `architecture` ("sm_90a"), with
// every table, section and segment inside its bounds. Needed because drivers load cut and foreign cubins with success,
// and old ones abort the process on them. Reads any bytes safely. Cost: under a microsecond.
// Errors: BAD_FILE with the field, what it holds and what it should hold; INVALID_ARGUMENT for the architecture.
llvm::Error check_cubin(llvm::StringRef cubin, llvm::StringRef architecture);

}  // namespace mhcjit::cache
