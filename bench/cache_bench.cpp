// Measures the cache on the host: the memory look-up, a disk hit up to the driver's load, a publish, a key's digest.
// The counter bar_ns is the most that each may take.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <llvm/ADT/SmallString.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache/disk_cache.h"
#include "cache/single_flight.h"
#include "codegen/choose.h"
#include "codegen/emit.h"
#include "codegen/operators.h"
#include "mhcjit/mhcjit.h"

namespace {

using namespace mhcjit;

constexpr double lookup_bar_ns = 50, hit_50_bar_ns = 25e3, hit_200_bar_ns = 60e3, flushed_publish_bar_ns = 1e6;
constexpr int prepared_count = 200;  // a large model's shapes
constexpr int publishes = 50;        // of a repetition: 10 MB of files at most

// In $TMPDIR: the file system is that of the measurement.
class Folder {
 public:
  Folder() {
    if (llvm::sys::fs::createUniqueDirectory("mhcjit_bench", path_)) path_.clear();
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { llvm::sys::fs::remove_directories(path_); }

  std::string path() const { return path_.str().str(); }

 private:
  llvm::SmallString<128> path_;
};

// As long as a real one.
constexpr char kernel_name[] = "mhcjit_operator_of_this_bench";

codegen::Problem problem_number(int number) {
  return {codegen::operators().front(), 4, 64 * (number + 1), codegen::DType::bf16, true, false, {9, 0, 'a'}};
}

std::string sample_source() {
  const codegen::Problem problem = problem_number(0);
  const std::vector<codegen::Bucket> buckets = llvm::cantFail(codegen::choose(problem));
  return codegen::emit(problem, buckets.back().plan->kernels().front());
}

// The fields of a real kernel's key, in their sizes.
cache::CacheKey key_of(const std::string& source) {
  cache::CacheKey key;
  key.add("kernel", kernel_name);
  key.add("architecture", "sm_90a");
  key.add("compiler", std::string(95, 'c'));
  key.add("options", std::string(90, 'o'));
  key.add("headers", std::string(64, 'h'));
  key.add("source", source);
  return key;
}

cache::CacheKey sample_key() { return key_of(sample_source()); }

// An entry around two real cubins, together made `cubin_bytes` long with bytes that no table names.
cache::Entry sample_entry(const cache::CacheKey& key, std::size_t cubin_bytes) {
  cache::Entry entry;
  entry.key_text = key.text();
  entry.architecture = "sm_90a";
  std::string cubin;
  // Elsewhere than where this was built the file is named by the caller.
  const char* const elsewhere = std::getenv("MHCJIT_BENCH_CUBIN");
  if (auto file = llvm::MemoryBuffer::getFile(elsewhere != nullptr ? elsewhere : BENCH_CUBIN))
    cubin = (*file)->getBuffer().str();
  std::mt19937 random(7);
  while (cubin.size() < cubin_bytes / 2) cubin += static_cast<char>(random());
  entry.kernels = {{{kernel_name, 128, 0, 0, 4096, 256}, cubin}, {{kernel_name, 40, 0, 0, 0, 256}, cubin}};
  return entry;
}

void memory_lookup(benchmark::State& state) {
  cache::SingleFlight<codegen::Problem, std::shared_ptr<int>> flight;
  for (int number = 0; number < prepared_count; ++number)
    llvm::cantFail(flight.get_or_create(problem_number(number), [&]() -> llvm::Expected<std::shared_ptr<int>> {
      return std::make_shared<int>(number);
    }));
  int number = 0;
  for (auto _ : state) {
    const auto* found = flight.find(problem_number(number));
    if (found == nullptr || **found != number) state.SkipWithError("the look-up found another value");
    number = (number + 37) % prepared_count;
  }
  state.counters["bar_ns"] = lookup_bar_ns;
}
BENCHMARK(memory_lookup);

// The same through the public interface.
void prepare_again(benchmark::State& state) {
  mhcjit_engine_options options = {};
  options.cache_dir = "";
  options.cpu_threads = 1;
  mhcjit_engine* engine = nullptr;
  mhcjit_engine_create(&options, &engine);
  const auto prepare = [&](int number) {
    const mhcjit_problem problem = {
        .op = codegen::operators().front()->id, .n = 4, .d = 64 * (number + 1), .dtype = MHCJIT_BF16, .has_gamma = 1};
    const mhcjit_operator* op = nullptr;
    if (mhcjit_prepare(engine, &problem, MHCJIT_DEVICE_CPU, nullptr, &op) != MHCJIT_SUCCESS)
      state.SkipWithError(mhcjit_last_error());
    return op;
  };
  std::vector<const mhcjit_operator*> ops;
  for (int number = 0; number < prepared_count; ++number) ops.push_back(prepare(number));
  int number = 0;
  for (auto _ : state) {
    if (prepare(number) != ops[number]) state.SkipWithError("the look-up found another operator");
    number = (number + 37) % prepared_count;
  }
  mhcjit_engine_destroy(engine);
  state.counters["bar_ns"] = lookup_bar_ns;
}
BENCHMARK(prepare_again);

// Everything between the question and the driver's load, with the file in the page cache.
void disk_hit(benchmark::State& state, std::size_t cubin_bytes, double bar_ns) {
  const Folder folder;
  cache::DiskCache cache(folder.path());
  const cache::CacheKey key = sample_key();
  const cache::Entry entry = sample_entry(key, cubin_bytes);
  if (!cache.publish(key, entry)) state.SkipWithError("the entry cannot be published");
  for (auto _ : state) {
    const auto found = cache.find(key, "sm_90a");
    if (!found || found->cubin_bytes() != cubin_bytes) state.SkipWithError("the entry is not found");
  }
  state.counters["bar_ns"] = bar_ns;
}
BENCHMARK_CAPTURE(disk_hit, 50_KB, 50'000, hit_50_bar_ns);
BENCHMARK_CAPTURE(disk_hit, 200_KB, 200'000, hit_200_bar_ns);

// Under a new name each time, as after a miss: a name that is there is replaced only by the loser of a race, and costs
// what the file system takes to free the file that had it (0.4 ms for 200 KB on ext4). Nothing is deleted before the
// end either: for seconds afterwards ext4 searches long for an inode that was not freed lately (0.1 ms a file).
void publish(benchmark::State& state, std::size_t cubin_bytes, bool flush, double bar_ns) {
  static const Folder folder;
  static int runs = 0;
  cache::Options options;
  options.flush = flush;
  cache::DiskCache cache(fmt::format("{}/{}", folder.path(), ++runs), options);
  cache::CacheKey key = sample_key();
  cache::Entry entry = sample_entry(key, cubin_bytes);
  for (auto _ : state) {
    key.add("another", "one");
    entry.key_text = key.text();
    if (!cache.publish(key, entry)) state.SkipWithError("the entry cannot be published");
  }
  if (bar_ns > 0) state.counters["bar_ns"] = bar_ns;
}
BENCHMARK_CAPTURE(publish, flushed_50_KB, 50'000, true, flushed_publish_bar_ns)->UseRealTime()->Iterations(publishes);
BENCHMARK_CAPTURE(publish, flushed_200_KB, 200'000, true, flushed_publish_bar_ns)->UseRealTime()->Iterations(publishes);
BENCHMARK_CAPTURE(publish, unflushed_50_KB, 50'000, false, 0.0)->UseRealTime()->Iterations(publishes);
BENCHMARK_CAPTURE(publish, unflushed_200_KB, 200'000, false, 0.0)->UseRealTime()->Iterations(publishes);

void digest(benchmark::State& state) {
  const std::string source = sample_source();
  for (auto _ : state) benchmark::DoNotOptimize(key_of(source).digest());
  state.counters["source_bytes"] = static_cast<double>(source.size());
}
BENCHMARK(digest);

}  // namespace
