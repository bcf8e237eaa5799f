// A host at its limit of threads, memory or open files: every call ends with a value and a text, nothing is printed and
// no signal is raised; and once there is enough again, the same calls succeed.
#include <grp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "tests/runtime/fake_gpu.h"
#include "tests/support/few_threads.h"
#include "tests/support/scarce_memory.h"

namespace mhcjit::test {
namespace {

// What a child process came to, "" for nothing but an exit status of 0.
std::string describe(int status, const std::string& printed) {
  std::string text;
  if (WIFSIGNALED(status)) text = fmt::format("signal {}", WTERMSIG(status));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) text = fmt::format("exit status {}", WEXITSTATUS(status));
  return printed.empty() ? text : fmt::format("{}, printed: {}", text, printed);
}

// Runs `body` in a child, whose exit status it returns: a limit that is set cannot always be raised again, and what a
// process has done once it does not do again.
template <typename Body>
std::string in_child(Body&& body) {
  const int output = ::memfd_create("output", 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);  // a hang is a failure
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::_exit(body());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  std::string printed(static_cast<std::size_t>(::lseek(output, 0, SEEK_END)), '\0');
  EXPECT_EQ(::pread(output, printed.data(), printed.size(), 0), static_cast<ssize_t>(printed.size()));
  ::close(output);
  return describe(status, printed);
}

void limit(__rlimit_resource resource, rlim_t value) {
  rlimit limits = {};
  ::getrlimit(resource, &limits);
  limits.rlim_cur = std::min(value, limits.rlim_max);
  ::setrlimit(resource, &limits);
}

rlim_t address_space_in_use() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<rlim_t>(::getpagesize());
}

class LimitsTest : public FakeGpuTest {
 protected:
  ~LimitsTest() override { lift(); }

  static void lift() {
    allow_threads(any_number);
    fail_allocations(endless, 0);
  }

  mhcjit_status create(mhcjit_engine** engine, int cpu_threads = 4) {
    mhcjit_engine_options chosen = options();
    chosen.log = nullptr;
    chosen.cpu_threads = cpu_threads;
    chosen.record_path = record_path_.c_str();
    return mhcjit_engine_create(&chosen, engine);
  }

  // From an engine's creation to its end. The first status that is not success, else success.
  mhcjit_status prepare_all(mhcjit_device device) {
    mhcjit_engine* engine = nullptr;
    mhcjit_status status = create(&engine);
    const auto then = [&](auto&& call) {
      if (status == MHCJIT_SUCCESS) status = call();
    };
    if (device == MHCJIT_DEVICE_GPU) then([&] { return mhcjit_compile(engine, &backward_problem, "sm_80", nullptr); });
    for (const mhcjit_problem* problem : {&forward_problem, &backward_problem}) {
      const mhcjit_operator* op = nullptr;
      then([&] { return mhcjit_prepare(engine, problem, device, nullptr, &op); });
    }
    mhcjit_counters counters = {};
    then([&] { return mhcjit_engine_counters(engine, &counters); });
    mhcjit_engine_destroy(engine);
    return status;
  }

  // For a child: sets a limit, prepares, and lifts the limit. 0 where that ended with a value and a text, and could
  // then be done.
  template <typename Set, typename Lift>
  int prepare_within(mhcjit_device device, Set&& set, Lift&& lift_again) {
    set();
    const mhcjit_status status = prepare_all(device);
    lift_again();
    if (status == MHCJIT_ERROR_INTERNAL || (status != MHCJIT_SUCCESS && *mhcjit_last_error() == '\0')) {
      fmt::print(stderr, "{}: {}", mhcjit_status_name(status), mhcjit_last_error());
      return 1;
    }
    if (prepare_all(device) == MHCJIT_SUCCESS) return 0;
    fmt::print(stderr, "afterwards: {}", mhcjit_last_error());
    return 2;
  }

  // Each child begins with a cache folder that is not there.
  void next_cache() {
    std::filesystem::remove_all(cache_dir);
    cache_dir = folder / fmt::format("cache{}", ++caches_);
  }

  std::string record_path_ = folder / "record";
  int caches_ = 0;
};

constexpr mhcjit_device devices[] = {MHCJIT_DEVICE_CPU, MHCJIT_DEVICE_GPU};

// The allocation that fails, alone or with all after it, is each of the CPU's in turn and every 37th of the GPU's.
TEST_F(LimitsTest, AnAllocationThatFailsIsAValue) {
  for (const mhcjit_device device : devices) {
    for (const std::int64_t failing : {std::int64_t{1}, endless}) {
      const std::int64_t step = device == MHCJIT_DEVICE_CPU ? 1 : 37;
      std::int64_t first = 0;
      bool fails = true;
      for (; fails; first += step) {
        next_cache();
        constexpr int none_failed = 3;
        const std::string ended = in_child([&] {
          const int result = prepare_within(
              device, [&] { fail_allocations(first, failing); },
              [&] {
                fails = allocations() > first;
                lift();
              });
          return result == 0 && !fails ? none_failed : result;
        });
        fails = ended != fmt::format("exit status {}", none_failed);
        ASSERT_TRUE(ended.empty() || !fails) << "allocation " << first << ", device " << device << ": " << ended;
      }
      EXPECT_GT(first, 20) << "device " << device;
    }
  }
}

TEST_F(LimitsTest, LittleAddressSpaceIsAValue) {
  for (const mhcjit_device device : devices) {
    for (int step = 0; step < 40; ++step) {
      next_cache();
      const std::string ended = in_child([&] {
        return prepare_within(
            device, [&] { limit(RLIMIT_AS, address_space_in_use() + static_cast<rlim_t>(step) * 64 * 1024); },
            [] { limit(RLIMIT_AS, RLIM_INFINITY); });
      });
      EXPECT_EQ(ended, "") << step << ", device " << device;
    }
  }
}

TEST_F(LimitsTest, FewOpenFilesAreAValue) {
  for (const mhcjit_device device : devices) {
    for (rlim_t files = 0; files < 24; ++files) {
      next_cache();
      const std::string ended = in_child([&] {
        rlimit before = {};
        ::getrlimit(RLIMIT_NOFILE, &before);
        return prepare_within(
            device, [&] { limit(RLIMIT_NOFILE, files); }, [&] { ::setrlimit(RLIMIT_NOFILE, &before); });
      });
      EXPECT_EQ(ended, "") << files << ", device " << device;
    }
  }
}

TEST_F(LimitsTest, AFolderThatCannotBeListedIsSaidToBeSo) {
  rlimit before = {};
  ::getrlimit(RLIMIT_NOFILE, &before);
  limit(RLIMIT_NOFILE, 0);
  const mhcjit_status status = prepare_all(MHCJIT_DEVICE_GPU);
  ::setrlimit(RLIMIT_NOFILE, &before);
  expect_failure(status, MHCJIT_ERROR_NO_NVRTC, {"lies in a folder that cannot be read: Too many open files"});
}

// From here on this process itself uses CUDA, which its children then could not.
TEST_F(LimitsTest, OneThreadCompilesWhereThereIsNoOther) {
  allow_threads(0);
  EXPECT_EQ(prepare_all(MHCJIT_DEVICE_GPU), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(compiler().most_units_at_once, 1);
}

TEST_F(LimitsTest, ARefusalHasATextWithoutMemoryForIt) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  call.args.T = -1;
  fail_allocations(0, endless);
  const mhcjit_status refused = mhcjit_pre_forward(op, &call.args, nullptr);
  const char* const text = mhcjit_last_error();
  lift();
  EXPECT_EQ(refused, MHCJIT_ERROR_OUT_OF_MEMORY);
  EXPECT_STREQ(text, "host memory ran out; free memory and call again");
  expect_failure(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_ERROR_INVALID_ARGUMENT, {"T is -1"});
}

// The CPU path on a problem that 250 threads would find work in.
class CpuLimitsTest : public LimitsTest {
 protected:
  static constexpr int n = 2, d = 24, rows = n * n + 2 * n;
  static constexpr std::int64_t T = 2000;
  static constexpr mhcjit_problem forward = {.op = MHCJIT_PRE_FORWARD, .n = n, .d = d, .dtype = MHCJIT_FP32};
  static constexpr mhcjit_problem backward = {.op = MHCJIT_PRE_BACKWARD, .n = n, .d = d, .dtype = MHCJIT_FP32};

  struct Results {
    std::vector<float> h_in = std::vector<float>(T * d), h_post = std::vector<float>(T * n),
                       h_res = std::vector<float>(T * n * n), inv_rms = std::vector<float>(T),
                       h_mix = std::vector<float>(T * rows), h_pre = std::vector<float>(T * n),
                       dx = std::vector<float>(T * n * d), dphi = std::vector<float>(rows * n * d),
                       dalpha = std::vector<float>(3), dbias = std::vector<float>(rows);

    bool operator==(const Results&) const = default;
  };

  static std::vector<float> draw(std::size_t size) {
    static std::mt19937 random(20240607);
    std::normal_distribution<float> normal;
    std::vector<float> values(size);
    for (float& value : values) value = normal(random);
    return values;
  }

  mhcjit_status run(int cpu_threads, Results& results) {
    mhcjit_engine* engine = nullptr;
    mhcjit_status status = create(&engine, cpu_threads);
    const auto then = [&](auto&& call) {
      if (status == MHCJIT_SUCCESS) status = call();
    };
    const mhcjit_operator *forward_op = nullptr, *backward_op = nullptr;
    then([&] { return mhcjit_prepare(engine, &forward, MHCJIT_DEVICE_CPU, nullptr, &forward_op); });
    then([&] { return mhcjit_prepare(engine, &backward, MHCJIT_DEVICE_CPU, nullptr, &backward_op); });
    mhcjit_pre_forward_args args = {};
    args.x = x_.data();
    args.phi = phi_.data();
    args.alpha = alpha_.data();
    args.bias = bias_.data();
    args.T = T;
    args.norm_eps = args.hc_eps = 1e-6f;
    args.h_in = results.h_in.data();
    args.h_post = results.h_post.data();
    args.h_res = results.h_res.data();
    args.inv_rms = results.inv_rms.data();
    args.h_mix = results.h_mix.data();
    args.h_pre = results.h_pre.data();
    args.workspace = workspace_.data();
    args.workspace_bytes = workspace_.size() * sizeof workspace_[0];
    if (!calls_have_memory_) fail_allocations(0, endless);
    then([&] { return mhcjit_pre_forward(forward_op, &args, nullptr); });
    mhcjit_pre_backward_args back = {};
    back.x = x_.data();
    back.phi = phi_.data();
    back.alpha = alpha_.data();
    back.inv_rms = results.inv_rms.data();
    back.h_mix = results.h_mix.data();
    back.h_pre = results.h_pre.data();
    back.h_post = results.h_post.data();
    back.dh_in = dh_in_.data();
    back.T = T;
    back.hc_eps = 1e-6f;
    back.dx = results.dx.data();
    back.dphi = results.dphi.data();
    back.dalpha = results.dalpha.data();
    back.dbias = results.dbias.data();
    back.workspace = workspace_.data();
    back.workspace_bytes = workspace_.size() * sizeof workspace_[0];
    then([&] { return mhcjit_pre_backward(backward_op, &back, nullptr); });
    fail_allocations(endless, 0);
    mhcjit_engine_destroy(engine);
    return status;
  }

  const std::vector<float> x_ = draw(T * n * d), phi_ = draw(rows * n * d), alpha_ = draw(3), bias_ = draw(rows),
                           dh_in_ = draw(T * d);
  bool calls_have_memory_ = true;
  std::vector<std::max_align_t> workspace_ = std::vector<std::max_align_t>(T * rows);
};

TEST_F(CpuLimitsTest, TheThreadsThatCanBeHadGiveTheSameBits) {
  Results expected;
  ASSERT_EQ(run(1, expected), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (const int allowed : {0, 1, 5}) {
    allow_threads(allowed);
    Results results;
    ASSERT_EQ(run(2000, results), MHCJIT_SUCCESS) << mhcjit_last_error();
    if (allowed == 0) {
      EXPECT_GT(refused_threads(), 0);
    }
    EXPECT_TRUE(results == expected) << allowed;
  }
}

// The system's own limit, which does not bind root: the child is another user.
TEST_F(CpuLimitsTest, TheUsersLimitOfThreads) {
  Results expected;
  ASSERT_EQ(run(1, expected), MHCJIT_SUCCESS) << mhcjit_last_error();
  constexpr int no_limit = 3;
  for (const rlim_t threads : {1, 100}) {
    const std::string ended = in_child([&] {
      constexpr uid_t nobody = 65534;
      if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0))
        return no_limit;
      limit(RLIMIT_NPROC, threads);
      Results results;
      if (run(2000, results) != MHCJIT_SUCCESS || results != expected) return 1;
      if (threads > 1) return 0;
      try {
        std::thread([] {}).join();
        return no_limit;
      } catch (const std::system_error&) {
        return 0;
      }
    });
    if (ended == fmt::format("exit status {}", no_limit)) GTEST_SKIP() << "this system does not limit threads";
    EXPECT_EQ(ended, "") << threads;
  }
}

TEST_F(CpuLimitsTest, CallsNeedNoMemory) {
  Results expected, results;
  ASSERT_EQ(run(1, expected), MHCJIT_SUCCESS) << mhcjit_last_error();
  calls_have_memory_ = false;
  ASSERT_EQ(run(2000, results), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(results == expected);
}

TEST_F(CpuLimitsTest, LittleAddressSpaceForThreads) {
  Results expected;
  ASSERT_EQ(run(1, expected), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (int megabytes = 0; megabytes < 64; megabytes += 4) {  // a stack has 8
    const std::string ended = in_child([&] {
      Results results;
      limit(RLIMIT_AS, address_space_in_use() + static_cast<rlim_t>(megabytes) * 1024 * 1024);
      const mhcjit_status status = run(2000, results);
      return status == MHCJIT_ERROR_OUT_OF_MEMORY || (status == MHCJIT_SUCCESS && results == expected) ? 0 : 1;
    });
    EXPECT_EQ(ended, "") << megabytes;
  }
}

}  // namespace
}  // namespace mhcjit::test
