// The shapes file: which problems a program will ask for (docs/shapes.md).
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::tools {

struct Shapes {
  // Each once, in the order of the text and checked; no architecture, and numbers of tokens are passed over.
  std::vector<codegen::Problem> problems;
  std::vector<std::string> cut_lines;  // "FILE: line N": the beginning of a record, which a full disk cut short
};

// The problems that `text` names, at least one. Errors call it `file`. Reads any bytes safely. Errors: BAD_FILE with
// the shape, its field, what it holds and what is allowed; one wrong shape refuses the whole file, because a warm-up
// that passes it over would miss it.
llvm::Expected<Shapes> parse_shapes(llvm::StringRef file, llvm::StringRef text);

// The same of the file at `path`. Errors: IO when it cannot be read, BAD_FILE as above.
llvm::Expected<Shapes> read_shapes(const std::string& path);

using codegen::SizedProblem;

// The same for whoever runs the problems: a shape without numbers of tokens is BAD_FILE too.
llvm::Expected<std::vector<SizedProblem>> parse_sized_shapes(llvm::StringRef file, llvm::StringRef text);
llvm::Expected<std::vector<SizedProblem>> read_sized_shapes(const std::string& path);

// bench/shapes.json, a file of sized shapes: what the operators are measured on by default.
extern const char default_bench_shapes[];

}  // namespace mhcjit::tools
