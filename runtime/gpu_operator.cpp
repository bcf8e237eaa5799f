#include "runtime/gpu_operator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <variant>

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

// Enough for most tensors of a large model, in 16 KB of every thread.
constexpr std::size_t kept_pointers = 1024;

bool is_needed(const LoadedKernel& kernel, std::uint32_t wanted) { return (kernel.makes & wanted) != 0; }

std::vector<LoadedBucket> completed(std::vector<LoadedBucket> buckets) {
  std::size_t least = 0;
  for (LoadedBucket& bucket : buckets) {
    bucket.least_workspace_bytes = least;
    bucket.plan_name = codegen::to_string(*bucket.plan);
    least = std::max(least, bucket.plan->workspace_bytes(bucket.max_tokens));
  }
  return buckets;
}

}  // namespace

GpuOperator::GpuOperator(const DriverApi& driver, const Device& device, const codegen::Problem& problem,
                         std::vector<LoadedBucket> buckets)
    : Operator(problem, codegen::to_string(problem)),
      driver_(driver),
      device_(device),
      buckets_(completed(std::move(buckets))) {}

std::size_t GpuOperator::needed_workspace(std::int64_t T) const {
  const LoadedBucket& bucket = bucket_of(T);
  return std::max(bucket.plan->workspace_bytes(T), bucket.least_workspace_bytes);
}

mhcjit_plan_info GpuOperator::plan_of(std::int64_t T) const {
  const LoadedBucket& bucket = bucket_of(T);
  const codegen::Origin& origin = bucket.origin;
  mhcjit_plan_info info = {};
  info.plan = bucket.plan_name.c_str();
  info.source = static_cast<mhcjit_plan_source>(origin.source);
  info.grade = static_cast<mhcjit_plan_grade>(origin.grade(problem(), device_.name, device_.planned.multiprocessors));
  info.row_d = origin.d;
  info.measured_on = origin.record == nullptr ? "" : origin.record->header.device.c_str();
  info.refused = origin.refused.c_str();
  info.max_t = bucket.max_tokens;
  std::vector<codegen::Bucket> buckets;
  for (const LoadedBucket& each : buckets_) buckets.push_back({each.max_tokens, each.plan});
  std::strncpy(info.digest, codegen::digest_of(problem(), buckets).c_str(), sizeof info.digest - 1);
  return info;
}

const LoadedBucket& GpuOperator::bucket_of(std::int64_t T) const {
  std::size_t i = 0;
  while (T > buckets_[i].max_tokens) ++i;
  return buckets_[i];
}

llvm::Error GpuOperator::check_usable(const void* args) const {
  if (auto error = driver_.check_not_forked()) return error;
  if (auto error = check_device()) return error;
  return check_memory(args);
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
// remembers those that passed. A pointer that was refused is asked about again.
llvm::Error GpuOperator::check_memory(const void* args) const {
  constinit thread_local Recent<PointerOnDevice, std::monostate, kept_pointers> passed_here;
  auto& passed = passed_here;  // found once, not at each pointer
  const auto check = [&](const void* pointer, std::string_view argument) {
    return passed
        .get_or_make(
            {pointer, device_.ordinal},
            [&](std::monostate&) { return runtime::check_memory(driver_, device_, pointer, name(), argument); })
        .takeError();
  };
  for (const ArgumentTable::Tensor& tensor : arguments().tensors())
    if (const void* pointer = tensor.pointer(args); pointer != nullptr)
      if (auto error = check(pointer, tensor.declared->name)) return error;
  const void* workspace = arguments().workspace(args);
  return workspace == nullptr ? llvm::Error::success() : check(workspace, "workspace");
}

// A bit for each tensor of the table that is an output and was passed.
std::uint32_t GpuOperator::wanted_outputs(const void* args) const {
  std::uint32_t wanted = 0;
  const auto& tensors = arguments().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i].is_output && tensors[i].pointer(args) != nullptr) wanted |= std::uint32_t{1} << i;
  return wanted;
}

llvm::Error GpuOperator::launch(const void* args, void* stream) const {
  const auto on = static_cast<CUstream>(stream);
  return arguments().tokens(args) > 0 ? launch_kernels(args, on) : zero_sums(args, on);
}

llvm::Error GpuOperator::launch_kernels(const void* args, CUstream stream) const {
  const ProfilerRange range("launch", name());
  const std::int64_t T = arguments().tokens(args);
  const LoadedBucket& bucket = bucket_of(T);
  alignas(16) std::byte kernel_args[codegen::max_kernel_argument_bytes];
  alignas(16) std::byte work[codegen::max_work_bytes];
  std::array<CUtensorMap, codegen::max_tensor_maps> maps;
  arguments().fill_kernel_arguments(args, kernel_args);
  bucket.plan->fill_work(T, const_cast<void*>(arguments().workspace(args)), work);

  if (const std::size_t zeroed = bucket.plan->zeroed_bytes(T); zeroed != 0) {
    const auto address = reinterpret_cast<CUdeviceptr>(arguments().workspace(args));
    if (auto error = driver_.check(driver_.cuMemsetD32Async(address, 0, zeroed / 4, stream), MHCJIT_ERROR_LAUNCH_FAILED,
                                   "{}: setting {} bytes of the workspace to zero", name(), zeroed))
      return error;
  }

  const std::uint32_t wanted = wanted_outputs(args);
  bool overlaps = arguments().overlaps_previous(args) && device_.architecture.major >= 9;
  const std::vector<codegen::Kernel>& kernels = bucket.plan->kernels();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const codegen::Kernel& kernel = kernels[i];
    const LoadedKernel& loaded = bucket.kernels[i];
    if (!is_needed(loaded, wanted)) continue;
    std::array<void*, 2 + codegen::max_tensor_maps> parameters;
    std::size_t count = 0;
    parameters[count++] = kernel_args;
    if (kernel.work_bytes != 0) parameters[count++] = work;
    for (std::size_t m = 0; m < kernel.maps.size(); ++m) {
      const ArgumentTable::Tensor& tensor = arguments().tensors()[loaded.map_tensors[m]];
      if (auto error = fill_tensor_map(driver_, problem(), kernel.maps[m], tensor.pointer(args), T, maps[m]))
        return error;
      parameters[count++] = &maps[m];
    }
    codegen::Grid grid = bucket.plan->grid(i, T, device_.planned);
    if (loaded.max_blocks != 0) grid.x = std::min(grid.x, loaded.max_blocks);
    const LaunchConfig config(kernel, grid, stream, overlaps || kernel.overlaps_previous);
    overlaps = false;
    // A CUkernel in place of a CUfunction is launched in the context that is current.
    const CUresult result =
        driver_.cuLaunchKernelEx(config.get(), reinterpret_cast<CUfunction>(loaded.handle), parameters.data(), nullptr);
    if (result != CUDA_SUCCESS) [[unlikely]]
      return launch_failed(result, bucket, loaded, grid, args);
  }
  return llvm::Error::success();
}

llvm::Error GpuOperator::launch_failed(CUresult result, const LoadedBucket& bucket, const LoadedKernel& failed,
                                       codegen::Grid grid, const void* args) const {
  const std::uint32_t wanted = wanted_outputs(args);
  const auto is_launched = [&](const LoadedKernel& kernel) { return is_needed(kernel, wanted); };
  return driver_.check(result, MHCJIT_ERROR_LAUNCH_FAILED,
                       "{}: launch {} of {} with T = {} (grid {} x {}, {} threads a block, {} bytes of dynamic shared "
                       "memory)",
                       name(), std::count_if(bucket.kernels.data(), &failed + 1, is_launched),
                       std::ranges::count_if(bucket.kernels, is_launched), arguments().tokens(args), grid.x, grid.y,
                       failed.kernel.threads_per_block, failed.kernel.dynamic_smem_bytes);
}

// The sum over no tokens.
llvm::Error GpuOperator::zero_sums(const void* args, CUstream stream) const {
  for (const ArgumentTable::Tensor& tensor : arguments().tensors()) {
    const codegen::Tensor& declared = *tensor.declared;
    if (!declared.is_output() || declared.is_per_token() || tensor.pointer(args) == nullptr) continue;
    if (arguments().flag(args, declared.accumulate_flag) != 0) continue;
    const auto address = reinterpret_cast<CUdeviceptr>(tensor.pointer(args));
    const auto floats = static_cast<std::size_t>(codegen::elements(declared, problem(), 0));
    if (auto error = driver_.check(driver_.cuMemsetD32Async(address, 0, floats, stream), MHCJIT_ERROR_LAUNCH_FAILED,
                                   "{}: setting {} to zero with T = 0", name(), declared.name))
      return error;
  }
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
