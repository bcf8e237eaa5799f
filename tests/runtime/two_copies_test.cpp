// Two copies of libmhcjit.so in one process, as when two plugins each ship their own: both work, at the same time, on
// one cache folder, each with its own errors, and neither changes how the process takes signals.
#include <dlfcn.h>

#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "mhcjit/mhcjit.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::test {
namespace {

constexpr int shape_count = 12;

mhcjit_problem shape(int number) {
  return {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 64 * (number + 1), .dtype = MHCJIT_BF16, .has_gamma = 1};
}

struct Library {
  explicit Library(const std::string& path) : handle(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr) {
      ADD_FAILURE() << dlerror();
      return;
    }
    find(engine_create, "mhcjit_engine_create");
    find(engine_destroy, "mhcjit_engine_destroy");
    find(compile, "mhcjit_compile");
    find(counters, "mhcjit_engine_counters");
    find(last_error, "mhcjit_last_error");
  }

  template <typename Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    EXPECT_NE(function, nullptr) << name;
  }

  void* handle;
  decltype(&mhcjit_engine_create) engine_create = nullptr;
  decltype(&mhcjit_engine_destroy) engine_destroy = nullptr;
  decltype(&mhcjit_compile) compile = nullptr;
  decltype(&mhcjit_engine_counters) counters = nullptr;
  decltype(&mhcjit_last_error) last_error = nullptr;
};

std::array<struct sigaction, 32> signal_actions() {
  std::array<struct sigaction, 32> actions = {};
  for (int signal = 1; signal < 32; ++signal) ::sigaction(signal, nullptr, &actions[signal]);
  return actions;
}

// Compiles every shape with two threads of its own; the digest of each.
std::vector<std::string> use(const Library& library, const std::string& cache_dir, mhcjit_counters& counters) {
  mhcjit_engine_options options = {};
  options.cache_dir = cache_dir.c_str();
  options.nvrtc_path = FAKE_NVRTC;
  mhcjit_engine* engine = nullptr;
  EXPECT_EQ(library.engine_create(&options, &engine), MHCJIT_SUCCESS) << library.last_error();
  std::vector<std::string> digests(shape_count);
  std::vector<std::thread> threads;
  for (int first = 0; first < 2; ++first)
    threads.emplace_back([&, first] {
      for (int number = first; number < shape_count; number += 2) {
        const mhcjit_problem problem = shape(number);
        mhcjit_compile_result result = {};
        EXPECT_EQ(library.compile(engine, &problem, "sm_90a", &result), MHCJIT_SUCCESS) << library.last_error();
        digests[number] = result.digest;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(library.counters(engine, &counters), MHCJIT_SUCCESS);
  library.engine_destroy(engine);
  return digests;
}

TEST(TwoCopies, ShareAProcessAndACacheFolder) {
  const TemporaryFolder folder;
  const auto signals_before = signal_actions();
  std::filesystem::copy_file(LIBRARY, folder / "libmhcjit_of_another.so");
  const Library first(LIBRARY), second(folder / "libmhcjit_of_another.so");
  ASSERT_NE(first.engine_create, second.engine_create) << "the loader gave the same copy twice";

  mhcjit_counters first_counters = {}, second_counters = {};
  std::vector<std::string> first_digests, second_digests;
  std::thread other([&] { second_digests = use(second, folder / "cache", second_counters); });
  first_digests = use(first, folder / "cache", first_counters);
  other.join();
  EXPECT_EQ(first_digests, second_digests);
  std::uint64_t entries = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder / "cache"))
    entries += file.path().extension() == ".mhcjit" ? 1 : 0;
  EXPECT_GT(entries, static_cast<std::uint64_t>(shape_count)) << "one of each kernel";
  for (const mhcjit_counters& counters : {first_counters, second_counters}) {
    EXPECT_EQ(counters.misses + counters.disk_hits, entries);
    EXPECT_EQ(counters.corrupt_entries, 0u);
    EXPECT_EQ(counters.publish_failures, 0u);
  }

  // Whoever comes later finds everything, whichever copy it is.
  for (const Library* library : {&first, &second}) {
    mhcjit_counters counters = {};
    EXPECT_EQ(use(*library, folder / "cache", counters), first_digests);
    EXPECT_EQ(counters.misses, 0u);
  }

  EXPECT_EQ(first.engine_create(nullptr, nullptr), MHCJIT_ERROR_NULL_POINTER);
  EXPECT_STRNE(first.last_error(), "");
  EXPECT_STREQ(second.last_error(), "") << "one copy's error is the other's";

  const auto signals_after = signal_actions();
  for (int signal = 1; signal < 32; ++signal)
    EXPECT_EQ(signals_after[signal].sa_handler, signals_before[signal].sa_handler) << signal;
}

}  // namespace
}  // namespace mhcjit::test
