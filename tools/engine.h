// The library's engine as the commands hold it.
#pragma once

#include <memory>
#include <string>

#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit::tools {

struct DestroyEngine {
  void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
};
using EnginePtr = std::unique_ptr<mhcjit_engine, DestroyEngine>;

// Its cache is `cache_dir`, or the default folder if that is "". Its log goes to stderr. Errors: those of
// mhcjit_engine_create.
llvm::Expected<EnginePtr> open_engine(const std::string& cache_dir);

}  // namespace mhcjit::tools
