#include "cache/folder_store.h"
#include "tools/cache_options.h"
#include "tools/entry_match.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

using namespace cache_options;

llvm::Expected<std::uint64_t> parse_size(llvm::StringRef option, llvm::StringRef text) {
  static constexpr llvm::StringLiteral units("KMGT");
  llvm::StringRef digits = text;
  int shift = 0;
  if (!digits.empty() && units.contains(digits.back())) {
    shift = 10 * (static_cast<int>(units.find(digits.back())) + 1);
    digits = digits.drop_back();
  }
  std::uint64_t value = 0;
  if (digits.getAsInteger(10, value) || value > (std::uint64_t{1} << 62) >> shift)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                      "{} is '{}', allowed: an integer, with K, M, G or T after it or not", option.str(), text.str());
  return value << shift;
}

llvm::Expected<Report> run_prune() {
  auto bytes = parse_size("--max-bytes", max_bytes);
  if (!bytes) return bytes.takeError();
  auto entries = parse_integer("--max-entries", max_entries, 0, std::int64_t{1} << 40);
  if (!entries) return entries.takeError();
  auto root = folder();
  if (!root) return root.takeError();
  auto report = cache::prune(*root, {{*bytes, static_cast<std::uint64_t>(*entries)}, unix_seconds_now(), dry_run, {}});
  if (!report) return report.takeError();
  return removal_report(*root, *report);
}

llvm::Expected<Report> run_clear() {
  auto matches = EntryMatch::parse(match);
  if (!matches) return matches.takeError();
  auto root = folder();
  if (!root) return root.takeError();
  auto scan = cache::scan_store(*root);
  if (!scan) return scan.takeError();
  if (match.empty()) return removal_report(*root, cache::remove_files(*root, scan->entries, scan->leftovers, dry_run));

  std::vector<cache::StoredFile> chosen;
  for_each_match(
      *cache::open_folder_store(*root, /*hmac_key=*/""), scan->entries, *matches,
      [&](const std::string&, const cache::StoredEntry&, const cache::StoredFile& file) { chosen.push_back(file); },
      [&](const std::string& name, const std::string& reason) {
        say(fmt::format("{} stays, it cannot be told what it is: {}", name, reason));
      });
  return removal_report(*root, cache::remove_files(*root, chosen, {}, dry_run));
}

}  // namespace

const Command& cache_prune_command() {
  static const Command command = {
      prune, "[--max-bytes SIZE] [--max-entries COUNT] [--dry-run] [--cache-dir DIR] [--json]",
      "A folder over a limit loses its least recently used entries until it is at 80 % of both limits. Entries\n"
      "of the last 10 minutes stay. Leftovers of writers that were killed go after an hour, sources that the\n"
      "compiler refused after a week. Safe while other processes use the folder: what they miss they compile\n"
      "again.",
      "  mhcjit cache prune --dry-run\n"
      "  mhcjit cache prune --max-bytes 500M --max-entries 1000 --json",
      run_prune};
  return command;
}

const Command& cache_clear_command() {
  static const Command command = {clear, "[--match TERMS] [--dry-run] [--cache-dir DIR] [--json]",
                                  "Removes every entry, leftover and kept source, or the entries for which all of "
                                  "TERMS holds (see cache ls). Files that\n"
                                  "are not the cache's stay. Safe while other processes use the folder.",
                                  "  mhcjit cache clear --match arch=sm_80 --dry-run\n"
                                  "  mhcjit cache clear",
                                  run_clear};
  return command;
}

}  // namespace mhcjit::tools
