#include "runtime/compiler.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/STLFunctionalExtras.h>

#include "runtime/settings.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// Calls `job` for 0 to `count` - 1, on this thread and on others where there are cores for them.
void at_the_same_time(std::size_t count, llvm::function_ref<void(std::size_t)> job) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) job(i);
  };
  const std::size_t threads = std::min<std::size_t>(count, std::thread::hardware_concurrency());
  // Without a policy: in a process that is at its limit of threads, this one does the work.
  std::vector<std::future<void>> others;
  for (std::size_t i = 1; i < threads; ++i) others.push_back(std::async(work));
  work();
  for (std::future<void>& other : others) other.get();
}

}  // namespace

// Only a success is kept: NVRTC may be installed while the process runs.
llvm::Expected<NvrtcLocation> Compiler::location() {
  const std::lock_guard lock(mutex_);
  if (location_) return *location_;
  auto found = locate_nvrtc(nvrtc_path_, get_environment);
  if (!found) return found.takeError();
  auto identity = identify(*found);
  if (!identity) return identity.takeError();
  identity_ = *identity;
  location_ = *found;
  return *location_;
}

llvm::Expected<std::vector<CompilerIdentity>> Compiler::identities() {
  auto found = location();
  if (found) {
    const std::lock_guard lock(mutex_);
    return std::vector{*identity_};
  }
  // A compiler that was named and is not there is a mistake to report, not a machine without a compiler.
  if (!is_named()) {
    std::vector<CompilerIdentity> identities;
    for (const std::string& root : cache_roots_) {
      const auto recorded = recorded_identity(root);
      if (recorded && !llvm::is_contained(identities, *recorded)) identities.push_back(*recorded);
    }
    if (!identities.empty()) {
      llvm::consumeError(found.takeError());
      return identities;
    }
  }
  return found.takeError();
}

bool Compiler::is_named() const { return names_nvrtc(nvrtc_path_, get_environment); }

llvm::Expected<std::vector<CompileOutput>> Compiler::compile(llvm::ArrayRef<CompileRequest> requests) {
  auto found = location();
  if (!found) return found.takeError();
  auto nvrtc = Nvrtc::load(*found);
  if (!nvrtc) return nvrtc.takeError();
  std::vector<std::optional<llvm::Expected<CompileOutput>>> outputs(requests.size());
  at_the_same_time(requests.size(), [&](std::size_t i) { outputs[i].emplace((*nvrtc)->compile(requests[i])); });

  std::vector<CompileOutput> compiled;
  std::optional<Failure> first;
  for (auto& output : outputs) {
    if (*output) {
      compiled.push_back(std::move(**output));
    } else {
      Failure failure = take_failure(output->takeError());
      if (!first) first = std::move(failure);
    }
  }
  if (first) return make_error(first->status, "{}", first->text);
  return compiled;
}

}  // namespace mhcjit::runtime
