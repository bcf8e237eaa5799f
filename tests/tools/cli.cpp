#include "tests/tools/cli.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringRef.h>

namespace mhcjit::test {
namespace {

// In a child process: never returns.
[[noreturn]] void become(const std::string& folder, const std::vector<std::string>& arguments,
                         const std::map<std::string, std::string>& environment) {
  const auto redirect = [](const std::string& path, int fd) {
    return ::dup2(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), fd) == fd;
  };
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& variable : variables) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  if (redirect(folder + ".out", STDOUT_FILENO) && redirect(folder + ".err", STDERR_FILENO) &&
      ::chdir(folder.c_str()) == 0)
    ::execve(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

CliResult execute(const std::string& folder, const std::vector<std::string>& arguments,
                  const std::map<std::string, std::string>& environment) {
  const pid_t child = ::fork();
  if (child == 0) become(folder, arguments, environment);
  int status = 0;
  ::waitpid(child, &status, 0);
  CliResult result = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(folder + ".out"),
                      read_file(folder + ".err")};
  ::unlink((folder + ".out").c_str());
  ::unlink((folder + ".err").c_str());
  return result;
}

}  // namespace

Cli::Cli() {
  environment = {{"HOME", folder_.path()},
                 {"PATH", std::string(MHCJIT_CLI_FOLDER) + ":/usr/bin:/bin"},
                 {"MHCJIT_CACHE_DIR", cache()},
                 {"MHCJIT_NVRTC", MHCJIT_TEST_NVRTC}};
}

CliResult Cli::operator()(const std::vector<std::string>& arguments) const {
  std::vector<std::string> all = {std::string(MHCJIT_CLI_FOLDER) + "/mhcjit"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return execute(folder_.path(), all, environment);
}

CliResult Cli::operator()(const std::string& arguments) const {
  llvm::SmallVector<llvm::StringRef> words;
  llvm::StringRef(arguments).split(words, ' ', -1, false);
  return (*this)(std::vector<std::string>(words.begin(), words.end()));
}

CliResult Cli::shell(const std::string& command) const {
  return execute(folder_.path(), {"/bin/sh", "-c", command}, environment);
}

llvm::json::Object json_of(const CliResult& result) {
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(result.out);
  if (!value) {
    ADD_FAILURE() << "stdout is not one JSON value: " << llvm::toString(value.takeError()) << "\n"
                  << result.out << result.err;
    return {};
  }
  if (llvm::json::Object* object = value->getAsObject()) return std::move(*object);
  ADD_FAILURE() << "stdout is not a JSON object: " << result.out;
  return {};
}

std::string error_code_of(const CliResult& result) {
  const llvm::json::Object object = json_of(result);
  const llvm::json::Object* error = object.getObject("error");
  if (error == nullptr || object.size() != 1) {
    ADD_FAILURE() << "stdout is not an error object: " << result.out;
    return "";
  }
  const std::string text = error->getString("text").value_or("").str();
  EXPECT_FALSE(text.empty());
  EXPECT_NE(result.err.find(text), std::string::npos) << "stderr lacks the error's text: " << result.err;
  return error->getString("code").value_or("").str();
}

std::vector<std::string> units_in(const std::string& text) {
  std::vector<std::string> units;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t next = text.find("\n\n#include <pre_", begin);
    const std::size_t end = next == text.npos ? text.size() : next + 1;
    units.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return units;
}

void expect_examples_run(const Cli& cli, const std::string& command) {
  const std::string help = cli(command + " --help").out;
  const std::size_t start = help.find("\nexamples:\n");
  ASSERT_NE(start, std::string::npos) << help;
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(help).substr(start + 11).split(lines, '\n', -1, false);
  ASSERT_GE(lines.size(), 2u);
  for (const llvm::StringRef line : lines) {
    ASSERT_TRUE(line.starts_with("  mhcjit ")) << line.str();
    const CliResult result = cli.shell(line.str());
    EXPECT_EQ(result.exit_code, 0) << line.str() << "\n" << result.err;
  }
}

}  // namespace mhcjit::test
