// Compiles a list of problems into a cache folder with several threads.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "codegen/problem.h"
#include "support/error.h"

namespace mhcjit::tools {

// What became of one problem.
struct WarmupOutcome {
  enum class Kind { skipped, compiled, hit, failed };
  Kind kind = Kind::skipped;
  double milliseconds = 0;
  std::size_t cubin_bytes = 0;
  std::string digest;
  Failure failure;  // of a failed one
};

struct WarmupRequest {
  std::vector<codegen::Problem> problems;
  std::string cache_folder;
  int jobs = 1;  // problems that are compiled at the same time
};

// The outcome of each problem, in the order of the request. Progress goes to stderr. Once `interrupted` becomes true,
// what is being compiled is finished and the rest is skipped. A problem that is compiled but could not be written to
// the folder has failed: a warm-up that leaves nothing behind is none.
std::vector<WarmupOutcome> run_warmup(const WarmupRequest& request, const std::atomic<bool>& interrupted);

}  // namespace mhcjit::tools
