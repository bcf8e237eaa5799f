// engine_race_check FOLDER [--without-locks]: many threads prepare, compile and ask the same problems of engines
// on the fake driver and compiler, from a cold and from a warm cache folder and with an HTTP server below. Built with
// ThreadSanitizer, which ends the process with exit code 66 when it sees a race. Exit code 1: a call failed, or
// something was compiled twice. With --without-locks the engines run as if locks were not taken: a race is planted.
#include <dlfcn.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "codegen/emit.h"
#include "codegen/operators.h"
#include "mhcjit/mhcjit.h"
#include "runtime/builder.h"
#include "tests/fake_driver/fake_driver.h"
#include "tests/fake_driver/fake_nvrtc.h"

namespace {

std::atomic<bool> without_locks = false;

// Those that this thread will give back.
thread_local int mutexes_not_taken = 0;

}  // namespace

// The linker puts these in the place of the C library's.
// NOLINTBEGIN(bugprone-reserved-identifier): the names that its option --wrap asks for
extern "C" {
int __real_pthread_mutex_lock(pthread_mutex_t*);
int __real_pthread_mutex_unlock(pthread_mutex_t*);

int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (!without_locks.load(std::memory_order_relaxed)) return __real_pthread_mutex_lock(mutex);
  ++mutexes_not_taken;
  return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex) {
  if (mutexes_not_taken == 0) return __real_pthread_mutex_unlock(mutex);
  --mutexes_not_taken;
  return 0;
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace {

constexpr int thread_count = 12;
constexpr int rounds = 6;

template <typename State>
State& state_of(const char* library, const char* function) {
  void* const handle = ::dlopen(library, RTLD_NOW);
  void* const symbol = handle == nullptr ? nullptr : ::dlsym(handle, function);
  if (symbol == nullptr) {
    std::fprintf(stderr, "%s has no %s\n", library, function);
    std::exit(1);
  }
  return *reinterpret_cast<State* (*)()>(symbol)();
}

struct Lines {
  std::mutex mutex;
  std::vector<std::string> lines;
};

void add_line(mhcjit_log_level, const char* line, void* user) {
  auto& to = *static_cast<Lines*>(user);
  const std::lock_guard lock(to.mutex);
  to.lines.emplace_back(line);
}

// An HTTP server that has nothing and takes everything, for as long as the process lives.
class Server {
 public:
  Server() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || ::bind(listener_, generic, size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, generic, &size) != 0)
      std::exit(1);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    std::thread([listener = listener_] {
      for (;;) answer(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    }).detach();
  }

  const std::string& url() const { return url_; }
  static int replies() { return replies_; }

 private:
  static void answer(int connection) {
    std::string text;
    std::size_t head = std::string::npos, body = 0;
    char buffer[65536];
    while (head == std::string::npos || text.size() < head + 4 + body) {
      const ssize_t got = ::read(connection, buffer, sizeof buffer);
      if (got <= 0) break;
      text.append(buffer, static_cast<std::size_t>(got));
      if (head != std::string::npos) continue;
      head = text.find("\r\n\r\n");
      if (const std::size_t length = text.find("Content-Length: "); head != std::string::npos && length < head)
        body = std::strtoul(text.c_str() + length + 16, nullptr, 10);
    }
    const std::string status = text.starts_with("PUT ") ? "201 Created" : "404 Not Found";
    const std::string reply = "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if (::write(connection, reply.data(), reply.size()) > 0) ++replies_;
    ::close(connection);
  }

  static inline std::atomic<int> replies_ = 0;
  int listener_ = -1;
  std::string url_;
};

std::atomic<bool> failed = false;

void check(mhcjit_status status) {
  if (status == MHCJIT_SUCCESS) return;
  std::fprintf(stderr, "%s\n", mhcjit_last_error());
  failed = true;
}

constexpr int problem_count = 6;

// The third of each operator shares kernels with the second.
mhcjit_problem problem_number(int number) {
  const mhcjit_op op = number % 2 == 0 ? MHCJIT_PRE_FORWARD : MHCJIT_PRE_BACKWARD;
  return {.op = op,
          .n = number / 2 == 0 ? 1 : 2,
          .d = 64,
          .dtype = MHCJIT_BF16,
          .batch_invariant = number / 2 == 2 ? 1 : 0};
}

// Kernels of all problems, for two architectures.
std::uint64_t kernel_count() {
  std::set<std::string> units;
  for (const char* architecture : {"sm_90a", "sm_80"})
    for (int number = 0; number < problem_count; ++number) {
      const auto parsed = llvm::cantFail(mhcjit::codegen::parse_architecture(architecture));
      const auto problem = llvm::cantFail(mhcjit::codegen::from_public(problem_number(number), parsed));
      mhcjit::runtime::TunedRecords tuned("", {});
      for (const auto& bucket : llvm::cantFail(mhcjit::runtime::buckets_of({problem}, tuned.of(parsed))))
        for (const auto& kernel : bucket.plan->kernels())
          units.insert(architecture + mhcjit::codegen::emit(problem, kernel));
    }
  return units.size();
}

// One thread's calls. Each thread begins with another problem.
void use(mhcjit_engine* engine, int thread) {
  for (int i = 0; i < problem_count; ++i) {
    const mhcjit_problem problem = problem_number((thread + i) % problem_count);
    const mhcjit_operator* op = nullptr;
    check(mhcjit_prepare(engine, &problem, MHCJIT_DEVICE_GPU, nullptr, &op));
    mhcjit_compile_result result = {};
    check(mhcjit_compile(engine, &problem, i % 2 == 0 ? "sm_90a" : "sm_80", &result));
    mhcjit_counters counters = {};
    check(mhcjit_engine_counters(engine, &counters));
  }
}

// All threads on one engine; what it compiled.
std::uint64_t run_round(const std::string& folder, const std::string& remote_url, fake::Driver& driver) {
  const std::string record = folder + ".jsonl";
  Lines lines;
  mhcjit_engine_options options = {};
  options.cache_dir = folder.c_str();
  options.driver_path = FAKE_DRIVER;
  options.nvrtc_path = FAKE_NVRTC;
  options.read_only_cache_dirs = "";
  options.record_path = record.c_str();
  options.remote_url = remote_url.c_str();
  options.log = add_line;
  options.log_user = &lines;
  options.log_level = MHCJIT_LOG_TRACE;
  mhcjit_engine* engine = nullptr;
  check(mhcjit_engine_create(&options, &engine));
  std::barrier start(thread_count);
  std::vector<std::thread> threads;
  threads.reserve(thread_count);
  for (int thread = 0; thread < thread_count; ++thread)
    threads.emplace_back([&, thread] {
      driver.set_current_device(thread % 2);
      start.arrive_and_wait();
      use(engine, thread);
    });
  for (std::thread& thread : threads) thread.join();
  mhcjit_counters counters = {};
  check(mhcjit_engine_counters(engine, &counters));
  mhcjit_engine_destroy(engine);
  return counters.misses;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 1;
  const std::string root = argv[1];
  const bool plant = argc == 3 && std::string_view(argv[2]) == "--without-locks";
  auto& driver = state_of<fake::Driver>(FAKE_DRIVER, "fake_driver");
  auto& compiler = state_of<fake::Compiler>(FAKE_NVRTC, "fake_compiler");
  compiler.duration = std::chrono::milliseconds(2);

  // Its threads wait for mutexes in the C++ library, which does not know of those that are not taken.
  const Server server;
  const std::string url = plant ? "" : server.url();

  const std::uint64_t kernels = kernel_count();
  without_locks = plant;
  for (int round = 0; round < rounds; ++round) {
    const std::string folder = root + "/" + std::to_string(round);
    if (run_round(folder, url, driver) != kernels || run_round(folder, url, driver) != 0) {
      std::fprintf(stderr, "round %d: compiled twice, or found what is not there\n", round);
      failed = true;
    }
  }
  without_locks = false;
  if (!url.empty() && Server::replies() == 0) {
    std::fprintf(stderr, "the server was not asked\n");
    failed = true;
  }
  return failed ? 1 : 0;
}
