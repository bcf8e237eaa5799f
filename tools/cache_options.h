// The options of the `cache` commands, and what several of them say the same way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>

#include "cache/prune.h"
#include "cache/stored_entry.h"
#include "tools/command.h"

namespace mhcjit::tools::cache_options {

extern llvm::cl::SubCommand ls, stats, verify, prune, clear, export_bundle, import_bundle;

extern llvm::cl::opt<std::string> match;        // ls, clear, export
extern llvm::cl::opt<bool> dry_run;             // prune, clear, import
extern llvm::cl::opt<std::string> max_bytes;    // prune
extern llvm::cl::opt<std::string> max_entries;  // prune
extern llvm::cl::opt<std::string> output;       // export
extern llvm::cl::list<std::string> bundles;     // import, positional

// --cache-dir, else the default folder. Errors: INVALID_ARGUMENT when there is neither.
llvm::Expected<std::string> folder_to_fill();

// The same for commands that make no folder. Errors: IO too, when it does not exist: a name that is mistyped is not to
// look like a folder in which all is well.
llvm::Expected<std::string> folder();

// The entries of the folder `root`, signed where $MHCJIT_CACHE_KEY_FILE names a key. Errors: BAD_FILE, IO (of that
// file).
llvm::Expected<std::unique_ptr<cache::EntryStore>> open_store(const std::string& root);

std::int64_t unix_seconds_now();

// "1.5 MiB".
std::string size_text(std::uint64_t bytes);

// "45s", "12m", "3h" or "9d"; a time that lies in the future is of now.
std::string age_text(std::int64_t then_unix_seconds, std::int64_t now_unix_seconds);

// "OPERATOR n=4 D=4096 bf16 gamma", without the architecture; "" when the key names no problem.
std::string problem_of(const cache::StoredEntry& entry);

llvm::json::Array to_json(const std::vector<std::string>& texts);

// The report of prune and clear: counts and sizes, in text and in JSON. Exit code 1 when something could not be
// removed.
Report removal_report(const std::string& folder, const cache::PruneReport& report);

}  // namespace mhcjit::tools::cache_options
