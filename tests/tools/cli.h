// Runs the command-line program as a user does, with an environment of its own.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <llvm/Support/JSON.h>

#include "tests/tools/temporary_folder.h"

namespace mhcjit::test {

struct CliResult {
  int exit_code = -1;  // 128 + signal when one ended the program
  std::string out;
  std::string err;
};

// Each object has a private home, cache folder and current folder, and an NVRTC that works unless a test says
// otherwise.
class Cli {
 public:
  Cli();

  CliResult operator()(const std::vector<std::string>& arguments) const;
  // Words are separated by spaces.
  CliResult operator()(const std::string& arguments) const;

  // A shell command; "mhcjit" in it is the program.
  CliResult shell(const std::string& command) const;

  // A file in the current folder.
  std::string file(const std::string& name) const { return folder_ / name; }
  std::string cache() const { return folder_ / "cache"; }
  const TemporaryFolder& folder() const { return folder_; }

  std::map<std::string, std::string> environment;

 private:
  TemporaryFolder folder_;
};

// The one JSON object that stdout must be; a failure and an empty object when it is not.
llvm::json::Object json_of(const CliResult& result);

// stdout of a failed --json call must be {"error": {"code", "text"}} and stderr must have the text; returns the code.
std::string error_code_of(const CliResult& result);

// What emit prints, a kernel each: a unit begins with its includes, behind an empty line.
std::vector<std::string> units_in(const std::string& text);

// The examples of a command's help text, as a user would paste them, one after another in one folder, end with 0.
void expect_examples_run(const Cli& cli, const std::string& command);

}  // namespace mhcjit::test
