#include "tests/sim/race_process.h"

#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace mhcjit::test {

Finished run_under_thread_sanitizer(const std::string& program, std::vector<std::string> arguments,
                                    const std::string& options) {
  const std::string all_options = "halt_on_error=1 exitcode=66 " + options;
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    // ThreadSanitizer's shadow has no room for every address that randomisation may choose.
    personality(ADDR_NO_RANDOMIZE);
    setenv("TSAN_OPTIONS", all_options.c_str(), 1);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof(buffer))) > 0;) finished.output.append(buffer, size);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) finished.exit_code = WEXITSTATUS(status);
  return finished;
}

}  // namespace mhcjit::test
