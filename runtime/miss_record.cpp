#include "runtime/miss_record.h"

#include <mutex>
#include <set>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/system_call.h"
#include "codegen/operator.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// The lines that this process has written.
struct Written {
  std::mutex mutex;
  std::set<std::pair<std::string, std::string>> lines;  // path and line
};

Written& written() {
  // Never destroyed: a thread may still record while the process exits.
  static auto* const written = new Written;
  return *written;
}

// True if a write to the file was cut short. False when it cannot be told.
bool ends_within_a_line(cache::FileOps& ops, const std::string& path) {
  constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const cache::Descriptor file(ops, cache::retry([&] { return ops.open(path.c_str(), flags, 0); }));
  struct stat status = {};
  char last = '\n';
  return file.get() >= 0 && ops.fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
         ::pread(file.get(), &last, 1, status.st_size - 1) == 1 && last != '\n';
}

// `line` ends with a newline.
llvm::Error append(const std::string& path, std::string line) {
  cache::FileOps& ops = cache::FileOps::system();
  if (ends_within_a_line(ops, path)) line.insert(0, 1, '\n');
  // Not to wait for the reader of a FIFO.
  constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  cache::Descriptor file(ops, cache::retry([&] { return ops.open(path.c_str(), flags, 0644); }));
  if (file.get() < 0) return cache::call_failed("open", path, errno);
  const ssize_t size = cache::retry([&] { return ops.write(file.get(), line.data(), line.size()); });
  if (size != static_cast<ssize_t>(line.size())) return cache::call_failed("write", path, size < 0 ? errno : ENOSPC);
  return file.close() ? llvm::Error::success() : cache::call_failed("close", path, errno);
}

}  // namespace

std::string shape_line(const codegen::Problem& problem) {
  return fmt::format(R"({{"n":{},"d":{},"dtype":"{}","gamma":{},"batch_invariant":{},"fp32_dx":{},"ops":["{}"]}})",
                     problem.n, problem.d, to_string(problem.dtype), problem.has_gamma, problem.batch_invariant,
                     problem.has_fp32_dx, problem.op->name);
}

void MissRecord::add(const codegen::Problem& problem) {
  if (path_.empty()) return;
  const std::string line = shape_line(problem);
  const std::lock_guard lock(written().mutex);
  if (written().lines.contains({path_, line})) return;
  if (llvm::Error error = append(path_, line + '\n')) {
    const std::string reason = take_failure(std::move(error)).text;
    if (!warned_.exchange(true))
      log_(MHCJIT_LOG_WARNING, fmt::format("a problem that no cache folder has is not recorded for warm-ups: {}; make "
                                           "the file of record_path or MHCJIT_RECORD writable",
                                           reason));
    return;
  }
  written().lines.emplace(path_, line);
}

}  // namespace mhcjit::runtime
