// The arguments of a command line, by the options that a command has.
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/Error.h>

namespace mhcjit::tools {

// The options of the command, by name.
std::vector<llvm::cl::Option*> options_of(llvm::cl::SubCommand& command);

// An option as the user writes it: "--inputs", "-o".
std::string spelling(const llvm::cl::Option& option);

// Gives the options of the command their values: "--option VALUE", "--option=VALUE", "--flag", each at most once and
// under its whole name; what stands behind "--" is no option. Errors: INVALID_ARGUMENT, with the options of the
// command.
llvm::Error parse_arguments(llvm::cl::SubCommand& command, llvm::ArrayRef<std::string> arguments);

}  // namespace mhcjit::tools
