#include "runtime/settings.h"

#include <cstdlib>

#include <llvm/ADT/SmallString.h>
#include <llvm/Support/FileSystem.h>

#include "cache/remote_url.h"
#include "codegen/choose.h"
#include "runtime/installation.h"
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

// True if the option or the variable forbids something. Any other text than 0 and 1 is an error: a user who misspelt it
// must not learn that from a slow start, or from what was written.
llvm::Expected<bool> flag_of(const char* option_name, std::int32_t option, const char* variable_name) {
  if (option != 0 && option != 1)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is {}, allowed: 0 and 1", option_name, option);
  const std::string_view variable = text_or_empty(get_environment(variable_name));
  if (!variable.empty() && variable != "0" && variable != "1")
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: 0 and 1", variable_name, variable);
  return option == 1 || variable == "1";
}

const char* option_or_variable(const char* option, const char* variable_name) {
  return text_or_empty(option == nullptr ? get_environment(variable_name) : option);
}

// The process may change its current folder later.
std::string absolute(const char* text) {
  llvm::SmallString<256> path(text);
  if (path.empty() || llvm::sys::fs::make_absolute(path)) return "";
  return path.str().str();
}

llvm::Expected<std::string> plan_of(const mhcjit_engine_options& options) {
  const std::string plan = option_or_variable(options.plan, "MHCJIT_PLAN");
  if (auto error = codegen::check_wanted(plan))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "plan or MHCJIT_PLAN: {}", take_failure(std::move(error)).text);
  return plan;
}

}  // namespace

const char* get_environment(const char* name) { return std::getenv(name); }

llvm::Expected<Settings> settings_from(const mhcjit_engine_options& options) {
  if (options.cpu_threads < 0)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "cpu_threads is {}, allowed: 0 (one per core) and more",
                      options.cpu_threads);
  auto no_compile = flag_of("no_compile", options.no_compile, "MHCJIT_NO_COMPILE");
  if (!no_compile) return no_compile.takeError();
  auto plan = plan_of(options);
  if (!plan) return plan.takeError();
  auto remote_read_only = flag_of("remote_read_only", options.remote_read_only, "MHCJIT_CACHE_REMOTE_READ_ONLY");
  if (!remote_read_only) return remote_read_only.takeError();
  // One that the environment names is a matter of the machine's, and a warning once it is used.
  if (const llvm::StringRef url = text_or_empty(options.remote_url); !url.empty()) {
    if (auto error = cache::check_remote_url(url).takeError()) return error;
  }
  std::vector<cache::PassedOver> passed_over;
  std::string cache_root =
      options.cache_dir == nullptr ? cache::default_root(get_environment, passed_over) : options.cache_dir;
  std::vector<std::string> read_only_roots = options.read_only_cache_dirs == nullptr
                                                 ? cache::default_read_only_roots(get_environment, passed_over)
                                                 : cache::split_roots(options.read_only_cache_dirs);
  return Settings{
      .cache_root = std::move(cache_root),
      .read_only_roots = std::move(read_only_roots),
      .passed_over = std::move(passed_over),
      .installed_root = options.read_only_cache_dirs == nullptr ? packaged_kernels() : "",
      .runtime_folder = cache::runtime_folder(get_environment),
      .remote_url = option_or_variable(options.remote_url, "MHCJIT_CACHE_REMOTE"),
      .remote_read_only = *remote_read_only,
      .remote_ca_file = absolute(text_or_empty(get_environment("SSL_CERT_FILE"))),
      .hmac_key_file = absolute(option_or_variable(options.hmac_key_file, "MHCJIT_CACHE_KEY_FILE")),
      .record_path = absolute(option_or_variable(options.record_path, "MHCJIT_RECORD")),
      .tuned_path = absolute(option_or_variable(options.tuned_path, "MHCJIT_TUNED")),
      .no_compile = *no_compile,
      .nvrtc_path = text_or_empty(options.nvrtc_path),
      .driver_path = text_or_empty(options.driver_path),
      .template_dir = text_or_empty(options.template_dir),
      .plan = std::move(*plan),
      .log = log_of(options),
      .cpu_threads = options.cpu_threads,
  };
}

}  // namespace mhcjit::runtime
