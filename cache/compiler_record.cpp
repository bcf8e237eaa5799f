#include "cache/compiler_record.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/ranges.h>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringExtras.h>

#include "cache/checked_file.h"
#include "cache/process_lock.h"
#include "cache/prune.h"
#include "cache/replace_file.h"

namespace mhcjit::cache {
namespace {

constexpr std::size_t max_line_bytes = 1024;
constexpr std::size_t max_record_bytes = max_recorded_compilers * (max_line_bytes + 1);
constexpr std::chrono::milliseconds longest_wait(1000);

bool is_line(llvm::StringRef text) {
  return !text.empty() && text.size() <= max_line_bytes && llvm::all_of(text, llvm::isPrint);
}

bool contains_all(const CompilerLines& record, const CompilerLines& lines) {
  return llvm::all_of(lines, [&](const std::string& line) { return llvm::is_contained(record, line); });
}

}  // namespace

std::string compiler_record(const CompilerLines& lines) { return fmt::format("{}\n", fmt::join(lines, "\n")); }

std::optional<CompilerLines> parse_compiler_record(llvm::StringRef text) {
  text.consume_back("\n");
  llvm::SmallVector<llvm::StringRef, 4> parts;
  text.split(parts, '\n');
  CompilerLines lines;
  for (const llvm::StringRef part : parts) {
    if (!is_line(part) || llvm::is_contained(lines, part)) return std::nullopt;
    lines.push_back(part.str());
  }
  if (lines.size() > max_recorded_compilers) return std::nullopt;
  return lines;
}

CompilerLines read_compiler_record(const std::string& root) {
  auto bytes = read_file(FileOps::system(), root + "/" + compiler_record_name.str(), max_record_bytes, Trust::owner);
  if (!bytes) {
    llvm::consumeError(bytes.takeError());
    return {};
  }
  return *bytes ? parse_compiler_record(**bytes).value_or(CompilerLines()) : CompilerLines();
}

llvm::Error add_compilers(const std::string& root, const CompilerLines& lines) {
  if (contains_all(read_compiler_record(root), lines)) return llvm::Error::success();
  FileOps& ops = FileOps::system();
  std::optional<ProcessLock> lock;
  if (!on_network_file_system(root))
    lock.emplace(ops, root + "/" + lock_file_name.str(), compiler_record_lock, longest_wait);
  CompilerLines record = read_compiler_record(root);
  for (const std::string& line : lines)
    if (!llvm::is_contained(record, line)) record.push_back(line);
  if (record.size() > max_recorded_compilers) record.erase(record.begin(), record.end() - max_recorded_compilers);
  return replace_file(ops, root, compiler_record_name.str(), "", compiler_record(record), /*flush=*/false);
}

}  // namespace mhcjit::cache
