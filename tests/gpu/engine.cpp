#include "engine.h"

#include <cstdlib>

namespace mhcjit::gpu {

EnginePtr make_engine(const char* plan) {
  mhcjit_engine_options options = {};
  options.cache_dir = std::getenv("MHCJIT_CACHE_DIR") != nullptr ? nullptr : "";
  options.plan = plan;
  mhcjit_engine* made = nullptr;
  require(mhcjit_engine_create(&options, &made), "mhcjit_engine_create");
  return EnginePtr(made);
}

mhcjit_engine* engine() {
  // Never destroyed: threads that tests leave running may still use it.
  static mhcjit_engine* const shared = make_engine(nullptr).release();
  return shared;
}

}  // namespace mhcjit::gpu
