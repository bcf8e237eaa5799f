#include "runtime/warmup_command.h"

#include <fmt/format.h>

namespace mhcjit::runtime {
namespace {

// As one word of a POSIX shell.
std::string quoted(const std::string& text) {
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'')
      word += R"('\'')";
    else
      word += c;
  }
  return word + "'";
}

}  // namespace

std::string warmup_command(const codegen::Problem& problem, const std::string& cache_root, const std::string& plan,
                           const std::string& tuned_path) {
  return fmt::format("{}mhcjit warmup --n {} --d {} --dtype {}{}{}{} --arch {}{}{}",
                     plan.empty() ? "" : fmt::format("MHCJIT_PLAN={} ", quoted(plan)), problem.n, problem.d,
                     to_string(problem.dtype), problem.has_gamma ? " --gamma" : "",
                     problem.batch_invariant ? " --batch-invariant" : "", problem.has_fp32_dx ? " --fp32-dx" : "",
                     to_string(problem.architecture), tuned_path.empty() ? "" : " --tuned " + quoted(tuned_path),
                     cache_root.empty() ? "" : " --cache-dir " + quoted(cache_root));
}

}  // namespace mhcjit::runtime
