// The one source of this program that is compiled against the simulator's device/device.cuh.
// clang-format off: the other files count on the first.
#include "vocabulary_kernels.cuh"
#include "vocabulary_async_kernels.cuh"
#include "vocabulary_wgmma_kernels.cuh"
// clang-format on

#include <algorithm>
#include <cstring>
#include <map>

#include "tensor_map.h"
#include "vocabulary.h"

namespace mhcjit::gpu {
namespace {

static_assert(sizeof(VocabularyArgs) == sizeof(VocabularyPointers));
static_assert(sizeof(AsyncVocabularyArgs) == sizeof(AsyncVocabularyPointers));
static_assert(block_threads == vocabulary_threads);

#define MHCJIT_ENTRY(name) {#name, vocabulary_##name},
const std::map<std::string, void (*)(VocabularyArgs)>& entries() {
  static const std::map<std::string, void (*)(VocabularyArgs)> table = {
      MHCJIT_VOCABULARY_KERNELS(MHCJIT_ENTRY) MHCJIT_WGMMA_VOCABULARY_KERNELS(MHCJIT_ENTRY)};
  return table;
}

const std::map<std::string, void (*)(AsyncVocabularyArgs)>& async_entries() {
  static const std::map<std::string, void (*)(AsyncVocabularyArgs)> table = {
      MHCJIT_ASYNC_VOCABULARY_KERNELS(MHCJIT_ENTRY)};
  return table;
}
#undef MHCJIT_ENTRY

template <typename Args, typename Entry, typename Pointers>
std::string run(Entry entry, const std::string& kernel, const LaunchShape& shape, const Pointers& pointers) {
  Args args;
  std::memcpy(&args, &pointers, sizeof(args));
  sim::Launch launch;
  launch.kernel = kernel;
  launch.grid_x = shape.grid_x;
  launch.grid_y = shape.grid_y;
  launch.threads_per_block = static_cast<int>(shape.threads_per_block);
  launch.shared_bytes = shape.shared_bytes;
  launch.cluster_size = std::max(1, static_cast<int>(shape.cluster_size));
  launch.is_cooperative = shape.is_cooperative;
  return sim::run(launch, [&] { entry(args); });
}

}  // namespace

std::string run_on_host(const std::string& kernel, const LaunchShape& shape, const VocabularyPointers& pointers) {
  return run<VocabularyArgs>(entries().at(kernel), kernel, shape, pointers);
}

std::string run_async_on_host(const std::string& kernel, const LaunchShape& shape,
                              const AsyncVocabularyPointers& pointers) {
  return run<AsyncVocabularyArgs>(async_entries().at(kernel), kernel, shape, pointers);
}

std::string encode_on_host(const BoxedTensor& tensor, const void* base, std::array<std::byte, 128>& map) {
  return sim::encode({.base = base,
                      .sizes = tensor.sizes,
                      .strides = tensor.strides,
                      .box = tensor.box,
                      .dtype = tensor.dtype,
                      .swizzle_bytes = tensor.swizzle_bytes},
                     map.data());
}

}  // namespace mhcjit::gpu
