// Prepares operators: what mhcjit_engine is behind the C ABI.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <type_traits>
#include <vector>

#include <llvm/Support/Error.h>
#include <llvm/Support/xxhash.h>

#include "cache/single_flight.h"
#include "runtime/builder.h"
#include "runtime/driver_api.h"
#include "runtime/module.h"
#include "runtime/operator.h"
#include "runtime/settings.h"

namespace mhcjit::runtime {

// Every member may be called from any number of threads at the same time.
class Engine {
 public:
  // Touches neither CUDA nor NVRTC nor the cache folder.
  explicit Engine(const Settings& settings);

  // The operator, made at the first call for a problem and device and looked up at every other. The GPU is that of the
  // current context. `stream`: see mhcjit_prepare, whose errors these are.
  llvm::Expected<const Operator*> prepare(const mhcjit_problem& problem, mhcjit_device device, void* stream);

  // Errors: those of Builder::build.
  llvm::Expected<Builder::Built> compile(const codegen::Problem& problem) {
    return builder_.build({problem, settings_.plan});
  }

  mhcjit_counters counters() const;

 private:
  using OperatorPtr = std::shared_ptr<const Operator>;

  // The hot key: compared without touching memory elsewhere.
  struct OperatorKey {
    std::int32_t op, n;
    std::int64_t d;
    std::int32_t dtype, has_gamma, batch_invariant, fp32_dx;
    std::int64_t device;  // ordinal; cpu_device for the CPU; 64 bits, so that no byte is padding

    auto operator<=>(const OperatorKey&) const = default;
    // Over its bytes: field by field, LLVM's hash takes half of a look-up's time.
    friend std::uint64_t hash_value(const OperatorKey& key) {
      static_assert(std::has_unique_object_representations_v<OperatorKey>);
      return llvm::xxh3_64bits({reinterpret_cast<const std::uint8_t*>(&key), sizeof(key)});
    }
  };
  static constexpr std::int32_t cpu_device = -1;
  static OperatorKey key_of(const mhcjit_problem& problem, std::int32_t device);

  llvm::Expected<const Operator*> prepare_on_cpu(const mhcjit_problem& problem);
  llvm::Expected<const Operator*> prepare_on_gpu(const mhcjit_problem& problem, CUstream stream);
  // nullptr if the operator is not ready.
  const Operator* find_ready(const OperatorKey& key);
  llvm::Expected<OperatorPtr> load(const DriverApi& driver, const mhcjit_problem& asked, CUdevice ordinal);
  llvm::Expected<std::vector<LoadedKernel>> load_kernels(const DriverApi& driver, CUdevice ordinal,
                                                         const BuildRequest& request, const CompiledOperator& compiled);
  // If the driver refuses the cubin of a cache folder, loads another compiler's entry, or one that is compiled anew.
  llvm::Expected<LoadedKernel> load_one(const DriverApi& driver, CUdevice ordinal, const BuildRequest& request,
                                        const codegen::Kernel& kernel, BuiltKernelPtr built);
  // What takes the place of plans that a device cannot load or run.
  enum class FallBack { none, estimate, without_clusters };
  FallBack fallen_back(const OperatorKey& key) const;
  // From now on the operator is made so.
  void fall_back(const OperatorKey& key, FallBack to);
  llvm::Expected<const DriverApi*> driver();

  const Settings settings_;
  Builder builder_;
  std::atomic<const DriverApi*> driver_ = nullptr;  // once initialised
  cache::SingleFlight<OperatorKey, OperatorPtr> operators_;
  mutable std::mutex fallbacks_mutex_;
  std::map<OperatorKey, FallBack> fallbacks_;
  std::atomic<std::uint64_t> memory_hits_ = 0;
  std::atomic<std::uint64_t> load_nanoseconds_ = 0;
};

}  // namespace mhcjit::runtime
