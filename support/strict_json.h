// JSON from a file that anybody may have written.
#pragma once

#include <cstddef>
#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>
#include <llvm/Support/JSON.h>

namespace mhcjit {

// The one JSON value in `text`, which nests at most `max_depth` levels deep and has no object with two members of one
// name. Reads any bytes safely. Errors: BAD_FILE; the text begins with `subject`, such as "shapes.json: line 3".
llvm::Expected<llvm::json::Value> parse_strict_json(llvm::StringRef subject, llvm::StringRef text,
                                                    std::size_t max_depth);

// A name as it is quoted in an error: short, and without the control characters that a hostile file may hold.
std::string quoted(llvm::StringRef name);

}  // namespace mhcjit
