#include "tools/command.h"

#include <cstdio>
#include <cstdlib>

namespace mhcjit::tools {
namespace {

std::string_view name_of(mhcjit_log_level level) {
  switch (level) {
    case MHCJIT_LOG_WARNING: return "warning";
    case MHCJIT_LOG_INFO: return "info";
    case MHCJIT_LOG_TRACE: return "trace";
  }
  return "log";
}

std::string_view log_variable() {
  const char* const value = std::getenv("MHCJIT_LOG");
  return value == nullptr ? "" : value;
}

}  // namespace

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

std::optional<mhcjit_log_level> log_level() {
  for (const auto level : {MHCJIT_LOG_WARNING, MHCJIT_LOG_INFO, MHCJIT_LOG_TRACE})
    if (log_variable() == name_of(level)) return level;
  return std::nullopt;
}

llvm::Error check_log_level() {
  if (log_variable().empty() || log_level()) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "MHCJIT_LOG is '{}', allowed: warning, info, trace", log_variable());
}

void log_to_stderr(mhcjit_log_level level, const char* line, void*) {
  say(fmt::format("{}: {}", name_of(level), line));
}

}  // namespace mhcjit::tools
