// The cache of an engine, as its settings describe it.
#pragma once

#include <string>

#include <llvm/Support/Error.h>

#include "cache/tiered_cache.h"
#include "runtime/settings.h"

namespace mhcjit::runtime {

struct CacheSettings {
  std::string root;
  cache::TierOptions tiers;
};

// Warns of each place that is passed over, and reads the key file. Errors: BAD_FILE, IO (of that file), with what to
// do.
llvm::Expected<CacheSettings> read_cache_settings(const Settings& settings);

// The same for a host that goes on without. Without the key that the host asked for, nothing that is stored can be
// trusted, and nothing is to be stored for others that have it: there is then one warning, and no folder and no server.
CacheSettings cache_settings(const Settings& settings);

}  // namespace mhcjit::runtime
