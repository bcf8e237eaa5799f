#include "tools/entry_match.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringExtras.h>

#include "codegen/operators.h"
#include "codegen/problem.h"
#include "support/error.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

constexpr char allowed[] = "op=, n=, d=, dtype=, arch= and the first digits of one digest";

bool is_digest_prefix(llvm::StringRef term) {
  return !term.empty() && term.size() <= 64 && llvm::all_of(term, llvm::isHexDigit);
}

}  // namespace

llvm::Expected<EntryMatch> EntryMatch::parse(llvm::StringRef text) {
  EntryMatch made;
  if (text.empty()) return made;
  llvm::SmallVector<llvm::StringRef> terms;
  text.split(terms, ',');
  for (const llvm::StringRef term : terms) {
    if (llvm::Error error = made.add(term)) return error;
  }
  return made;
}

llvm::Error EntryMatch::add(llvm::StringRef term) {
  const auto [name, value] = term.split('=');
  const auto keep = [this](auto parsed, const auto& spell) -> llvm::Error {
    if (!parsed) return parsed.takeError();
    words_.emplace_back(spell(*parsed));
    return llvm::Error::success();
  };
  if (name == "op") return keep(codegen::parse_operator(value), [](const codegen::Operator* op) { return op->name; });
  if (name == "dtype") return keep(codegen::parse_dtype(value), [](codegen::DType dtype) { return to_string(dtype); });
  if (name == "arch")
    return keep(codegen::parse_architecture(value), [](const codegen::Architecture& a) { return to_string(a); });
  if (name == "n")
    return keep(parse_integer("--match n", value, 1, codegen::max_n),
                [](std::int64_t n) { return fmt::format("n={}", n); });
  if (name == "d")
    return keep(parse_integer("--match d", value, 1, codegen::max_d),
                [](std::int64_t d) { return fmt::format("D={}", d); });
  if (digest_prefix_.empty() && is_digest_prefix(term)) {
    digest_prefix_ = term.lower();
    return llvm::Error::success();
  }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--match has the term '{}', allowed: {}", term.str(), allowed);
}

bool EntryMatch::operator()(llvm::StringRef digest, const cache::StoredEntry& entry) const {
  llvm::SmallVector<llvm::StringRef> problem;
  cache::find_field(entry.fields, "problem").split(problem, ' ', -1, false);
  return may_match(digest) &&
         llvm::all_of(words_, [&](llvm::StringRef word) { return llvm::is_contained(problem, word); });
}

void for_each_match(
    cache::EntryStore& store, const std::vector<cache::StoredFile>& entries, const EntryMatch& matches,
    llvm::function_ref<void(const std::string& digest, const cache::StoredEntry& entry, const cache::StoredFile& file)>
        sound,
    llvm::function_ref<void(const std::string& name, const std::string& reason)> bad) {
  for (const cache::StoredFile& file : entries) {
    const std::string digest = cache::digest_of_name(file.name).value();
    if (!matches.may_match(digest)) continue;
    auto entry = cache::read_stored_entry(store, digest);
    if (!entry) {
      bad(file.name, take_failure(entry.takeError()).text);
    } else if (*entry && matches(digest, **entry)) {
      sound(digest, **entry, file);
    }
  }
}

}  // namespace mhcjit::tools
