#include "runtime/settings.h"

#include <cstdlib>

#include <llvm/ADT/SmallString.h>
#include <llvm/Support/FileSystem.h>

#include "cache/location.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

const char* text_or_empty(const char* text) { return text == nullptr ? "" : text; }

Log log_of(const mhcjit_engine_options& options) {
  if (options.log == nullptr) return {};
  const auto sink = [callback = options.log, user = options.log_user](mhcjit_log_level level, std::string_view line) {
    callback(level, std::string(line).c_str(), user);
  };
  return {sink, options.log_level == 0 ? MHCJIT_LOG_WARNING : options.log_level};
}

llvm::Expected<bool> no_compile_of(const mhcjit_engine_options& options) {
  if (options.no_compile != 0 && options.no_compile != 1)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "no_compile is {}, allowed: 0 and 1", options.no_compile);
  const std::string_view variable = text_or_empty(get_environment("MHCJIT_NO_COMPILE"));
  // Who means to forbid compiles must not learn from a slow start that it was misspelt.
  if (!variable.empty() && variable != "0" && variable != "1")
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "MHCJIT_NO_COMPILE is '{}', allowed: 0 and 1", variable);
  return options.no_compile == 1 || variable == "1";
}

// The process may change its current folder later.
std::string record_path_of(const mhcjit_engine_options& options) {
  llvm::SmallString<256> path(
      text_or_empty(options.record_path == nullptr ? get_environment("MHCJIT_RECORD") : options.record_path));
  if (path.empty() || llvm::sys::fs::make_absolute(path)) return "";
  return path.str().str();
}

llvm::Expected<std::optional<codegen::KernelTemplate>> template_of(const mhcjit_engine_options& options) {
  const std::string_view name =
      text_or_empty(options.kernel_template == nullptr ? get_environment("MHCJIT_TEMPLATE") : options.kernel_template);
  if (name.empty()) return std::nullopt;
  auto parsed = codegen::parse_kernel_template(name);
  if (parsed) return *parsed;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "kernel_template or MHCJIT_TEMPLATE: {}",
                    take_failure(parsed.takeError()).text);
}

}  // namespace

const char* get_environment(const char* name) { return std::getenv(name); }

llvm::Expected<Settings> settings_from(const mhcjit_engine_options& options) {
  if (options.cpu_threads < 0)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "cpu_threads is {}, allowed: 0 (one per core) and more",
                      options.cpu_threads);
  auto no_compile = no_compile_of(options);
  if (!no_compile) return no_compile.takeError();
  auto kernel_template = template_of(options);
  if (!kernel_template) return kernel_template.takeError();
  return Settings{
      .cache_root = options.cache_dir == nullptr ? cache::default_root(get_environment) : options.cache_dir,
      .read_only_roots = options.read_only_cache_dirs == nullptr ? cache::default_read_only_roots(get_environment)
                                                                 : cache::split_roots(options.read_only_cache_dirs),
      .runtime_folder = cache::runtime_folder(get_environment),
      .record_path = record_path_of(options),
      .no_compile = *no_compile,
      .nvrtc_path = text_or_empty(options.nvrtc_path),
      .driver_path = text_or_empty(options.driver_path),
      .template_dir = text_or_empty(options.template_dir),
      .kernel_template = *kernel_template,
      .log = log_of(options),
      .cpu_threads = options.cpu_threads,
  };
}

}  // namespace mhcjit::runtime
