// Hours of a bad node in seconds: random finds, publishes and invalidations by threads of several processes while calls
// fail, entries are damaged and swapped, the folder vanishes or changes its mode, and processes are killed. Never a
// wrong kernel, never a crash, no descriptor lost, and a sound cache as soon as the faults end.
//
// MHCJIT_SOAK_SECONDS is how long it takes, 20 by default.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "tests/cache/child.h"
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int key_count = 24, version_count = 3, thread_count = 3, process_count = 3;
constexpr int passed = 0, wrong_kernel = 1, lost_descriptor = 2, no_work = 3;
const int errors[] = {ENOSPC, EDQUOT, EROFS, EACCES, ESTALE, EBUSY, EIO, EINTR, EMFILE, ENOMEM, ENOENT};

// kernels[key][version]
using Kernels = std::vector<std::vector<Sample>>;

bool is_a_version(const Entry& entry, const std::vector<Sample>& versions) {
  for (const Sample& version : versions)
    if (version.entry == entry) return true;
  return false;
}

int open_descriptors() {
  int count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

// One thread's random use of the cache, with a call in fifty failing. False when it saw a wrong kernel.
bool use(const std::string& root, const Kernels& kernels, std::uint64_t seed, Clock::time_point end,
         std::atomic<std::uint64_t>& finds) {
  std::mt19937_64 random(seed);
  FaultyFileOps ops;
  ops.before = [&random](std::string_view) { return random() % 50 == 0 ? errors[random() % std::size(errors)] : 0; };
  while (Clock::now() < end) {
    Options options;
    options.flush = random() % 8 == 0;
    DiskCache cache(root, options, ops);
    for (int operation = 0; operation < 100; ++operation) {
      ops.max_transfer = random() % 4 == 0 ? 1 + random() % 5000 : SIZE_MAX;
      const std::vector<Sample>& versions = kernels[random() % kernels.size()];
      const Sample& made = versions[random() % versions.size()];
      switch (random() % 8) {
        case 0: cache.invalidate(made.key); break;
        case 1:
        case 2: cache.publish(made.key, made.entry); break;
        default:
          if (const std::optional<Entry> found = cache.find(made.key, "sm_90a")) {
            ++finds;
            if (!is_a_version(*found, versions)) return false;
          }
      }
    }
  }
  return true;
}

// A process of several threads.
int run_user(const std::string& root, const Kernels& kernels, std::uint64_t seed, Clock::time_point end) {
  const int before = open_descriptors();
  std::atomic<bool> right = true;
  std::atomic<std::uint64_t> finds = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread)
    threads.emplace_back([&, thread] {
      if (!use(root, kernels, seed * 100 + thread, end, finds)) right = false;
    });
  for (std::thread& thread : threads) thread.join();
  if (!right) return wrong_kernel;
  if (open_descriptors() != before) return lost_descriptor;
  return finds == 0 ? no_work : passed;
}

// Does one bad thing to the folder.
void damage(const std::string& root, const Kernels& kernels, std::mt19937_64& random) {
  const Sample& victim = kernels[random() % kernels.size()][0];
  const std::string path = root + "/" + entry_name(victim.key);
  std::error_code ignored;
  switch (random() % 9) {
    case 0: {
      // What an earlier damage put there may never end, or never begin.
      if (!fs::is_regular_file(fs::symlink_status(path, ignored))) return;
      std::string bytes = test::read_file(path);
      if (!bytes.empty()) bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255);
      test::write_file(path, bytes);
      return;
    }
    case 1: fs::resize_file(path, random() % 4000, ignored); return;
    case 2:
      fs::remove_all(path, ignored);
      fs::create_directories(path + "/inside", ignored);
      return;
    case 3:
      fs::remove_all(path, ignored);
      fs::create_symlink("/dev/zero", path, ignored);
      return;
    case 4:
      fs::remove_all(path, ignored);
      ::mkfifo(path.c_str(), 0600);
      return;
    case 5: {  // another key's entry under this name
      const Sample& other = kernels[random() % kernels.size()][1];
      fs::remove_all(path, ignored);
      fs::copy_file(root + "/" + entry_name(other.key), path, ignored);
      return;
    }
    case 6:
      ::chmod(root.c_str(), 0777);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ::chmod(root.c_str(), 0700);
      return;
    case 7: fs::remove_all(root, ignored); return;
    default: {  // a clock that is decades ahead
      const timespec times[2] = {{4'000'000'000, 0}, {4'000'000'000, 0}};
      ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
    }
  }
}

std::chrono::seconds soak_time() {
  const char* const text = std::getenv("MHCJIT_SOAK_SECONDS");
  return std::chrono::seconds(text == nullptr ? 20 : std::atoi(text));
}

pid_t start_user(const std::string& root, const Kernels& kernels, std::uint64_t seed, Clock::time_point end) {
  return start_child([&] { return run_user(root, kernels, seed, end); });
}

TEST(Soak, RandomUseUnderRandomFaults) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "root";
  Kernels kernels(key_count);
  for (unsigned key = 0; key < key_count; ++key)
    for (unsigned version = 0; version < version_count; ++version)
      kernels[key].push_back(sample(key, 1 + key * version_count + version));

  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const Clock::time_point end = Clock::now() + soak_time();
  std::vector<pid_t> users;
  for (int user = 0; user < process_count; ++user) users.push_back(start_user(root, kernels, random(), end));
  pid_t doomed = start_user(root, kernels, random(), end + std::chrono::hours(1));
  while (Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 10));
    if (random() % 20 == 0) {
      ::kill(doomed, SIGKILL);
      ::waitpid(doomed, nullptr, 0);
      doomed = start_user(root, kernels, random(), end + std::chrono::hours(1));
    } else {
      damage(root, kernels, random);
    }
  }
  ::kill(doomed, SIGKILL);
  ::waitpid(doomed, nullptr, 0);
  for (const pid_t user : users)
    EXPECT_EQ(wait_for_child(user), 0) << "1 is a wrong kernel, 2 a lost descriptor, 3 that nothing was ever found, "
                                          "-1 a signal";

  DiskCache cache(root);
  for (const std::vector<Sample>& versions : kernels) {
    const std::optional<Entry> left = cache.find(versions[0].key, "sm_90a");
    EXPECT_TRUE(!left || is_a_version(*left, versions));
    EXPECT_TRUE(cache.publish(versions[0].key, versions[0].entry));
    EXPECT_EQ(cache.find(versions[0].key, "sm_90a"), versions[0].entry);
  }
  EXPECT_EQ(names_ending(root, ".mhcjit").size(), kernels.size());
}

}  // namespace
}  // namespace mhcjit::cache
