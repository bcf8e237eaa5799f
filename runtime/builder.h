// Problem to cubins: plans, sources, keys, cache, compile, publish.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/ADT/Hashing.h>
#include <llvm/Support/Error.h>

#include "cache/single_flight.h"
#include "cache/tiered_cache.h"
#include "codegen/choose.h"
#include "runtime/cache_settings.h"
#include "runtime/compiler.h"
#include "runtime/miss_record.h"
#include "runtime/settings.h"
#include "runtime/template_set.h"
#include "runtime/tuned_records.h"

namespace mhcjit::runtime {

struct BuildRequest {
  codegen::Problem problem;  // has passed check()
  // The plans to use (ChooseOptions::wanted). Empty, or none of them legal for the problem: the library chooses.
  std::string plan = {};
  bool tuned = true;  // measured rows come before the estimate

  auto operator<=>(const BuildRequest&) const = default;
  friend llvm::hash_code hash_value(const BuildRequest& request) {
    return llvm::hash_combine(request.problem, request.plan, request.tuned);
  }
};

// The buckets that serve a request, of measured rows where `tuned` has them. Errors: INVALID_ARGUMENT.
llvm::Expected<std::vector<codegen::Bucket>> buckets_of(const BuildRequest& request,
                                                        const codegen::TunedRecords& tuned = {});

// A kernel as the cache or the compiler gave it: shared by all plans and problems whose kernel has this text.
struct BuiltKernel {
  cache::CompiledKernel compiled;
  CompilerIdentity compiler;
  std::string digest;      // of the cache key
  bool from_disk = false;  // read from a cache folder, not compiled by this process
};
using BuiltKernelPtr = std::shared_ptr<const BuiltKernel>;

// The compiled kernels of one request.
struct CompiledOperator {
  std::vector<codegen::Bucket> buckets;
  // Each once, however many buckets use it, but again for a bucket that launches it otherwise. The largest cluster is
  // that of all buckets.
  std::vector<codegen::Kernel> kernels;
  std::vector<BuiltKernelPtr> built;  // in the same order
  // The places in `kernels` of each bucket's own.
  std::vector<std::vector<std::size_t>> bucket_kernels;

  // The only kernel's own; where there are several, the SHA-256 over theirs, one line each.
  std::string digest() const;
  std::size_t cubin_bytes() const;
};
using CompiledOperatorPtr = std::shared_ptr<const CompiledOperator>;

// Thread-safe: concurrent calls build each kernel once.
class Builder {
 public:
  explicit Builder(const Settings& settings);

  struct Built {
    CompiledOperatorPtr compiled;
    bool cache_hit;  // no compile was needed for this call
  };

  // Errors: NO_NVRTC, COMPILATION_FAILED, NOT_IN_CACHE, OUT_OF_MEMORY, IO (template_dir).
  llvm::Expected<Built> build(const BuildRequest& request);

  // Replaces a kernel's entries of these digests, whose cubins the driver refused: by another compiler's entry, else by
  // one that is compiled now, once however many problems and devices share the kernel.
  llvm::Expected<BuiltKernelPtr> build_anew(const BuildRequest& request, const codegen::Kernel& kernel,
                                            const std::set<std::string>& refused);

  TunedRecords& tuned() { return tuned_; }

  cache::TierCounters cache_counters() const { return cache_.counters(); }
  // Counted in kernels.
  std::uint64_t compiles() const { return compiles_; }
  // Those of them that were not published, because another compiler made them than their keys name.
  std::uint64_t withheld() const { return withheld_; }
  double compile_milliseconds() const { return static_cast<double>(compile_nanoseconds_) * 1e-6; }

 private:
  Builder(const Settings& settings, CacheSettings cache);

  // One kernel for one compiler.
  struct Unit {
    const codegen::Problem* problem;
    const codegen::Kernel* kernel;
    CompilerIdentity compiler;
    CompileRequest request;
    cache::CacheKey key;
  };
  // For each compiler whose kernels may be used, the best first. Not empty.
  using Units = std::vector<Unit>;

  // The templates and compilers of a build.
  struct Tools {
    std::shared_ptr<const TemplateSet> templates;
    std::vector<CompilerIdentity> compilers;
  };

  // Sets `compiled_now` when it compiles something itself.
  llvm::Expected<CompiledOperatorPtr> make(const BuildRequest& request, std::atomic<bool>& compiled_now);
  llvm::Expected<Tools> tools(const codegen::Architecture& architecture);
  Units units_of(const codegen::Problem& problem, const codegen::Kernel& kernel, const Tools& tools) const;
  llvm::Error make_missing(const BuildRequest& request, const std::vector<Units>& units,
                           std::vector<BuiltKernelPtr>& kernels, std::atomic<bool>& compiled_now);
  // What serves in place of measured plans that do not compile any more.
  llvm::Expected<CompiledOperatorPtr> make_untuned(BuildRequest request, const std::string& reason,
                                                   std::atomic<bool>& compiled_now);
  // Without a known compiler there is nothing to look up, which is a miss too.
  llvm::Error without_tools(const BuildRequest& request, llvm::Error reason);
  llvm::Error not_in_cache(const BuildRequest& request) const;
  void trace(std::string_view event, const Unit& unit, std::string_view tier = "-",
             std::optional<double> milliseconds = {}) const;
  // nullptr if no cache has it.
  BuiltKernelPtr find(const Units& units);
  BuiltKernelPtr find(const Unit& unit);
  llvm::Expected<BuiltKernelPtr> make_kernel(const Unit& unit);
  llvm::Expected<cache::Entry> compile(const Unit& unit);
  // So that a machine without NVRTC can use what the folder has.
  void record_compiler(const CompilerIdentity& compiler);
  // The same of an entry that was found, once for each compiler.
  void record_compiler_of_hit(const CompilerIdentity& compiler);

  const Log log_;
  const std::string template_dir_;
  const bool no_compile_;
  cache::TieredCache cache_;
  Compiler compiler_;
  MissRecord misses_;
  TunedRecords tuned_;
  cache::SingleFlight<BuildRequest, CompiledOperatorPtr> operators_;
  cache::SingleFlight<std::string, BuiltKernelPtr> kernels_;  // by digest
  cache::SingleFlight<std::string, BuiltKernelPtr> renewed_;  // of those, what took the place of refused ones
  std::atomic<std::uint64_t> compiles_ = 0;
  std::atomic<std::uint64_t> compile_nanoseconds_ = 0;
  std::atomic<std::uint64_t> withheld_ = 0;
  std::mutex recorded_mutex_;
  std::set<std::string> recorded_;  // compilers of hits
};

}  // namespace mhcjit::runtime
