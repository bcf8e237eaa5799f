// Entries around real cubins, and what tests look at around a DiskCache.
#pragma once

#include <filesystem>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cache/disk_cache.h"
#include "cache/signed_store.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::cache {

inline std::string data_file(const std::string& name) {
  const std::string bytes = test::read_file(std::string(MHCJIT_CACHE_TEST_DATA) + "/" + name);
  EXPECT_FALSE(bytes.empty()) << name;
  return bytes;
}

inline std::string random_bytes(std::mt19937_64& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

struct Sample {
  CacheKey key;
  Entry entry;
};

// Two calls with one seed give one key; `version` varies what stands under it.
inline Sample sample(unsigned seed = 1, unsigned version = 1, const std::string& architecture = "sm_90a") {
  std::mt19937_64 random(seed);
  Sample made;
  made.key.add("architecture", architecture);
  made.key.add("source", random_bytes(random, 300));
  random.seed(1000 + version);
  const auto number = [&random] { return static_cast<int>(random() % 2147483648u); };
  made.entry.key_text = made.key.text();
  made.entry.architecture = architecture;
  for (const char* compiler : {"nvrtc13", "nvrtc12"}) {
    made.entry.kernels.push_back({{fmt::format("scale_{}", compiler), number(), number(), number(), number(), number()},
                                  data_file(fmt::format("scale_{}.{}.cubin", compiler, architecture))});
  }
  made.entry.created_unix_seconds = static_cast<std::int64_t>(random());
  return made;
}

// What a store with this key holds of it.
inline std::string file_with(const std::string& hmac_key, const Sample& made) {
  const std::string bytes = encode(made.entry);
  return hmac_key.empty() ? bytes : bytes + tag_of(bytes, hmac_key);
}

inline std::string entry_name(const CacheKey& key) { return key.digest() + ".mhcjit"; }

// Names in the folder that end in `suffix`; none when there is no folder.
inline std::vector<std::string> names_ending(const std::string& folder, const std::string& suffix) {
  std::vector<std::string> names;
  std::error_code absent;
  for (const auto& item : std::filesystem::directory_iterator(folder, absent)) {
    if (item.path().filename().string().ends_with(suffix)) names.push_back(item.path().filename().string());
  }
  return names;
}

// Collects what is logged.
class Warnings {
 public:
  Options options(bool flush = true) {
    Options options;
    options.flush = flush;
    options.log = Log([this](mhcjit_log_level, std::string_view line) { add(line); }, MHCJIT_LOG_WARNING);
    return options;
  }

  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  void add(std::string_view line) {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
  }

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace mhcjit::cache
