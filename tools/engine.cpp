#include "tools/engine.h"

#include "tools/command.h"

namespace mhcjit::tools {

llvm::Expected<EnginePtr> open_engine(const std::string& cache_dir) {
  mhcjit_engine_options options = {};
  options.cache_dir = cache_dir.empty() ? nullptr : cache_dir.c_str();
  options.log = log_to_stderr;
  options.log_level = log_level().value_or(MHCJIT_LOG_WARNING);
  mhcjit_engine* engine = nullptr;
  if (auto error = library_error(mhcjit_engine_create(&options, &engine))) return error;
  return EnginePtr(engine);
}

}  // namespace mhcjit::tools
