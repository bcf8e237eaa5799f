#include "runtime/compiler_identity.h"

#include <algorithm>
#include <utility>

#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringExtras.h>

#include "cache/compiler_record.h"
#include "runtime/elf_note.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

bool is_build_id(llvm::StringRef text) { return !text.empty() && llvm::all_of(text, llvm::isHexDigit); }

}  // namespace

std::string to_string(const CompilerIdentity& identity) {
  return fmt::format("nvrtc {}.{} {} {}", identity.major, identity.minor, identity.library_id, identity.builtins_id);
}

std::optional<CompilerIdentity> parse_identity(std::string_view text) {
  llvm::SmallVector<llvm::StringRef, 4> words;
  llvm::StringRef(text.data(), text.size()).trim().split(words, ' ');
  CompilerIdentity identity;
  if (words.size() != 4 || words[0] != "nvrtc" || !is_build_id(words[2]) || !is_build_id(words[3])) return std::nullopt;
  const auto [major, minor] = words[1].split('.');
  if (major.getAsInteger(10, identity.major) || minor.getAsInteger(10, identity.minor)) return std::nullopt;
  identity.library_id = words[2];
  identity.builtins_id = words[3];
  return identity;
}

llvm::Expected<CompilerIdentity> identify(const NvrtcLocation& location) {
  CompilerIdentity identity = {location.major, location.minor, "", ""};
  for (const auto& [file, id] :
       {std::pair(&location.library, &identity.library_id), std::pair(&location.builtins, &identity.builtins_id)}) {
    auto found = gnu_build_id(*file);
    if (!found)
      return make_error(MHCJIT_ERROR_NO_NVRTC, "NVRTC ({}) cannot be identified: {}; reinstall it", location.found_by,
                        take_failure(found.takeError()).text);
    *id = std::move(*found);
  }
  return identity;
}

std::vector<CompilerIdentity> recorded_identities(const std::string& root) {
  if (root.empty()) return {};
  std::vector<CompilerIdentity> identities;
  for (const std::string& line : cache::read_compiler_record(root))
    if (const auto identity = parse_identity(line)) identities.push_back(*identity);
  // The one that was added later, where two are builds of one version.
  std::reverse(identities.begin(), identities.end());
  std::stable_sort(identities.begin(), identities.end(), [](const CompilerIdentity& a, const CompilerIdentity& b) {
    return std::pair(a.major, a.minor) > std::pair(b.major, b.minor);
  });
  return identities;
}

llvm::Error record_identity(const std::string& root, const CompilerIdentity& identity) {
  if (root.empty()) return llvm::Error::success();
  return cache::add_compilers(root, {to_string(identity)});
}

std::vector<std::string> compile_options(std::string_view architecture, const CompilerIdentity& identity) {
  std::vector<std::string> options = {
      fmt::format("--gpu-architecture={}", architecture),
      "--ptxas-options=-v",  // makes the log carry registers, spills and shared memory
      "--std=c++17",
  };
  // Not all older ones know these.
  if (std::pair(identity.major, identity.minor) >= std::pair(12, 9)) {
    // Leaves out declarations of which no kernel uses any, but which each compilation would begin with.
    options.emplace_back("--minimal");
    // From 12.9 on NVRTC has a cache of its own behind the driver's, which would falsify cold timings.
    options.emplace_back("--no-cache");
  }
  std::sort(options.begin(), options.end());
  return options;
}

}  // namespace mhcjit::runtime
