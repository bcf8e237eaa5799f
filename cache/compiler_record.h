// A folder records the compilers that its entries come from, for machines that have none: in a file of the folder, and
// in a member of a bundle, with one line a compiler (FORMAT.md).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

inline constexpr llvm::StringLiteral compiler_record_name("compiler_identity");

// Each without its newline; the one that was added first is first.
using CompilerLines = std::vector<std::string>;

inline constexpr std::size_t max_recorded_compilers = 32;

// The text of such a file, and what it says; nothing when it is not 1 to 32 different printable lines.
std::string compiler_record(const CompilerLines& lines);
std::optional<CompilerLines> parse_compiler_record(llvm::StringRef text);

// The lines in the folder `root`; none when there is no record there, or nothing that can be trusted to be one.
CompilerLines read_compiler_record(const std::string& root);

// Adds to the record of the folder `root` the lines that it lacks, one rename for all; where they become more than 32,
// the first ones go. Processes that add at the same time wait for each other, but not those of several machines on a
// network file system, where the last of them wins until the others add theirs again. Cost where nothing is lacking:
// one small read. Errors: IO.
llvm::Error add_compilers(const std::string& root, const CompilerLines& lines);

}  // namespace mhcjit::cache
