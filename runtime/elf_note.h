// The GNU build-id of a shared library, read from its file: names the exact compiler without loading 100 MB of it.
#pragma once

#include <string>

#include <llvm/Support/Error.h>

namespace mhcjit::runtime {

// 40 hexadecimal digits, usually. Reads the headers and the notes only: microseconds. Errors: IO (the file cannot be
// read), BAD_FILE (not a 64-bit ELF file, or one without a build-id).
llvm::Expected<std::string> gnu_build_id(const std::string& path);

}  // namespace mhcjit::runtime
