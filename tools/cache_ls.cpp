#include <algorithm>
#include <map>

#include "cache/compiler_record.h"
#include "tools/cache_options.h"
#include "tools/entry_match.h"

namespace mhcjit::tools {
namespace {

using namespace cache_options;

struct Line {
  std::string digest, kernel, problem, architecture;
  std::int64_t created_unix_seconds = 0;
  int registers = 0;  // of the kernel that takes most
  cache::StoredFile file;
};

struct Listing {
  std::string folder;
  std::vector<Line> lines;
  std::vector<std::string> bad;  // "<name>: <reason>"
  cache::StoreScan scan;
};

Line describe(const std::string& digest, const cache::StoredEntry& stored, const cache::StoredFile& file) {
  Line line = {.digest = digest,
               .kernel = cache::find_field(stored.fields, "kernel").str(),
               .problem = problem_of(stored),
               .architecture = stored.entry.architecture,
               .created_unix_seconds = stored.entry.created_unix_seconds,
               .registers = 0,
               .file = file};
  for (const cache::CompiledKernel& kernel : stored.entry.kernels)
    line.registers = std::max(line.registers, kernel.resources.registers);
  return line;
}

llvm::Expected<Listing> list(llvm::StringRef terms) {
  auto matches = EntryMatch::parse(terms);
  if (!matches) return matches.takeError();
  auto root = folder();
  if (!root) return root.takeError();
  auto store = open_store(*root);
  if (!store) return store.takeError();
  auto scan = cache::scan_store(*root);
  if (!scan) return scan.takeError();
  Listing listing = {*root, {}, {}, std::move(*scan)};
  for_each_match(
      **store, listing.scan.entries, *matches,
      [&](const std::string& digest, const cache::StoredEntry& stored, const cache::StoredFile& file) {
        listing.lines.push_back(describe(digest, stored, file));
      },
      [&](const std::string& name, const std::string& reason) {
        listing.bad.push_back(fmt::format("{}: {}", name, reason));
      });
  return listing;
}

void say_bad(const Listing& listing) {
  for (const std::string& text : listing.bad) say(text);
}

llvm::json::Object to_json(const Line& line) {
  return llvm::json::Object{{"digest", line.digest},
                            {"kernel", llvm::json::fixUTF8(line.kernel)},
                            {"problem", llvm::json::fixUTF8(line.problem)},
                            {"architecture", llvm::json::fixUTF8(line.architecture)},
                            {"created_unix_seconds", line.created_unix_seconds},
                            {"last_used_unix_seconds", line.file.modified_unix_seconds()},
                            {"bytes", static_cast<std::int64_t>(line.file.bytes)},
                            {"disk_bytes", static_cast<std::int64_t>(line.file.disk_bytes)},
                            {"registers", line.registers}};
}

llvm::Expected<Report> run_ls() {
  auto listing = list(match);
  if (!listing) return listing.takeError();
  const std::int64_t now = unix_seconds_now();
  Report report;
  constexpr auto columns = "{:<12}  {:<33}  {:<31}  {:<8}  {:>5}  {:>5}  {:>10}  {:>9}\n";
  report.text = fmt::format(columns, "DIGEST", "KERNEL", "PROBLEM", "ARCH", "AGE", "USED", "SIZE", "REGISTERS");
  llvm::json::Array entries;
  for (const Line& line : listing->lines) {
    report.text +=
        fmt::format(columns, line.digest.substr(0, 12), line.kernel, line.problem, line.architecture,
                    age_text(line.created_unix_seconds, now), age_text(line.file.modified_unix_seconds(), now),
                    size_text(line.file.bytes), line.registers);
    entries.push_back(to_json(line));
  }
  say_bad(*listing);
  report.json = llvm::json::Object{
      {"cache_dir", listing->folder}, {"entries", std::move(entries)}, {"bad", cache_options::to_json(listing->bad)}};
  return report;
}

struct Share {
  std::int64_t entries = 0;
  std::uint64_t disk_bytes = 0;
};

llvm::Expected<Report> run_stats() {
  auto listing = list("");
  if (!listing) return listing.takeError();
  std::map<std::string, Share> by_architecture;
  for (const Line& line : listing->lines) {
    Share& share = by_architecture[line.architecture];
    ++share.entries;
    share.disk_bytes += line.file.disk_bytes;
  }
  const auto& entries = listing->scan.entries;
  std::uint64_t bytes = 0, leftover_bytes = 0;
  for (const cache::StoredFile& file : entries) bytes += file.bytes;
  for (const cache::StoredFile& file : listing->scan.leftovers) leftover_bytes += file.disk_bytes;
  const std::uint64_t disk_bytes = listing->scan.entry_disk_bytes();
  const auto by_age = [](const cache::StoredFile& a, const cache::StoredFile& b) {
    return a.modified_nanoseconds < b.modified_nanoseconds;
  };
  const auto oldest = std::min_element(entries.begin(), entries.end(), by_age);
  const cache::CompilerLines compilers = cache::read_compiler_record(listing->folder);
  const cache::StoreLimits limits;

  Report report;
  report.text =
      fmt::format("{:<14}{}\n{:<14}{} of {} allowed, {} bad\n{:<14}{} in files, {} on disk of {} allowed\n", "folder",
                  listing->folder, "entries", entries.size(), limits.max_entries, listing->bad.size(), "size",
                  size_text(bytes), size_text(disk_bytes), size_text(limits.max_bytes));
  llvm::json::Object architectures;
  for (const auto& [architecture, share] : by_architecture) {
    report.text +=
        fmt::format("{:<14}{} entries, {} on disk\n", architecture, share.entries, size_text(share.disk_bytes));
    architectures[llvm::json::fixUTF8(architecture)] =
        llvm::json::Object{{"entries", share.entries}, {"disk_bytes", static_cast<std::int64_t>(share.disk_bytes)}};
  }
  if (!entries.empty())
    report.text +=
        fmt::format("{:<14}{} ago\n", "oldest use", age_text(oldest->modified_unix_seconds(), unix_seconds_now()));
  report.text +=
      fmt::format("{:<14}{}, {} on disk\n", "leftovers", listing->scan.leftovers.size(), size_text(leftover_bytes));
  for (const std::string& line : compilers) report.text += fmt::format("{:<14}{}\n", "compiler", line);
  say_bad(*listing);
  report.json = llvm::json::Object{
      {"cache_dir", listing->folder},
      {"entries", static_cast<std::int64_t>(entries.size())},
      {"bad", cache_options::to_json(listing->bad)},
      {"bytes", static_cast<std::int64_t>(bytes)},
      {"disk_bytes", static_cast<std::int64_t>(disk_bytes)},
      {"max_entries", static_cast<std::int64_t>(limits.max_entries)},
      {"max_bytes", static_cast<std::int64_t>(limits.max_bytes)},
      {"oldest_use_unix_seconds",
       entries.empty() ? llvm::json::Value(nullptr) : llvm::json::Value(oldest->modified_unix_seconds())},
      {"leftovers", static_cast<std::int64_t>(listing->scan.leftovers.size())},
      {"leftover_disk_bytes", static_cast<std::int64_t>(leftover_bytes)},
      {"architectures", std::move(architectures)},
      {"compilers", cache_options::to_json(compilers)}};
  return report;
}

llvm::Expected<Report> run_verify() {
  auto listing = list("");
  if (!listing) return listing.takeError();
  say_bad(*listing);
  Report report;
  report.exit_code = listing->bad.empty() ? exit_ok : exit_failed;
  report.text =
      fmt::format("{} sound, {} bad, cache folder {}\n", listing->lines.size(), listing->bad.size(), listing->folder);
  report.json = llvm::json::Object{{"cache_dir", listing->folder},
                                   {"sound", static_cast<std::int64_t>(listing->lines.size())},
                                   {"bad", cache_options::to_json(listing->bad)}};
  return report;
}

}  // namespace

const Command& cache_ls_command() {
  static const Command command = {
      ls, "[--match TERMS] [--cache-dir DIR] [--json]",
      "One line an entry, which is a kernel: the first digits of its digest, its name, what the problems that share\n"
      "it have in common, its architecture, the time since it was compiled and since it was last used (exact to an\n"
      "hour), the size of its file, and the registers of a thread. TERMS is a comma list of op=OP, n=N, d=D,\n"
      "dtype=DTYPE, arch=ARCH and the first digits of a digest; an entry is named when all of them hold.",
      "  mhcjit cache ls\n"
      "  mhcjit cache ls --match n=4,d=4096,arch=sm_90a --json",
      run_ls};
  return command;
}

const Command& cache_stats_command() {
  static const Command command = {
      stats, "[--cache-dir DIR] [--json]",
      "Entries, bytes and blocks, beside the limits that the folder is trimmed to; what each architecture takes;\n"
      "leftovers of writers that were killed; and the compilers that its entries come from.",
      "  mhcjit cache stats\n"
      "  mhcjit cache stats --json",
      run_stats};
  return command;
}

const Command& cache_verify_command() {
  static const Command command = {
      verify, "[--cache-dir DIR] [--json]",
      "Reads every entry and makes every check that a launch makes: format, checksum, digest of the key, the\n"
      "cubin's tables, and the tag where MHCJIT_CACHE_KEY_FILE names a key. The exit code is 1 when an entry is\n"
      "bad. A bad entry does no harm: it is compiled again.",
      "  mhcjit cache verify\n"
      "  mhcjit cache verify --json",
      run_verify};
  return command;
}

}  // namespace mhcjit::tools
