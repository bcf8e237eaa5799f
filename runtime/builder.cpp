#include "runtime/builder.h"

#include <chrono>

#include "codegen/emit.h"
#include "codegen/heuristic.h"
#include "runtime/ptxas_log.h"
#include "runtime/stopwatch.h"
#include "runtime/template_set.h"
#include "support/error.h"

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

Builder::Builder(const Settings& settings)
    : log_(settings.log),
      template_dir_(settings.template_dir),
      cache_(settings.cache_root, {.log = settings.log}),
      compiler_(settings.nvrtc_path, cache_.root()) {}

llvm::Expected<Builder::Built> Builder::build(const codegen::Problem& problem) {
  bool made_here = false;
  auto unit = units_.get_or_create(problem, [&] {
    made_here = true;
    return make(problem, Lookup::cache_first);
  });
  if (!unit) return unit.takeError();
  return Built{*unit, !made_here || (*unit)->from_disk};
}

llvm::Expected<CompiledUnitPtr> Builder::build_anew(const codegen::Problem& problem) {
  return make(problem, Lookup::compile_always);
}

llvm::Expected<CompiledUnitPtr> Builder::make(const codegen::Problem& problem, Lookup lookup) {
  auto spec = codegen::choose_spec(problem);
  if (!spec) return spec.takeError();
  auto templates = load_templates(template_dir_);
  if (!templates) return templates.takeError();
  auto compiler = compiler_.identity();
  if (!compiler) return compiler.takeError();
  const std::string architecture = to_string(problem.architecture);
  CompileRequest request = {codegen::emit_unit(*spec), (*templates)->headers, compile_options(architecture, *compiler),
                            ""};

  const cache::CacheKey key = key_of(*spec, request, **templates, *compiler);
  auto unit = std::make_shared<CompiledUnit>();
  unit->spec = *spec;
  unit->compiler = *compiler;
  unit->digest = key.digest();
  if (lookup == Lookup::compile_always) {
    cache_.invalidate(key);
  } else if (auto entry = cache_.find(key, architecture)) {
    unit->entry = std::move(*entry);
    unit->from_disk = true;
    return unit;
  }
  if (!cache_.root().empty()) request.kept_source_path = fmt::format("{}/failed/{}.cu", cache_.root(), unit->digest);
  auto entry = compile(*spec, key, *compiler, request);
  if (!entry) return entry.takeError();
  unit->entry = std::move(*entry);
  return unit;
}

llvm::Expected<cache::Entry> Builder::compile(const codegen::KernelSpec& spec, const cache::CacheKey& key,
                                              const CompilerIdentity& compiler, const CompileRequest& request) {
  const Stopwatch watch;
  auto output = compiler_.compile(request);
  if (!output) {
    const Failure failure = take_failure(output.takeError());
    return make_error(failure.status, "{}: {}", to_string(spec.problem), failure.text);
  }
  compile_nanoseconds_ += watch.nanoseconds();
  ++compiles_;
  if (log_.wants(MHCJIT_LOG_INFO))
    log_(MHCJIT_LOG_INFO, fmt::format("compiled {} in {:.0f} ms, {} bytes, digest {}", to_string(spec.problem),
                                      watch.milliseconds(), output->cubin.size(), key.digest()));

  cache::Entry entry = {key.text(), to_string(spec.problem.architecture), parse_ptxas_log(output->log),
                        unix_seconds_now(), std::move(output->cubin)};
  for (cache::KernelResources& kernel : entry.kernels) kernel.max_threads_per_block = spec.threads_per_block;
  // Right for this process, but not what its key says.
  if (output->compiler != compiler) {
    if (withheld_++ == 0)
      log_(MHCJIT_LOG_WARNING,
           fmt::format(
               "NVRTC was replaced while this process runs: '{}' is open, '{}' is what the cache folder is asked "
               "for; what is compiled is kept in memory only, start the process again to keep it on disk",
               to_string(output->compiler), to_string(compiler)));
    return entry;
  }
  if (cache_.publish(key, entry)) {
    if (auto error = compiler_.record())
      log_(MHCJIT_LOG_INFO,
           fmt::format("the cache folder will need NVRTC to be used: {}", take_failure(std::move(error)).text));
  }
  return entry;
}

}  // namespace mhcjit::runtime
