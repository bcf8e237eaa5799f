#include "bench/first_call.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "bench/input_sets.h"
#include "codegen/operator.h"
#include "runtime/stopwatch.h"
#include "support/error.h"

namespace mhcjit::bench {
namespace {

// A child's answer: a result, or why there is none.
struct Message {
  mhcjit_status status = MHCJIT_SUCCESS;
  FirstCall result;
  char text[1024] = {};
};

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "mhcjit-bench-XXXXXX") {
    is_made_ = ::mkdtemp(path_.data()) != nullptr;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (is_made_) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  bool is_made() const { return is_made_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool is_made_ = false;
};

llvm::Error failed(mhcjit_status status) { return make_error(status, std::string(mhcjit_last_error())); }

llvm::Expected<FirstCall> call_once(const codegen::Problem& problem, const std::string& folder, bool is_cold) {
  FirstCall result;
  const runtime::Stopwatch open_watch;
  const gpu::Gpu* gpu = gpu::find_gpu();
  if (gpu == nullptr) return make_error(MHCJIT_ERROR_NO_DEVICE, gpu::missing_gpu());
  result.open_device_ms = open_watch.milliseconds();

  const gpu::Case item = {{{1, problem.n, problem.d, problem.has_gamma}, static_cast<mhcjit_dtype>(problem.dtype), 61}};
  const mhcjit_problem asked = gpu::problem_of(item, problem.op->id);
  const oracle::Inputs inputs = oracle::random_inputs(item.random);
  mhcjit_engine_options options = {};
  options.cache_dir = folder.c_str();
  options.read_only_cache_dirs = options.remote_url = options.record_path = "";

  const runtime::Stopwatch prepare_watch;
  mhcjit_engine* engine = nullptr;
  if (const auto status = mhcjit_engine_create(&options, &engine)) return failed(status);
  const std::unique_ptr<mhcjit_engine, decltype(&mhcjit_engine_destroy)> owner(engine, mhcjit_engine_destroy);
  const mhcjit_operator* op = nullptr;
  if (const auto status = mhcjit_prepare(engine, &asked, MHCJIT_DEVICE_GPU, nullptr, &op)) return failed(status);
  result.prepare_ms = prepare_watch.milliseconds();
  const std::unique_ptr<const gpu::Call> call = make_call(*problem.op, *gpu, item, op, inputs);
  const runtime::Stopwatch call_watch;
  if (const auto status = call->run()) return failed(status);
  gpu->synchronize();
  result.first_call_ms = result.prepare_ms + call_watch.milliseconds();

  mhcjit_counters counters = {};
  if (const auto status = mhcjit_engine_counters(engine, &counters)) return failed(status);
  if ((counters.misses != 0) != is_cold)
    return make_error(MHCJIT_ERROR_INTERNAL, "the first call with a {} cache compiled {} kernels, expected {}",
                      is_cold ? "cold" : "warm", counters.misses, is_cold ? "1 or more" : "0");
  result.compile_ms = counters.compile_ms;
  result.load_ms = counters.load_us * 1e-3;
  return result;
}

Message message_of(llvm::Expected<FirstCall> result) {
  Message message;
  if (result) {
    message.result = *result;
    return message;
  }
  const Failure failure = take_failure(result.takeError());
  message.status = failure.status;
  std::strncpy(message.text, failure.text.c_str(), sizeof message.text - 1);
  return message;
}

[[noreturn]] void be_child(int output, const codegen::Problem& problem, const std::string& folder, bool is_cold) {
  Message message;
  try {
    message = message_of(call_once(problem, folder, is_cold));
  } catch (const std::runtime_error& failure) {
    message = message_of(make_error(MHCJIT_ERROR_LAUNCH_FAILED, std::string(failure.what())));
  }
  const bool sent = ::write(output, &message, sizeof message) == sizeof message;
  ::_exit(sent ? 0 : 1);
}

llvm::Expected<FirstCall> call_in_child(const codegen::Problem& problem, const std::string& folder, bool is_cold) {
  int ends[2] = {};
  if (::pipe(ends) != 0) return make_error(MHCJIT_ERROR_IO, "a pipe cannot be made: {}", std::strerror(errno));
  const pid_t child = ::fork();
  if (child == 0) be_child(ends[1], problem, folder, is_cold);
  ::close(ends[1]);
  Message message;
  const bool received = child > 0 && ::read(ends[0], &message, sizeof message) == sizeof message;
  ::close(ends[0]);
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
  if (!received)
    return make_error(MHCJIT_ERROR_IO, "the process of a first call ended without a result (wait status {})", status);
  if (message.status != MHCJIT_SUCCESS) return make_error(message.status, std::string(message.text));
  return message.result;
}

}  // namespace

llvm::Expected<FirstCalls> bench_first_calls(const codegen::Problem& problem, int repeats) {
  FirstCalls calls;
  for (int i = 0; i < repeats; ++i) {
    const TemporaryFolder folder;
    if (!folder.is_made())
      return make_error(MHCJIT_ERROR_IO, "folder '{}' cannot be made: {}", folder.path(), std::strerror(errno));
    for (const bool is_cold : {true, false}) {
      auto call = call_in_child(problem, folder.path(), is_cold);
      if (!call) return call.takeError();
      (is_cold ? calls.cold : calls.warm).push_back(*call);
    }
  }
  return calls;
}

}  // namespace mhcjit::bench
