#include "engine.h"

#include <cstdlib>

namespace mhcjit::gpu {

mhcjit_engine* engine() {
  static mhcjit_engine* const shared = [] {
    mhcjit_engine_options options = {};
    options.cache_dir = std::getenv("MHCJIT_CACHE_DIR") != nullptr ? nullptr : "";
    mhcjit_engine* made = nullptr;
    require(mhcjit_engine_create(&options, &made), "mhcjit_engine_create");
    return made;
  }();
  return shared;
}

}  // namespace mhcjit::gpu
