// A subcommand of the command line: what main() needs to parse, explain, run and report it.
#pragma once

#include <optional>
#include <string>

#include <llvm/Support/CommandLine.h>
#include <llvm/Support/Error.h>
#include <llvm/Support/JSON.h>

#include "support/error.h"

namespace mhcjit::tools {

enum ExitCode { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_no_gpu = 3, exit_interrupted = 130 };

// A subcommand prints this on stdout, and nothing else: `json` with --json, else `text`.
struct Report {
  int exit_code = exit_ok;
  llvm::json::Object json;
  std::string text;
};

struct Command {
  llvm::cl::SubCommand& options;  // its name (one or two words), its one-line description and its options
  const char* usage;              // after "mhcjit NAME "
  const char* details;            // what the one line does not say
  std::string examples;           // one command a line
  llvm::Expected<Report> (*run)();
};

const Command& doctor_command();
const Command& emit_command();
const Command& explain_command();
const Command& warmup_command();
const Command& run_command();
const Command& make_inputs_command();
const Command& bench_command();
const Command& tune_command();
const Command& tune_report_command();
const Command& tune_merge_command();
const Command& tune_export_command();
const Command& cache_ls_command();
const Command& cache_stats_command();
const Command& cache_verify_command();
const Command& cache_prune_command();
const Command& cache_clear_command();
const Command& cache_export_command();
const Command& cache_import_command();

// An option whose value is wrong or missing is INVALID_ARGUMENT and what a file holds is BAD_FILE, so the status says
// the exit code: 2 for INVALID_ARGUMENT, 3 for NO_DEVICE, else 1.
int exit_code_of(mhcjit_status status);

// Writes "mhcjit: TEXT" as one line to stderr.
void say(const std::string& text);

// The calling thread's failure inside the library, as an error; success for MHCJIT_SUCCESS.
llvm::Error library_error(mhcjit_status status);

// The most detailed level that $MHCJIT_LOG asks for; nothing where it is not set, or check_log_level() refuses it.
std::optional<mhcjit_log_level> log_level();

// Errors: INVALID_ARGUMENT, when $MHCJIT_LOG is none of warning, info and trace. main() asks.
llvm::Error check_log_level();

// Writes the library's log to stderr, each line with its level.
void log_to_stderr(mhcjit_log_level level, const char* line, void* user);

}  // namespace mhcjit::tools
