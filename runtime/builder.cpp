#include "runtime/builder.h"

#include <chrono>

#include <llvm/ADT/STLExtras.h>

#include "cache/store_scan.h"
#include "codegen/heuristic.h"
#include "runtime/kernel_units.h"
#include "runtime/profiler_range.h"
#include "runtime/stopwatch.h"
#include "runtime/template_set.h"
#include "runtime/warmup_command.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::runtime {
namespace {

// All that decides the cubins' bytes, and nothing else: no path, no device, no T, no time.
cache::CacheKey key_of(const codegen::KernelSpec& spec, llvm::ArrayRef<CompileRequest> requests,
                       const TemplateSet& templates, const CompilerIdentity& compiler) {
  cache::CacheKey key;
  key.add("generator", MHCJIT_VERSION);
  key.add("problem", to_string(spec.problem));
  key.add("spec", to_string(spec));
  key.add("architecture", to_string(spec.problem.architecture));
  key.add("compiler", to_string(compiler));
  key.add("options", fmt::format("{}", fmt::join(requests.front().options, " ")));
  key.add("templates", templates.digest);
  for (const CompileRequest& request : requests) key.add("source", request.source);
  return key;
}

std::int64_t unix_seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

llvm::Expected<codegen::KernelSpec> spec_of(const BuildRequest& request) {
  if (request.kernel_template) {
    auto wanted = codegen::choose_spec(request.problem, request.kernel_template);
    if (wanted) return wanted;
    llvm::consumeError(wanted.takeError());
  }
  return codegen::choose_spec(request.problem);
}

Builder::Builder(const Settings& settings) : Builder(settings, cache_settings(settings)) {}

Builder::Builder(const Settings& settings, CacheSettings cache)
    : log_(settings.log),
      template_dir_(settings.template_dir),
      no_compile_(settings.no_compile),
      cache_(std::move(cache.root), std::move(cache.tiers)),
      compiler_(settings.nvrtc_path, cache_.roots()),
      misses_(settings.record_path, settings.log) {}

llvm::Expected<Builder::Built> Builder::build(const BuildRequest& request) {
  const Stopwatch watch;
  bool made_here = false;
  auto compiled = operators_.get_or_create(request, [&] {
    made_here = true;
    return make(request, /*refused=*/{});
  });
  if (!compiled) return compiled.takeError();
  if (!made_here && log_.wants(MHCJIT_LOG_TRACE))
    mhcjit::trace(log_, {"hit", to_string(request.problem), (*compiled)->digest, "memory", watch.milliseconds()});
  return Built{*compiled, !made_here || (*compiled)->from_disk};
}

llvm::Expected<CompiledOperatorPtr> Builder::make(const BuildRequest& request, const std::set<std::string>& refused) {
  auto plans = plans_for(request);
  if (!plans) return without_plan(request, plans.takeError());
  const auto compiled = [](const Plan& plan, cache::Entry entry, bool from_disk) {
    return std::make_shared<CompiledOperator>(
        CompiledOperator{plan.spec, plan.compiler, plan.key.digest(), std::move(entry), from_disk});
  };
  const Plan& plan = plans->front();
  const bool is_first_time = refused.empty();
  const Stopwatch watch;
  if (is_first_time) trace("lookup", plan);
  for (const Plan& candidate : *plans) {
    if (refused.contains(candidate.key.digest())) {
      if (!no_compile_) cache_.invalidate(candidate.key);
    } else if (auto found = find(candidate)) {
      return compiled(candidate, std::move(found->entry), /*from_disk=*/true);
    }
  }
  if (is_first_time) {
    trace("miss", plan, "-", watch.milliseconds());
    misses_.add(request.problem);
  }
  if (no_compile_) return not_in_cache(request);

  const auto compile_now = [&] { return compile(plan); };
  if (!is_first_time) {
    // Not what another process has published meanwhile: a read-only folder may still have what was refused.
    auto entry = compile_now();
    if (!entry) return entry.takeError();
    return compiled(plan, std::move(*entry), /*from_disk=*/false);
  }
  auto made = cache_.make_once(plan.key, plan.architecture, compile_now);
  if (!made) return made.takeError();
  if (made->found_in) trace("hit", plan, cache::to_string(*made->found_in), watch.milliseconds());
  return compiled(plan, std::move(made->entry), /*from_disk=*/made->found_in.has_value());
}

llvm::Error Builder::without_plan(const BuildRequest& request, llvm::Error reason) {
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
                    warmup_command(request.problem, roots.empty() ? "" : roots.front(), request.kernel_template));
}

llvm::Expected<std::vector<Builder::Plan>> Builder::plans_for(const BuildRequest& request) {
  auto spec = spec_of(request);
  if (!spec) return spec.takeError();
  auto templates = load_templates(template_dir_);
  if (!templates) return templates.takeError();
  auto compilers = compiler_.identities();
  if (!compilers) return compilers.takeError();
  const std::string architecture = to_string(request.problem.architecture);
  const std::vector<codegen::StagePlan> stages = codegen::stages(*spec);

  std::vector<Plan> plans;
  for (const CompilerIdentity& compiler : *compilers) {
    std::vector<CompileRequest> requests = compile_requests(*spec, **templates, compiler);
    cache::CacheKey key = key_of(*spec, requests, **templates, compiler);
    if (!cache_.root().empty()) {
      for (auto&& [unit, stage] : llvm::zip_equal(requests, stages))
        unit.kept_source_path = cache_.root() + "/" + cache::kept_source_name(key.digest(), stage.name);
    }
    plans.push_back({*spec, architecture, *templates, compiler, std::move(requests), std::move(key)});
  }
  return plans;
}

void Builder::trace(std::string_view event, const Plan& plan, std::string_view tier,
                    std::optional<double> milliseconds) const {
  if (!log_.wants(MHCJIT_LOG_TRACE)) return;
  mhcjit::trace(log_, {event, to_string(plan.spec.problem), plan.key.digest(), tier, milliseconds});
}

std::optional<cache::TieredCache::Found> Builder::find(const Plan& plan) {
  const Stopwatch watch;
  auto found = cache_.find(plan.key, plan.architecture);
  if (found) trace("hit", plan, cache::to_string(found->tier), watch.milliseconds());
  if (found && found->promoted) trace("promote", plan, cache::to_string(cache::Tier::writable));
  // The folder that it came from may be gone the next time, and an older version of this library recorded one compiler
  // of several.
  if (found && (found->promoted || found->tier == cache::Tier::writable)) record_compiler_of_hit(plan.compiler);
  return found;
}

llvm::Expected<cache::Entry> Builder::compile(const Plan& plan) {
  const std::string problem = to_string(plan.spec.problem);
  const Stopwatch watch;
  auto outputs = [&] {
    const ProfilerRange range("compile", problem);
    return compiler_.compile(plan.requests);
  }();
  if (!outputs) {
    const Failure failure = take_failure(outputs.takeError());
    return make_error(failure.status, "{}: {}", problem, failure.text);
  }
  compile_nanoseconds_ += watch.nanoseconds();
  ++compiles_;
  trace("compile", plan, "-", watch.milliseconds());
  const CompilerIdentity compiler = outputs->front().compiler;
  cache::Entry entry = {plan.key.text(), plan.architecture, compiled_kernels(plan.spec, std::move(*outputs)),
                        unix_seconds_now()};
  if (log_.wants(MHCJIT_LOG_INFO))
    log_(MHCJIT_LOG_INFO, fmt::format("compiled {} in {:.0f} ms, {} bytes, digest {}", problem, watch.milliseconds(),
                                      entry.cubin_bytes(), plan.key.digest()));

  // Right for this process, but not what its key says.
  if (compiler != plan.compiler) {
    if (withheld_++ == 0)
      log_(MHCJIT_LOG_WARNING,
           fmt::format(
               "NVRTC was replaced while this process runs: '{}' is open, '{}' is what the cache folder is asked "
               "for; what is compiled is kept in memory only, start the process again to keep it on disk",
               to_string(compiler), to_string(plan.compiler)));
    return entry;
  }
  const Stopwatch publish_watch;
  if (cache_.publish(plan.key, entry)) {
    trace("publish", plan, cache::to_string(cache::Tier::writable), publish_watch.milliseconds());
    record_compiler(plan.compiler);
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
