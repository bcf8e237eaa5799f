#include "runtime/builder.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <tuple>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "cache/store_scan.h"
#include "codegen/emit.h"
#include "runtime/kernel_unit.h"
#include "runtime/profiler_range.h"
#include "runtime/stopwatch.h"
#include "runtime/template_set.h"
#include "runtime/warmup_command.h"
#include "support/error.h"
#include "support/threads.h"
#include "support/trace.h"

namespace mhcjit::runtime {
namespace {

std::int64_t unix_seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

// "OPERATOR n=4 D=4096 bf16 sm_90a, kernel ENTRY"
std::string name_of(const codegen::Problem& problem, const codegen::Kernel& kernel) {
  return fmt::format("{}, kernel {}", to_string(problem), kernel.entry());
}

}  // namespace

llvm::Expected<std::vector<codegen::Bucket>> buckets_of(const BuildRequest& request,
                                                        const codegen::TunedRecords& tuned) {
  if (!request.plan.empty()) {
    auto wanted = codegen::choose(request.problem, {.wanted = request.plan});
    if (wanted) return wanted;
    llvm::consumeError(wanted.takeError());
  }
  return codegen::choose(request.problem, {.tuned = request.tuned ? tuned : codegen::TunedRecords{}});
}

std::string CompiledOperator::digest() const {
  if (built.size() == 1) return built.front()->digest;
  llvm::SHA256 hash;
  for (const BuiltKernelPtr& kernel : built) hash.update(kernel->digest + "\n");
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

std::size_t CompiledOperator::cubin_bytes() const {
  std::size_t bytes = 0;
  for (const BuiltKernelPtr& kernel : built) bytes += kernel->compiled.cubin.size();
  return bytes;
}

Builder::Builder(const Settings& settings) : Builder(settings, cache_settings(settings)) {}

Builder::Builder(const Settings& settings, CacheSettings cache)
    : log_(settings.log),
      template_dir_(settings.template_dir),
      no_compile_(settings.no_compile),
      cache_(std::move(cache.root), std::move(cache.tiers)),
      compiler_({settings.nvrtc_path, settings.driver_path, cache_.root(), cache_.read_only_roots()}),
      misses_(settings.record_path, settings.log),
      tuned_(settings.tuned_path, settings.log) {}

llvm::Expected<Builder::Built> Builder::build(const BuildRequest& request) {
  const Stopwatch watch;
  bool made_here = false;
  std::atomic<bool> compiled_now = false;
  auto compiled = operators_.get_or_create(request, [&] {
    made_here = true;
    return make(request, compiled_now);
  });
  if (!compiled) return compiled.takeError();
  if (!made_here && log_.wants(MHCJIT_LOG_TRACE))
    mhcjit::trace(log_, {"hit", to_string(request.problem), (*compiled)->digest(), "memory", watch.milliseconds()});
  return Built{*compiled, !compiled_now};
}

llvm::Expected<CompiledOperatorPtr> Builder::make(const BuildRequest& request, std::atomic<bool>& compiled_now) {
  auto buckets = buckets_of(request, tuned_.of(request.problem.architecture));
  if (!buckets) return buckets.takeError();
  const codegen::Origin& origin = buckets->front().origin;
  if (!origin.refused.empty()) tuned_.warn_of_refused(to_string(request.problem), origin.refused);
  auto with = tools(request.problem.architecture);
  if (!with) return without_tools(request, with.takeError());

  auto compiled = std::make_shared<CompiledOperator>();
  std::vector<Units> units;
  std::map<std::string, std::size_t> sources;  // places in `units`
  // Places in compiled->kernels, by source and by what a loaded kernel keeps of its launch.
  std::map<std::tuple<std::size_t, bool, std::vector<std::string_view>>, std::size_t> places;
  std::vector<std::size_t> unit_of_kernel;
  for (const codegen::Bucket& bucket : *buckets) {
    std::vector<std::size_t>& of_bucket = compiled->bucket_kernels.emplace_back();
    for (const codegen::Kernel& kernel : bucket.plan->kernels()) {
      const auto [source, is_new_source] = sources.try_emplace(codegen::emit(request.problem, kernel), units.size());
      if (is_new_source) units.push_back(units_of(request.problem, kernel, *with));
      const auto [place, is_new] =
          places.try_emplace({source->second, kernel.leaves_shared_memory, kernel.makes}, compiled->kernels.size());
      if (is_new) {
        compiled->kernels.push_back(kernel);
        unit_of_kernel.push_back(source->second);
      }
      codegen::Kernel& shared = compiled->kernels[place->second];
      shared.max_cluster_size = std::max(shared.max_cluster_size, kernel.max_cluster_size);
      of_bucket.push_back(place->second);
    }
  }
  std::vector<BuiltKernelPtr> built;  // of the units
  for (const Units& of_source : units) built.push_back(find(of_source));
  if (llvm::is_contained(built, nullptr)) {
    if (auto error = make_missing(request, units, built, compiled_now)) {
      const Failure failure = take_failure(std::move(error));
      if (failure.status == MHCJIT_ERROR_COMPILATION_FAILED && origin.source != codegen::Source::estimate)
        return make_untuned(request, failure.text, compiled_now);
      return make_error(failure.status, failure.text);
    }
  }
  for (const std::size_t unit : unit_of_kernel) compiled->built.push_back(built[unit]);
  compiled->buckets = std::move(*buckets);
  return compiled;
}

llvm::Expected<CompiledOperatorPtr> Builder::make_untuned(BuildRequest request, const std::string& reason,
                                                          std::atomic<bool>& compiled_now) {
  tuned_.warn_of_refused(to_string(request.problem), reason);
  request.tuned = false;
  return make(request, compiled_now);
}

llvm::Error Builder::make_missing(const BuildRequest& request, const std::vector<Units>& units,
                                  std::vector<BuiltKernelPtr>& kernels, std::atomic<bool>& compiled_now) {
  misses_.add(request.problem);
  if (no_compile_) return not_in_cache(request);
  std::vector<std::optional<Failure>> failures(units.size());
  parallel_for(static_cast<std::int64_t>(units.size()), 0, [&](std::int64_t i) {
    if (kernels[i]) return;
    const Unit& unit = units[i].front();
    auto made = kernels_.get_or_create(unit.key.digest(), [&] {
      auto kernel = make_kernel(unit);
      if (kernel && !(*kernel)->from_disk) compiled_now = true;
      return kernel;
    });
    if (made)
      kernels[i] = *made;
    else
      failures[i] = take_failure(made.takeError());
  });
  for (std::optional<Failure>& failure : failures)
    if (failure) return make_error(failure->status, "{}", failure->text);
  return llvm::Error::success();
}

llvm::Expected<Builder::Tools> Builder::tools(const codegen::Architecture& architecture) {
  auto templates = load_templates(template_dir_);
  if (!templates) return templates.takeError();
  auto compilers = compiler_.identities(architecture);
  if (!compilers) return compilers.takeError();
  return Tools{std::move(*templates), std::move(*compilers)};
}

llvm::Error Builder::without_tools(const BuildRequest& request, llvm::Error reason) {
  const Failure failure = take_failure(std::move(reason));
  if (failure.status == MHCJIT_ERROR_NO_NVRTC) {
    mhcjit::trace(log_, {.event = "miss", .problem = to_string(request.problem)});
    misses_.add(request.problem);
    // A compiler that was named and is not there is a mistake to report.
    if (no_compile_ && !compiler_.is_named()) return not_in_cache(request);
  }
  return make_error(failure.status, failure.text);
}

llvm::Error Builder::not_in_cache(const BuildRequest& request) const {
  const std::vector<std::string> roots = cache_.roots();
  return make_error(MHCJIT_ERROR_NOT_IN_CACHE,
                    "{} is in no cache folder ({}), and no_compile or MHCJIT_NO_COMPILE forbids compiling it; compile "
                    "it beforehand: {}",
                    to_string(request.problem),
                    roots.empty() ? "none is in use" : fmt::format("{}", fmt::join(roots, ", ")),
                    warmup_command(request.problem, roots.empty() ? "" : roots.front(), request.plan,
                                   request.tuned ? tuned_.path() : ""));
}

Builder::Units Builder::units_of(const codegen::Problem& problem, const codegen::Kernel& kernel,
                                 const Tools& tools) const {
  Units units;
  for (const CompilerIdentity& compiler : tools.compilers) {
    CompileRequest request = compile_request(problem, kernel, *tools.templates, compiler);
    cache::CacheKey key = key_of(problem, kernel, request, compiler);
    if (!cache_.root().empty())
      request.kept_source_path = cache_.root() + "/" + cache::kept_source_name(key.digest(), kernel.name);
    units.push_back({&problem, &kernel, compiler, std::move(request), std::move(key)});
  }
  return units;
}

void Builder::trace(std::string_view event, const Unit& unit, std::string_view tier,
                    std::optional<double> milliseconds) const {
  if (!log_.wants(MHCJIT_LOG_TRACE)) return;
  mhcjit::trace(log_, {event, to_string(*unit.problem), unit.key.digest(), tier, milliseconds});
}

BuiltKernelPtr Builder::find(const Units& units) {
  const Stopwatch watch;
  const Unit& first = units.front();
  if (const BuiltKernelPtr* ready = kernels_.find(first.key.digest())) {
    trace("hit", first, "memory", watch.milliseconds());
    return *ready;
  }
  trace("lookup", first);
  for (const Unit& unit : units) {
    BuiltKernelPtr found = find(unit);
    if (!found) continue;
    auto kept = kernels_.get_or_create(unit.key.digest(), [&]() -> llvm::Expected<BuiltKernelPtr> { return found; });
    if (kept) return *kept;
    llvm::consumeError(kept.takeError());
    return found;
  }
  trace("miss", first, "-", watch.milliseconds());
  return nullptr;
}

BuiltKernelPtr Builder::find(const Unit& unit) {
  const Stopwatch watch;
  auto found = cache_.find(unit.key, to_string(unit.problem->architecture));
  if (!found || found->entry.kernels.empty()) return nullptr;
  trace("hit", unit, cache::to_string(found->tier), watch.milliseconds());
  if (found->promoted) trace("promote", unit, cache::to_string(cache::Tier::writable));
  // The folder that it came from may be gone the next time, and an older version of this library recorded one compiler
  // of several.
  if (found->promoted || found->tier == cache::Tier::writable) record_compiler_of_hit(unit.compiler);
  return std::make_shared<const BuiltKernel>(
      BuiltKernel{std::move(found->entry.kernels.front()), unit.compiler, unit.key.digest(), /*from_disk=*/true});
}

llvm::Expected<BuiltKernelPtr> Builder::make_kernel(const Unit& unit) {
  const Stopwatch watch;
  auto made = cache_.make_once(unit.key, to_string(unit.problem->architecture), [&] { return compile(unit); });
  if (!made) return made.takeError();
  if (made->found_in) trace("hit", unit, cache::to_string(*made->found_in), watch.milliseconds());
  return std::make_shared<const BuiltKernel>(BuiltKernel{std::move(made->entry.kernels.front()), unit.compiler,
                                                         unit.key.digest(),
                                                         /*from_disk=*/made->found_in.has_value()});
}

llvm::Expected<BuiltKernelPtr> Builder::build_anew(const BuildRequest& request, const codegen::Kernel& kernel,
                                                   const std::set<std::string>& refused) {
  auto with = tools(request.problem.architecture);
  if (!with) return with.takeError();
  const Units units = units_of(request.problem, kernel, *with);
  for (const Unit& unit : units) {
    if (refused.contains(unit.key.digest())) {
      if (!no_compile_) cache_.invalidate(unit.key);
    } else if (auto found = find(unit)) {
      return found;
    }
  }
  if (no_compile_) return not_in_cache(request);
  // Not what another process has published meanwhile: a read-only folder may still have what was refused.
  const Unit& unit = units.front();
  return renewed_.get_or_create(unit.key.digest(), [&]() -> llvm::Expected<BuiltKernelPtr> {
    auto entry = compile(unit);
    if (!entry) return entry.takeError();
    return std::make_shared<const BuiltKernel>(
        BuiltKernel{std::move(entry->kernels.front()), unit.compiler, unit.key.digest(), /*from_disk=*/false});
  });
}

llvm::Expected<cache::Entry> Builder::compile(const Unit& unit) {
  const std::string name = name_of(*unit.problem, *unit.kernel);
  const Stopwatch watch;
  auto output = [&] {
    const ProfilerRange range("compile", to_string(*unit.problem));
    return compiler_.compile(unit.problem->architecture, unit.request);
  }();
  if (!output) {
    const Failure failure = take_failure(output.takeError());
    return make_error(failure.status, "{}: {}", to_string(*unit.problem), failure.text);
  }
  compile_nanoseconds_ += watch.nanoseconds();
  ++compiles_;
  trace("compile", unit, "-", watch.milliseconds());
  const CompilerIdentity compiler = output->compiler;
  cache::Entry entry = {unit.key.text(),
                        to_string(unit.problem->architecture),
                        {compiled_kernel(*unit.kernel, std::move(*output))},
                        unix_seconds_now()};
  if (log_.wants(MHCJIT_LOG_INFO))
    log_(MHCJIT_LOG_INFO, fmt::format("compiled {} in {:.0f} ms, {} bytes, digest {}", name, watch.milliseconds(),
                                      entry.cubin_bytes(), unit.key.digest()));

  // Right for this process, but not what its key says.
  if (compiler != unit.compiler) {
    if (withheld_++ == 0)
      log_(MHCJIT_LOG_WARNING,
           fmt::format(
               "NVRTC was replaced while this process runs: '{}' is open, '{}' is what the cache folder is asked "
               "for; what is compiled is kept in memory only, start the process again to keep it on disk",
               to_string(compiler), to_string(unit.compiler)));
    return entry;
  }
  const Stopwatch publish_watch;
  if (cache_.publish(unit.key, entry)) {
    trace("publish", unit, cache::to_string(cache::Tier::writable), publish_watch.milliseconds());
    record_compiler(unit.compiler);
  }
  return entry;
}

void Builder::record_compiler_of_hit(const CompilerIdentity& compiler) {
  {
    const std::lock_guard lock(recorded_mutex_);
    if (!recorded_.insert(to_string(compiler)).second) return;
  }
  record_compiler(compiler);
}

void Builder::record_compiler(const CompilerIdentity& compiler) {
  if (auto error = record_identity(cache_.root(), compiler))
    log_(MHCJIT_LOG_INFO,
         fmt::format("the cache folder will need NVRTC to be used: {}", take_failure(std::move(error)).text));
}

}  // namespace mhcjit::runtime
