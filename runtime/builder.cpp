#include "runtime/builder.h"

#include <chrono>

#include "codegen/emit.h"
#include "codegen/heuristic.h"
#include "runtime/profiler_range.h"
#include "runtime/ptxas_log.h"
#include "runtime/stopwatch.h"
#include "runtime/template_set.h"
#include "runtime/warmup_command.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::runtime {
namespace {

// All that decides the cubin's bytes, and nothing else: no path, no device, no T, no time.
cache::CacheKey key_of(const codegen::KernelSpec& spec, const CompileRequest& request, const TemplateSet& templates,
                       const CompilerIdentity& compiler) {
  cache::CacheKey key;
  key.add("generator", MHCJIT_VERSION);
  key.add("problem", to_string(spec.problem));
  key.add("spec", to_string(spec));
  key.add("architecture", to_string(spec.problem.architecture));
  key.add("compiler", to_string(compiler));
  key.add("options", fmt::format("{}", fmt::join(request.options, " ")));
  key.add("templates", templates.digest);
  key.add("source", request.source);
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
  auto unit = units_.get_or_create(request, [&] {
    made_here = true;
    return make(request, Lookup::cache_first);
  });
  if (!unit) return unit.takeError();
  if (!made_here && log_.wants(MHCJIT_LOG_TRACE))
    mhcjit::trace(log_, {"hit", to_string(request.problem), (*unit)->digest, "memory", watch.milliseconds()});
  return Built{*unit, !made_here || (*unit)->from_disk};
}

llvm::Expected<CompiledUnitPtr> Builder::build_anew(const BuildRequest& request) {
  return make(request, Lookup::compile_always);
}

llvm::Expected<CompiledUnitPtr> Builder::make(const BuildRequest& request, Lookup lookup) {
  auto plans = plans_for(request);
  if (!plans) return without_plan(request, plans.takeError());
  const auto unit_of = [](const Plan& plan, cache::Entry entry, bool from_disk) {
    return std::make_shared<CompiledUnit>(
        CompiledUnit{plan.spec, plan.compiler, plan.key.digest(), std::move(entry), from_disk});
  };
  const Plan& plan = plans->front();
  const Stopwatch watch;
  if (lookup == Lookup::cache_first) {
    trace("lookup", plan);
    for (const Plan& candidate : *plans)
      if (auto found = find(candidate)) return unit_of(candidate, std::move(found->entry), /*from_disk=*/true);
    trace("miss", plan, "-", watch.milliseconds());
    misses_.add(request.problem);
    if (no_compile_) return not_in_cache(request);
  }

  const auto compile_now = [&] { return compile(plan); };
  if (lookup == Lookup::compile_always) {
    cache_.invalidate(plan.key);
    auto entry = compile_now();
    if (!entry) return entry.takeError();
    return unit_of(plan, std::move(*entry), /*from_disk=*/false);
  }
  auto made = cache_.make_once(plan.key, plan.architecture, compile_now);
  if (!made) return made.takeError();
  if (made->found_in) trace("hit", plan, cache::to_string(*made->found_in), watch.milliseconds());
  return unit_of(plan, std::move(made->entry), /*from_disk=*/made->found_in.has_value());
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
  const std::string source = codegen::emit_unit(*spec);

  std::vector<Plan> plans;
  for (const CompilerIdentity& compiler : *compilers) {
    CompileRequest compile_request = {source, (*templates)->headers, compile_options(architecture, compiler), ""};
    cache::CacheKey key = key_of(*spec, compile_request, **templates, compiler);
    if (!cache_.root().empty())
      compile_request.kept_source_path = fmt::format("{}/failed/{}.cu", cache_.root(), key.digest());
    plans.push_back({*spec, architecture, *templates, compiler, std::move(compile_request), std::move(key)});
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
  // The folder that it came from may be gone the next time.
  if (found && found->promoted && !recorded_identity(cache_.root())) record_compiler(plan.compiler);
  return found;
}

llvm::Expected<cache::Entry> Builder::compile(const Plan& plan) {
  const std::string problem = to_string(plan.spec.problem);
  const Stopwatch watch;
  auto output = [&] {
    const ProfilerRange range("compile", problem);
    return compiler_.compile(plan.request);
  }();
  if (!output) {
    const Failure failure = take_failure(output.takeError());
    return make_error(failure.status, "{}: {}", problem, failure.text);
  }
  compile_nanoseconds_ += watch.nanoseconds();
  ++compiles_;
  trace("compile", plan, "-", watch.milliseconds());
  if (log_.wants(MHCJIT_LOG_INFO))
    log_(MHCJIT_LOG_INFO, fmt::format("compiled {} in {:.0f} ms, {} bytes, digest {}", problem, watch.milliseconds(),
                                      output->cubin.size(), plan.key.digest()));

  cache::Entry entry = {plan.key.text(), plan.architecture, parse_ptxas_log(output->log), unix_seconds_now(),
                        std::move(output->cubin)};
  for (cache::KernelResources& kernel : entry.kernels)
    for (const codegen::StagePlan& stage : codegen::stages(plan.spec))
      if (stage.entry() == kernel.name) kernel.max_threads_per_block = stage.threads_per_block;
  // Right for this process, but not what its key says.
  if (output->compiler != plan.compiler) {
    if (withheld_++ == 0)
      log_(MHCJIT_LOG_WARNING,
           fmt::format(
               "NVRTC was replaced while this process runs: '{}' is open, '{}' is what the cache folder is asked "
               "for; what is compiled is kept in memory only, start the process again to keep it on disk",
               to_string(output->compiler), to_string(plan.compiler)));
    return entry;
  }
  const Stopwatch publish_watch;
  if (cache_.publish(plan.key, entry)) {
    trace("publish", plan, cache::to_string(cache::Tier::writable), publish_watch.milliseconds());
    record_compiler(plan.compiler);
  }
  return entry;
}

void Builder::record_compiler(const CompilerIdentity& compiler) {
  if (auto error = record_identity(cache_.root(), compiler))
    log_(MHCJIT_LOG_INFO,
         fmt::format("the cache folder will need NVRTC to be used: {}", take_failure(std::move(error)).text));
}

}  // namespace mhcjit::runtime
