// The one source of this program that is compiled against the simulator's device.cuh.
#include "vocabulary_kernels.cuh"

#include <cstring>
#include <map>

#include "vocabulary.h"

namespace mhcjit::gpu {
namespace {

static_assert(sizeof(VocabularyArgs) == sizeof(VocabularyPointers));
static_assert(block_threads == vocabulary_threads);

using Entry = void (*)(VocabularyArgs);

const std::map<std::string, Entry>& entries() {
  static const std::map<std::string, Entry> table = {
#define MHCJIT_ENTRY(name) {#name, vocabulary_##name},
      MHCJIT_VOCABULARY_KERNELS(MHCJIT_ENTRY)
#undef MHCJIT_ENTRY
  };
  return table;
}

}  // namespace

std::string run_on_host(const std::string& kernel, const LaunchShape& shape, const VocabularyPointers& pointers) {
  VocabularyArgs args;
  std::memcpy(&args, &pointers, sizeof(args));
  const Entry entry = entries().at(kernel);
  sim::Launch launch;
  launch.kernel = kernel;
  launch.grid_x = shape.grid_x;
  launch.grid_y = shape.grid_y;
  launch.threads_per_block = static_cast<int>(shape.threads_per_block);
  launch.shared_bytes = shape.shared_bytes;
  return sim::run(launch, [&] { entry(args); });
}

}  // namespace mhcjit::gpu
