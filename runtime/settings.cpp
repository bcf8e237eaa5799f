#include "runtime/settings.h"

#include <cstdlib>

#include "cache/location.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

Log log_of(const mhcjit_engine_options& options) {
  if (options.log == nullptr) return {};
  const auto sink = [callback = options.log, user = options.log_user](mhcjit_log_level level, std::string_view line) {
    callback(level, std::string(line).c_str(), user);
  };
  return {sink, options.log_level == 0 ? MHCJIT_LOG_WARNING : options.log_level};
}

}  // namespace

const char* get_environment(const char* name) { return std::getenv(name); }

llvm::Expected<Settings> settings_from(const mhcjit_engine_options& options) {
  if (options.cpu_threads < 0)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "cpu_threads is {}, allowed: 0 (one per core) and more",
                      options.cpu_threads);
  return Settings{
      .cache_root = options.cache_dir == nullptr ? cache::default_root(get_environment) : options.cache_dir,
      .read_only_roots = options.read_only_cache_dirs == nullptr ? cache::default_read_only_roots(get_environment)
                                                                 : cache::split_roots(options.read_only_cache_dirs),
      .runtime_folder = cache::runtime_folder(get_environment),
      .nvrtc_path = text_or_empty(options.nvrtc_path),
      .driver_path = text_or_empty(options.driver_path),
      .template_dir = text_or_empty(options.template_dir),
      .log = log_of(options),
      .cpu_threads = options.cpu_threads,
  };
}

}  // namespace mhcjit::runtime
