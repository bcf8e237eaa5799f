// Compiles a list of problems into a cache folder with several threads.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "codegen/problem.h"
#include "support/error.h"
#include "tools/warmup_delivery.h"

namespace mhcjit::tools {

// The outcome of one problem.
struct WarmupOutcome {
  enum class Kind { skipped, compiled, hit, failed };
  Kind kind = Kind::skipped;
  double milliseconds = 0;
  std::size_t cubin_bytes = 0;
  std::string digest;                // as mhcjit_compile_result has it
  std::vector<std::string> entries;  // the digests of its kernels
  Failure failure;                   // of a failed one
};

struct WarmupRequest {
  std::vector<codegen::Problem> problems;
  std::string cache_folder;
  int jobs = 1;            // problems that are compiled at the same time
  std::string tuned_path;  // of a record that has been read; "": that of the environment
  // Why nothing is to be compiled; hits are hits all the same.
  std::optional<Failure> obstacle = {};
};

// The outcome of each problem, in the order of the request. Progress goes to stderr. Once `interrupted` becomes true,
// what is being compiled is finished and the rest is skipped. A problem whose kernels a later process will not find has
// failed, compiled or not: a warm-up that leaves nothing behind is none.
std::vector<WarmupOutcome> run_warmup(const WarmupRequest& request, WarmupDelivery& delivery,
                                      const std::atomic<bool>& interrupted);

}  // namespace mhcjit::tools
