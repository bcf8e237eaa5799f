#include "tools/warmup_run.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <llvm/ADT/ScopeExit.h>

#include "runtime/engine.h"
#include "runtime/stopwatch.h"
#include "support/threads.h"
#include "tools/command.h"
#include "tools/progress_line.h"
#include "tools/warmup_progress.h"

namespace mhcjit::tools {
namespace {

using std::chrono::steady_clock;

// Keeps an engine's last warning, the reason for what a compile's result does not say; shows what MHCJIT_LOG asks for.
void take_line(mhcjit_log_level level, const char* line, void* user) {
  if (level == MHCJIT_LOG_WARNING) *static_cast<std::string*>(user) = line;
  if (log_level()) log_to_stderr(level, line, nullptr);
}

WarmupOutcome failed_outcome(Failure failure) {
  return {WarmupOutcome::Kind::failed, 0, 0, "", {}, std::move(failure)};
}

// One thread's compiler. The engine is its own, so that its counters speak of this thread's compiles alone.
class Worker {
 public:
  Worker(const WarmupRequest& request, WarmupDelivery& delivery) : request_(request), delivery_(delivery) {}

  WarmupOutcome compile(const codegen::Problem& problem) {
    const runtime::Stopwatch watch;
    if (llvm::Error error = open()) return failed(take_failure(std::move(error)));
    auto built = engine_->compile(problem);
    if (!built) return failed(take_failure(built.takeError()));
    if (llvm::Error error = check_published()) return failed(take_failure(std::move(error)));
    const runtime::CompiledOperator& compiled = *built->compiled;
    WarmupOutcome outcome = {built->cache_hit ? WarmupOutcome::Kind::hit : WarmupOutcome::Kind::compiled,
                             watch.milliseconds(),
                             compiled.cubin_bytes(),
                             compiled.digest(),
                             {},
                             {}};
    for (const runtime::BuiltKernelPtr& kernel : compiled.built) {
      if (llvm::Error error = delivery_.send(kernel->digest)) return failed(take_failure(std::move(error)));
      outcome.entries.push_back(kernel->digest);
    }
    return outcome;
  }

 private:
  WarmupOutcome failed(Failure failure) const {
    const bool was_not_compiled = failure.status == MHCJIT_ERROR_NOT_IN_CACHE && request_.obstacle;
    return failed_outcome(was_not_compiled ? *request_.obstacle : std::move(failure));
  }

  llvm::Error open() {
    if (engine_) return llvm::Error::success();
    mhcjit_engine_options options = {};
    options.cache_dir = request_.cache_folder.c_str();
    options.no_compile = request_.obstacle ? 1 : 0;
    options.remote_read_only = 1;  // what is sent is to be waited for
    options.log = take_line;
    options.log_level = log_level().value_or(MHCJIT_LOG_WARNING);
    options.record_path = "";  // what a warm-up misses is no program's miss
    options.log_user = &warning_;
    if (!request_.tuned_path.empty()) options.tuned_path = request_.tuned_path.c_str();
    auto settings = runtime::settings_from(options);
    if (!settings) return settings.takeError();
    // The folder is to serve elsewhere, too: what is installed here is copied like the rest.
    if (!settings->installed_root.empty())
      settings->read_only_roots.push_back(std::exchange(settings->installed_root, ""));
    engine_.emplace(*settings);
    return llvm::Error::success();
  }

  // The library goes on without a cache folder that it cannot write.
  llvm::Error check_published() {
    const std::uint64_t failures = engine_->counters().publish_failures;
    if (failures == publish_failures_) return llvm::Error::success();
    publish_failures_ = failures;
    return make_error(MHCJIT_ERROR_IO, "the kernel is not written to the cache folder '{}': {}", request_.cache_folder,
                      warning_);
  }

  const WarmupRequest& request_;
  WarmupDelivery& delivery_;
  std::string warning_;  // outlives the engine
  std::uint64_t publish_failures_ = 0;
  std::optional<runtime::Engine> engine_;
};

// The state that the threads share.
class Run {
 public:
  Run(const WarmupRequest& request, WarmupDelivery& delivery, const std::atomic<bool>& interrupted)
      : request_(request), delivery_(delivery), interrupted_(interrupted), outcomes_(request.problems.size()) {
    counts_.total = request.problems.size();
  }

  // A thread's whole work.
  void work() {
    // Also where memory runs out: watch() counts on it.
    const auto last = llvm::make_scope_exit([this] {
      const std::lock_guard lock(mutex_);
      ++idle_;
      changed_.notify_one();
    });
    Worker worker(request_, delivery_);
    for (std::size_t index = next_++; index < outcomes_.size() && !interrupted_; index = next_++)
      finish(index, worker.compile(request_.problems[index]));
  }

  // Shows progress until `threads` are done.
  void watch(std::size_t threads) {
    const steady_clock::time_point start = steady_clock::now();
    ProgressLine progress(ProgressLine::style(), start);
    std::unique_lock lock(mutex_);
    while (idle_ < threads) {
      // The time left changes also while nothing ends.
      changed_.wait_for(lock, std::chrono::seconds(1));
      const steady_clock::time_point now = steady_clock::now();
      write_progress(progress.update(counts_.done(), counts_.total, describe(counts_, now - start), now));
    }
    write_progress(progress.clear());
  }

  // After all threads have ended: what was there once may be gone, as by a trim of another process.
  std::vector<WarmupOutcome> take() {
    for (WarmupOutcome& outcome : outcomes_)
      if (llvm::Error error = find_all(outcome.entries)) outcome = failed_outcome(take_failure(std::move(error)));
    return std::move(outcomes_);
  }

 private:
  llvm::Error find_all(const std::vector<std::string>& entries) const {
    for (const std::string& digest : entries)
      if (llvm::Error error = delivery_.find(digest)) return error;
    return llvm::Error::success();
  }

  void finish(std::size_t index, WarmupOutcome outcome) {
    const std::lock_guard lock(mutex_);
    using Kind = WarmupOutcome::Kind;
    counts_.compiled += outcome.kind == Kind::compiled ? 1 : 0;
    counts_.hits += outcome.kind == Kind::hit ? 1 : 0;
    counts_.failed += outcome.kind == Kind::failed ? 1 : 0;
    outcomes_[index] = std::move(outcome);
    changed_.notify_one();
  }

  const WarmupRequest& request_;
  WarmupDelivery& delivery_;
  const std::atomic<bool>& interrupted_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t idle_ = 0;
  WarmupCounts counts_;
  std::vector<WarmupOutcome> outcomes_;
};

}  // namespace

std::vector<WarmupOutcome> run_warmup(const WarmupRequest& request, WarmupDelivery& delivery,
                                      const std::atomic<bool>& interrupted) {
  Run run(request, delivery, interrupted);
  Threads threads;
  while (threads.count() < static_cast<std::size_t>(request.jobs) && threads.start([&run] { run.work(); })) {
  }
  if (threads.count() == 0) run.work();
  run.watch(threads.count());
  threads.join();
  return run.take();
}

}  // namespace mhcjit::tools
