#include "tools/command.h"

#include <cstdio>

namespace mhcjit::tools {

int exit_code_of(mhcjit_status status) {
  switch (status) {
    case MHCJIT_ERROR_INVALID_ARGUMENT: return exit_usage;
    case MHCJIT_ERROR_NO_DEVICE: return exit_no_gpu;
    default: return exit_failed;
  }
}

void say(const std::string& text) { std::fprintf(stderr, "mhcjit: %s\n", text.c_str()); }

llvm::Error library_error(mhcjit_status status) {
  if (status == MHCJIT_SUCCESS) return llvm::Error::success();
  return make_error(status, std::string(mhcjit_last_error()));
}

void log_to_stderr(mhcjit_log_level, const char* line, void*) { say(std::string("warning: ") + line); }

}  // namespace mhcjit::tools
