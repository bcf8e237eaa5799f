// mhcjit: doctor, emit, explain, warmup, run, make-inputs, bench, tune and the cache commands.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <thread>
#include <vector>

#include <llvm/ADT/STLExtras.h>
#include <llvm/Support/raw_ostream.h>

#include "mhcjit/mhcjit.h"
#include "tools/arguments.h"
#include "tools/command.h"

namespace mhcjit::tools {
namespace {

// True if --json is among the arguments, however wrong they are. It is no parameter: the handler of an allocation that
// fails has none.
bool json_wanted = false;

const std::vector<const Command*>& commands() {
  static const std::vector<const Command*> all = {
      &doctor_command(),       &emit_command(),         &explain_command(),     &warmup_command(),
      &run_command(),          &make_inputs_command(),  &bench_command(),       &tune_command(),
      &tune_report_command(),  &tune_merge_command(),   &tune_export_command(), &cache_ls_command(),
      &cache_stats_command(),  &cache_verify_command(), &cache_prune_command(), &cache_clear_command(),
      &cache_export_command(), &cache_import_command()};
  return all;
}

const Command* find_command(llvm::StringRef name) {
  const auto found =
      llvm::find_if(commands(), [&](const Command* command) { return command->options.getName() == name; });
  return found == commands().end() ? nullptr : *found;
}

std::string command_names() {
  std::vector<std::string> names;
  for (const Command* command : commands()) names.push_back(command->options.getName().str());
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string overview() {
  std::string text =
      "mhcjit generates, compiles, caches and runs CUDA kernels for the mHC \"pre\" operator\n\n"
      "usage: mhcjit COMMAND [options]\n"
      "       mhcjit COMMAND --help      options and examples\n"
      "       mhcjit --version\n\n"
      "commands:\n";
  for (const Command* command : commands())
    text += fmt::format("  {:<13}{}\n", command->options.getName().str(), command->options.getDescription().str());
  return text +
         "\nexit codes: 0 success, 1 failed, 2 wrong usage, 3 no usable GPU where one is required\n"
         "Results go to stdout, messages to stderr; --json prints one JSON object on stdout.\n"
         "A file that a command writes (-o, --outputs, --results) is whole or as it was: a link is followed, also to "
         "a\n"
         "file that is not there yet, and the file that is replaced leaves its mode and owner to the new one.\n"
         "MHCJIT_LOG=warning, info or trace in the environment says more on stderr.\n";
}

std::string help(const Command& command) {
  std::string text = fmt::format("mhcjit {}: {}\n\nusage: mhcjit {} {}\n\n{}\n\noptions:\n",
                                 command.options.getName().str(), command.options.getDescription().str(),
                                 command.options.getName().str(), command.usage, command.details);
  for (const llvm::cl::Option* option : options_of(command.options)) {
    const std::string left =
        option->ValueStr.empty() ? spelling(*option) : fmt::format("{} {}", spelling(*option), option->ValueStr.str());
    text += fmt::format("  {:<20} {}\n", left, option->HelpStr.str());
  }
  return fmt::format("{}\nexamples:\n{}\n", text, command.examples);
}

// The only place that writes to stdout.
int print(std::string_view text, int exit_code) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return exit_code;
  say("cannot write to stdout");
  return exit_failed;
}

std::string to_text(llvm::json::Object json) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}", llvm::json::Value(std::move(json))) << "\n";
  return text;
}

int fail(const Failure& failure) {
  say(failure.text);
  const int exit_code = exit_code_of(failure.status);
  if (!json_wanted) return exit_code;
  const char* code = mhcjit_status_name(failure.status);
  llvm::json::Object error{{"code", code}, {"text", llvm::json::fixUTF8(failure.text)}};
  return print(to_text(llvm::json::Object{{"error", std::move(error)}}), exit_code);
}

// The arguments, with the two words of a command such as "cache ls" as one.
std::vector<std::string> join_command(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) return arguments;
  const std::string joined = arguments[0] + " " + arguments[1];
  if (find_command(joined) == nullptr) return arguments;
  arguments.erase(arguments.begin());
  arguments.front() = joined;
  return arguments;
}

int run_main(int argc, char** argv) {
  const std::vector<std::string> arguments = join_command(argc, argv);
  const Command* command = arguments.empty() ? nullptr : find_command(arguments.front());
  if (llvm::is_contained(arguments, "--help") || llvm::is_contained(arguments, "-h"))
    return print(command != nullptr ? help(*command) : overview(), exit_ok);
  if (arguments.size() == 1 && arguments.front() == "--version")
    return print(fmt::format("mhcjit {}\n", mhcjit_version()), exit_ok);
  if (command == nullptr)
    return fail(
        {MHCJIT_ERROR_INVALID_ARGUMENT, fmt::format("command is '{}', allowed: {}; see mhcjit --help",
                                                    arguments.empty() ? "" : arguments.front(), command_names())});

  const llvm::ArrayRef<std::string> rest = llvm::ArrayRef(arguments).drop_front();
  if (auto error = parse_arguments(command->options, rest)) return fail(take_failure(std::move(error)));
  if (auto error = check_log_level()) return fail(take_failure(std::move(error)));
  llvm::Expected<Report> report = command->run();
  if (!report) return fail(take_failure(report.takeError()));
  return print(json_wanted ? to_text(std::move(report->json)) : report->text, report->exit_code);
}

// Needs no memory of its own.
int fail_without_memory() {
  constexpr char text[] = "host memory ran out; free some, or raise the limit of this process";
  std::fprintf(stderr, "mhcjit: %s\n", text);
  if (!json_wanted) return exit_failed;
  std::array<char, 256> json = {};
  const int length = std::snprintf(json.data(), json.size(),
                                   R"({"error": {"code": "%s", "text": "%s"}})"
                                   "\n",
                                   mhcjit_status_name(MHCJIT_ERROR_OUT_OF_MEMORY), text);
  return print({json.data(), static_cast<std::size_t>(length)}, exit_failed);
}

// Ends the program when memory runs out: LLVM's tables, and its JSON objects with them, do not survive an exception
// from an allocation. Files survive an end at any moment.
void exit_without_memory() {
  static std::atomic_flag taken = ATOMIC_FLAG_INIT;
  while (taken.test_and_set()) std::this_thread::yield();
  std::_Exit(fail_without_memory());
}

}  // namespace
}  // namespace mhcjit::tools

int main(int argc, char** argv) {
  using namespace mhcjit::tools;
  json_wanted = std::any_of(argv, argv + argc, [](std::string_view word) { return word == "--json"; });
  std::set_new_handler(exit_without_memory);
  try {
    return run_main(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail_without_memory();
  } catch (const std::exception& exception) {
    return fail({MHCJIT_ERROR_INTERNAL, exception.what()});
  }
}
