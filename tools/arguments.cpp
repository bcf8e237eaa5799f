#include "tools/arguments.h"

#include <llvm/ADT/STLExtras.h>

#include "support/error.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

// llvm::cl declares the options and holds their values, but does not parse: its parser reads @FILE as more arguments,
// takes -x for --x and --x for -x, and has options of its own, such as --version and all that begins with -h, in every
// command. None of that can be turned off.
class Parser {
 public:
  explicit Parser(cl::SubCommand& command) : command_(command), options_(options_of(command)) {}

  llvm::Error parse(llvm::ArrayRef<std::string> arguments) {
    bool options_end = false;
    while (!arguments.empty()) {
      const llvm::StringRef argument = arguments.front();
      arguments = arguments.drop_front();
      if (argument == "--" && !options_end) {
        options_end = true;
      } else if (options_end || argument == "-" || !argument.starts_with("-")) {
        if (auto error = take_positional(argument)) return error;
      } else if (auto error = take_option(argument, arguments)) {
        return error;
      }
    }
    return llvm::Error::success();
  }

 private:
  llvm::Error take_positional(llvm::StringRef argument) {
    if (command_.PositionalOpts.empty()) return wrong(fmt::format("'{}' is not an option", argument.str()));
    command_.PositionalOpts.front()->addOccurrence(0, "", argument);
    return llvm::Error::success();
  }

  // Takes the value from the front of `rest` where it does not stand behind a "=".
  llvm::Error take_option(llvm::StringRef argument, llvm::ArrayRef<std::string>& rest) {
    auto [name, value] = argument.split('=');
    const auto found = llvm::find_if(options_, [&](const auto* option) { return spelling(*option) == name; });
    if (found == options_.end()) return wrong(unknown(argument));
    cl::Option& option = **found;
    const bool takes_value = option.getValueExpectedFlag() == cl::ValueRequired;
    const bool has_value = name.size() < argument.size();
    if (!takes_value && has_value) return wrong(fmt::format("{} is '{}', allowed: no value", name.str(), value.str()));
    if (option.getNumOccurrences() > 0) return wrong(fmt::format("{} is given twice, allowed: once", name.str()));
    if (takes_value && !has_value && !rest.empty()) {
      value = rest.front();
      rest = rest.drop_front();
    }
    // An empty value is that of a variable that is not set.
    if (takes_value && value.empty())
      return wrong(fmt::format("{} has no value, allowed: {} {}", name.str(), name.str(), option.ValueStr.str()));
    option.addOccurrence(0, option.ArgStr, value);
    return llvm::Error::success();
  }

  std::string unknown(llvm::StringRef argument) const {
    // "-oFILE". Those of two hyphens begin with none.
    for (const cl::Option* option : options_)
      if (argument.starts_with(spelling(*option)) && !argument.starts_with("--"))
        return fmt::format("'{}' is not an option, allowed: {} {}", argument.str(), spelling(*option),
                           option->ValueStr.str());
    return fmt::format("'{}' is not an option", argument.str());
  }

  llvm::Error wrong(const std::string& reason) const {
    std::vector<std::string> allowed;
    allowed.reserve(options_.size());
    for (const cl::Option* option : options_) allowed.push_back(spelling(*option));
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}; options of {}: {}", reason, command_.getName().str(),
                      fmt::join(allowed, ", "));
  }

  cl::SubCommand& command_;
  const std::vector<cl::Option*> options_;
};

}  // namespace

std::vector<cl::Option*> options_of(cl::SubCommand& command) {
  std::vector<cl::Option*> options;
  for (const auto& entry : cl::getRegisteredOptions(command)) {
    cl::Option* option = entry.second;
    // The others belong to llvm::cl's parser and exist in every command.
    if (!option->Subs.contains(&cl::SubCommand::getAll())) options.push_back(option);
  }
  llvm::sort(options, [](const auto* a, const auto* b) { return a->ArgStr < b->ArgStr; });
  return options;
}

std::string spelling(const cl::Option& option) {
  return fmt::format("{}{}", option.ArgStr == "o" ? "-" : "--", option.ArgStr.str());
}

llvm::Error parse_arguments(cl::SubCommand& command, llvm::ArrayRef<std::string> arguments) {
  return Parser(command).parse(arguments);
}

}  // namespace mhcjit::tools
