// Problem to cubins: spec, sources, key, cache, compile, publish.
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
#include "codegen/kernel_spec.h"
#include "runtime/cache_settings.h"
#include "runtime/compiler.h"
#include "runtime/miss_record.h"
#include "runtime/settings.h"
#include "runtime/template_set.h"

namespace mhcjit::runtime {

struct BuildRequest {
  codegen::Problem problem;  // has passed check()
  // Of the kernels, where it fits the problem; else, and without it, the library's choice.
  std::optional<codegen::KernelTemplate> kernel_template = {};

  auto operator<=>(const BuildRequest&) const = default;
  friend llvm::hash_code hash_value(const BuildRequest& request) {
    return llvm::hash_combine(request.problem, request.kernel_template);
  }
};

// What is compiled for a request: the wanted template where it fits, else the library's choice. Errors:
// INVALID_ARGUMENT.
llvm::Expected<codegen::KernelSpec> spec_of(const BuildRequest& request);

// The compiled kernels of one request.
struct CompiledOperator {
  codegen::KernelSpec spec;
  CompilerIdentity compiler;
  std::string digest;  // of the cache key
  cache::Entry entry;
  bool from_disk = false;  // read from a cache folder, not compiled by this process
};

using CompiledOperatorPtr = std::shared_ptr<const CompiledOperator>;

// Thread-safe: concurrent calls for one request build it once.
class Builder {
 public:
  explicit Builder(const Settings& settings);

  struct Built {
    CompiledOperatorPtr compiled;
    bool cache_hit;  // no compile was needed for this call
  };

  // Errors: NO_NVRTC, COMPILATION_FAILED, NOT_IN_CACHE, OUT_OF_MEMORY, IO (template_dir).
  llvm::Expected<Built> build(const BuildRequest& request);

  // What serves in place of the entries of these digests, whose cubins the driver refused: another compiler's entry,
  // else what is compiled now and replaces them.
  llvm::Expected<CompiledOperatorPtr> build_anew(const BuildRequest& request, const std::set<std::string>& refused) {
    return make(request, refused);
  }

  cache::TierCounters cache_counters() const { return cache_.counters(); }
  // Of operators, however many kernels each has.
  std::uint64_t compiles() const { return compiles_; }
  // Of those, the ones that were not published, because another compiler made them than their keys name.
  std::uint64_t withheld() const { return withheld_; }
  double compile_milliseconds() const { return static_cast<double>(compile_nanoseconds_) * 1e-6; }

 private:
  Builder(const Settings& settings, CacheSettings cache);

  // What one compiler is to make of a request.
  struct Plan {
    codegen::KernelSpec spec;
    std::string architecture;
    std::shared_ptr<const TemplateSet> templates;
    CompilerIdentity compiler;
    std::vector<CompileRequest> requests;
    cache::CacheKey key;
  };

  llvm::Expected<CompiledOperatorPtr> make(const BuildRequest& request, const std::set<std::string>& refused);
  // Where no compiler is known there is nothing to look up, which is a miss too.
  llvm::Error without_plan(const BuildRequest& request, llvm::Error reason);
  llvm::Error not_in_cache(const BuildRequest& request) const;
  // For each compiler whose kernel may be used, the best first. Not empty.
  llvm::Expected<std::vector<Plan>> plans_for(const BuildRequest& request);
  void trace(std::string_view event, const Plan& plan, std::string_view tier = "-",
             std::optional<double> milliseconds = {}) const;
  std::optional<cache::TieredCache::Found> find(const Plan& plan);
  llvm::Expected<cache::Entry> compile(const Plan& plan);
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
  cache::SingleFlight<BuildRequest, CompiledOperatorPtr> operators_;
  std::atomic<std::uint64_t> compiles_ = 0;
  std::atomic<std::uint64_t> compile_nanoseconds_ = 0;
  std::atomic<std::uint64_t> withheld_ = 0;
  std::mutex recorded_mutex_;
  std::set<std::string> recorded_;  // compilers of hits
};

}  // namespace mhcjit::runtime
