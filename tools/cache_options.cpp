#include "tools/cache_options.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "cache/checked_file.h"
#include "cache/folder_store.h"
#include "cache/hmac.h"
#include "tools/options.h"

namespace mhcjit::tools::cache_options {

namespace cl = llvm::cl;

cl::SubCommand ls("cache ls", "list the compiled kernels in the cache folder");
cl::SubCommand stats("cache stats", "count and size of what is in the cache folder");
cl::SubCommand verify("cache verify", "check every byte of every entry of the cache folder");
cl::SubCommand prune("cache prune", "trim the cache folder to its limits, and sweep leftovers");
cl::SubCommand clear("cache clear", "remove entries from the cache folder");
cl::SubCommand export_bundle("cache export", "write chosen entries to a bundle, for another machine");
cl::SubCommand import_bundle("cache import", "add the entries of bundles to the cache folder");

namespace {

cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"), cl::sub(ls),
                               cl::sub(stats), cl::sub(verify), cl::sub(prune), cl::sub(clear), cl::sub(export_bundle),
                               cl::sub(import_bundle));
// main() looks for it.
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(ls), cl::sub(stats), cl::sub(verify),
                   cl::sub(prune), cl::sub(clear), cl::sub(export_bundle), cl::sub(import_bundle));

}  // namespace

cl::opt<std::string> match("match", cl::desc("only entries for which all of the comma list holds"),
                           cl::value_desc("TERMS"), cl::sub(ls), cl::sub(clear), cl::sub(export_bundle));
cl::opt<bool> dry_run("dry-run", cl::desc("say what would be done, and change nothing"), cl::sub(prune), cl::sub(clear),
                      cl::sub(import_bundle));
cl::opt<std::string> max_bytes("max-bytes", cl::desc("limit on disk; K, M, G and T are powers of 1024 (default 2G)"),
                               cl::value_desc("SIZE"), cl::init("2G"), cl::sub(prune));
cl::opt<std::string> max_entries("max-entries", cl::desc("limit of entries (default 100000)"), cl::value_desc("COUNT"),
                                 cl::init("100000"), cl::sub(prune));
cl::opt<std::string> output("o", cl::desc("bundle to write"), cl::value_desc("FILE"), cl::sub(export_bundle));
cl::list<std::string> bundles(cl::Positional, cl::desc("bundles"), cl::sub(import_bundle));

llvm::Expected<std::string> folder_to_fill() { return cache_folder(cache_dir); }

llvm::Expected<std::string> folder() {
  auto root = folder_to_fill();
  if (!root) return root;
  auto exists = cache::check_folder(cache::FileOps::system(), *root, cache::Trust::everyone);
  if (!exists) return exists.takeError();
  if (*exists) return root;
  return make_error(MHCJIT_ERROR_IO,
                    "the cache folder '{}' does not exist: its name is wrong, or nothing has been "
                    "compiled into it yet",
                    *root);
}

llvm::Expected<std::unique_ptr<cache::EntryStore>> open_store(const std::string& root) {
  const char* path = std::getenv("MHCJIT_CACHE_KEY_FILE");
  if (path == nullptr || path[0] == '\0') return cache::open_folder_store(root, "");
  llvm::Expected<std::string> key = cache::read_hmac_key(path);
  if (!key) return key.takeError();
  return cache::open_folder_store(root, *key);
}

std::int64_t unix_seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string size_text(std::uint64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string age_text(std::int64_t then_unix_seconds, std::int64_t now_unix_seconds) {
  const std::int64_t seconds = then_unix_seconds > now_unix_seconds ? 0 : now_unix_seconds - then_unix_seconds;
  constexpr std::int64_t minute = 60, hour = 60 * minute, day = 24 * hour;
  if (seconds < minute) return fmt::format("{}s", seconds);
  if (seconds < hour) return fmt::format("{}m", seconds / minute);
  if (seconds < 2 * day) return fmt::format("{}h", seconds / hour);
  return fmt::format("{}d", seconds / day);
}

std::string problem_of(const cache::StoredEntry& entry) {
  llvm::StringRef problem = cache::find_field(entry.fields, "problem");
  problem.consume_back(entry.entry.architecture);
  return problem.rtrim().str();
}

llvm::json::Array to_json(const std::vector<std::string>& texts) {
  llvm::json::Array array;
  for (const std::string& text : texts) array.push_back(llvm::json::fixUTF8(text));
  return array;
}

Report removal_report(const std::string& folder, const cache::PruneReport& report) {
  for (const std::string& failure : report.failures) say(failure);
  Report made;
  made.exit_code = report.failures.empty() ? exit_ok : exit_failed;
  made.text = fmt::format("{}{} of {} entries ({} of {}) and {} leftovers ({}), cache folder {}\n",
                          dry_run ? "would remove " : "removed ", report.removed_digests.size(), report.entries,
                          size_text(report.removed_disk_bytes), size_text(report.entry_disk_bytes),
                          report.removed_leftovers, size_text(report.leftover_disk_bytes), folder);
  made.json = llvm::json::Object{{"cache_dir", folder},
                                 {"dry_run", static_cast<bool>(dry_run)},
                                 {"entries", static_cast<std::int64_t>(report.entries)},
                                 {"disk_bytes", static_cast<std::int64_t>(report.entry_disk_bytes)},
                                 {"removed", to_json(report.removed_digests)},
                                 {"removed_disk_bytes", static_cast<std::int64_t>(report.removed_disk_bytes)},
                                 {"removed_leftovers", static_cast<std::int64_t>(report.removed_leftovers)},
                                 {"leftover_disk_bytes", static_cast<std::int64_t>(report.leftover_disk_bytes)},
                                 {"failures", to_json(report.failures)}};
  return made;
}

}  // namespace mhcjit::tools::cache_options
