// Values of command-line options, checked. Every error is INVALID_ARGUMENT and names the option, its value and what is
// allowed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::tools {

// The values of --op: "one of ...".
llvm::StringRef operator_help();

// `text` when it is not empty. `option` is spelt as the user writes it: "--n".
llvm::Expected<std::string> required(llvm::StringRef option, llvm::StringRef text);

llvm::Expected<std::int64_t> parse_integer(llvm::StringRef option, llvm::StringRef text, std::int64_t least,
                                           std::int64_t most);

// A finite number of at least `least`.
llvm::Expected<double> parse_number(llvm::StringRef option, llvm::StringRef text, double least);

// The folder of --cache-dir, or the library's own if it is not given; folders of the environment that the library does
// not use are named on stderr. Errors: when there is no such place.
llvm::Expected<std::string> cache_folder(const std::string& cache_dir);

// A comma list of integers without repetition.
llvm::Expected<std::vector<std::int64_t>> parse_integers(llvm::StringRef option, llvm::StringRef text,
                                                         std::int64_t least, std::int64_t most);

// A comma list of architectures without repetition.
llvm::Expected<std::vector<codegen::Architecture>> parse_architectures(llvm::StringRef option, llvm::StringRef text);

// The options that name problems: --n, --d, --dtype, --arch, --gamma, --batch-invariant, --fp32-dx.
struct ProblemOptions {
  std::string n, d, dtype, architecture;
  bool gamma = false;
  bool batch_invariant = false;
  bool fp32_dx = false;  // of the operators that have it
};

// Every combination of the comma lists in `options` for each of `ops`, checked. INVALID_ARGUMENT also where none of
// `ops` has a flag that is given.
llvm::Expected<std::vector<codegen::Problem>> parse_problems(const ProblemOptions& options,
                                                             std::span<const codegen::Operator* const> ops);

}  // namespace mhcjit::tools
