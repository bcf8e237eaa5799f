#include "tools/tune_kit.h"

#include "tuning/device_timer.h"

namespace mhcjit::tools {

llvm::Expected<tuning::Kit> tune_kit(const std::string& cache_dir) { return tuning::device_kit(cache_dir); }

}  // namespace mhcjit::tools
