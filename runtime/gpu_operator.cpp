#include "runtime/gpu_operator.h"

#include <algorithm>
#include <variant>

#include "codegen/workspace.h"
#include "runtime/kernel_arguments.h"
#include "runtime/launch_config.h"
#include "runtime/profiler_range.h"
#include "runtime/recent.h"
#include "runtime/tensor_map.h"

namespace mhcjit::runtime {
namespace {

struct PointerOnDevice {
  const void* pointer = nullptr;
  CUdevice device = 0;

  bool operator==(const PointerOnDevice&) const = default;
  std::uint64_t number() const {
    return reinterpret_cast<std::uintptr_t>(pointer) + static_cast<std::uint64_t>(device);
  }
};

// What was enqueued before the call.
bool overlaps_previous(const mhcjit_pre_forward_args& args) { return args.overlap_previous != 0; }
bool overlaps_previous(const mhcjit_pre_backward_args&) { return false; }

// Enough for most tensors of a large model, in 16 KB of every thread.
constexpr std::size_t kept_pointers = 1024;

}  // namespace

GpuOperator::GpuOperator(const DriverApi& driver, const Device& device, const codegen::KernelSpec& spec,
                         std::vector<LoadedKernel> kernels)
    : Operator(spec.problem, codegen::to_string(spec.problem)),
      driver_(driver),
      device_(device),
      spec_(spec),
      kernels_(std::move(kernels)) {}

std::size_t GpuOperator::needed_workspace(std::int64_t T) const { return codegen::workspace_bytes(spec_, T); }

llvm::Error GpuOperator::check_usable(const TensorArguments& tensors) const {
  if (auto error = driver_.check_not_forked()) return error;
  if (auto error = check_device()) return error;
  return check_memory(tensors);
}

llvm::Error GpuOperator::check_device() const {
  auto current = current_device(driver_);
  if (!current) return current.takeError();
  if (*current == device_.ordinal) [[likely]]
    return llvm::Error::success();
  return make_error(MHCJIT_ERROR_WRONG_DEVICE,
                    "{}: the current context is of device {}, but the operator was prepared for device {}; make a "
                    "context of that device current, or prepare under this one",
                    name(), *current, device_.ordinal);
}

// Asking the driver costs 0.1 us a pointer, which a call with a dozen of them would pay each time: so each thread
// remembers those that passed. What is refused is asked about again.
llvm::Error GpuOperator::check_memory(const TensorArguments& tensors) const {
  constinit thread_local Recent<PointerOnDevice, std::monostate, kept_pointers> passed;
  for (const TensorArgument& tensor : tensors) {
    if (tensor.pointer == nullptr) continue;
    auto known = passed.get_or_make({tensor.pointer, device_.ordinal}, [&](std::monostate&) {
      return runtime::check_memory(driver_, device_, tensor.pointer, name(), tensor.name);
    });
    if (!known) return known.takeError();
  }
  return llvm::Error::success();
}

template <typename Args>
llvm::Error GpuOperator::launch_stages(const Args& args, CUstream stream) const {
  const ProfilerRange range("launch", name());
  auto kernel_args = kernel_arguments(spec_, args);
  bool overlaps = overlaps_previous(args) && device_.architecture.major >= 9;
  for (const LoadedKernel& loaded : kernels_) {
    if (!loaded.serves(args.T) || !is_needed(loaded.stage, args)) continue;
    const CUtensorMap* x = nullptr;
    if (loaded.takes_tensor_map()) {
      auto map = tensor_map_of_x(driver_, spec_.problem, loaded.box, args.x, args.T);
      if (!map) return map.takeError();
      x = *map;
    }
    void* parameters[] = {&kernel_args, const_cast<CUtensorMap*>(x)};
    codegen::Grid grid = codegen::grid_of(spec_, loaded.stage, args.T);
    if (loaded.max_blocks != 0) grid.x = std::min(grid.x, loaded.max_blocks);
    const LaunchConfig config(loaded, grid, stream, overlaps || loaded.overlaps_previous);
    overlaps = false;
    // A CUkernel in place of a CUfunction is launched in the context that is current.
    const CUresult result =
        driver_.cuLaunchKernelEx(config.get(), reinterpret_cast<CUfunction>(loaded.kernel), parameters, nullptr);
    if (result != CUDA_SUCCESS) [[unlikely]] {
      const auto is_launched = [&](const LoadedKernel& kernel) {
        return kernel.serves(args.T) && is_needed(kernel.stage, args);
      };
      return driver_.check(result, MHCJIT_ERROR_LAUNCH_FAILED,
                           "{}: launch {} of {} with T = {} (grid {} x {}, {} threads a block, {} bytes of "
                           "dynamic shared memory)",
                           name(), std::count_if(kernels_.data(), &loaded + 1, is_launched),
                           std::ranges::count_if(kernels_, is_launched), args.T, grid.x, grid.y,
                           loaded.threads_per_block, loaded.dynamic_smem_bytes);
    }
  }
  return llvm::Error::success();
}

llvm::Error GpuOperator::launch(const mhcjit_pre_forward_args& args, void* stream) const {
  if (args.T == 0) return llvm::Error::success();
  return launch_stages(args, static_cast<CUstream>(stream));
}

llvm::Error GpuOperator::launch(const mhcjit_pre_backward_args& args, void* stream) const {
  if (args.T > 0) return launch_stages(args, static_cast<CUstream>(stream));
  if (args.accumulate_parameters != 0) return llvm::Error::success();
  // The sum over no tokens.
  const std::int64_t rows = problem().rows();
  const std::int64_t columns = problem().columns();
  const auto on = static_cast<CUstream>(stream);
  if (auto error = zero(args.dphi, rows * columns, "dphi", on)) return error;
  if (auto error = zero(args.dgamma, columns, "dgamma", on)) return error;
  if (auto error = zero(args.dalpha, 3, "dalpha", on)) return error;
  return zero(args.dbias, rows, "dbias", on);
}

llvm::Error GpuOperator::zero(float* tensor, std::int64_t floats, const char* argument, CUstream stream) const {
  if (tensor == nullptr) return llvm::Error::success();
  return driver_.check(driver_.cuMemsetD32Async(reinterpret_cast<CUdeviceptr>(tensor), 0, floats, stream),
                       MHCJIT_ERROR_LAUNCH_FAILED, "{}: setting {} to zero with T = 0", name(), argument);
}

}  // namespace mhcjit::runtime
