#include "tests/fake_driver/fake_driver.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <sstream>
#include <string_view>

#include "tests/fake_driver/fake_calls.h"

// Its state and the names of the kernels that it handed out stay for ever, as a driver's do.
fake::Driver* fake_driver() {
  static auto* const driver = new fake::Driver;
  return driver;
}

namespace fake {
namespace {

thread_local int current_device = -1;
thread_local CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
pid_t initialised_by = 0;

}  // namespace

CUresult enter(const char* function, unsigned needs) try {
  Driver& driver = state();
  ++driver.call_counts[function];
  if (needs != nothing && initialised_by != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
  if ((needs & context) != 0 && current_device < 0) return CUDA_ERROR_INVALID_CONTEXT;
  if ((needs & no_capture) != 0 && !driver.capturing.empty() && capture_mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
    driver.broken_captures.insert(driver.capturing.begin(), driver.capturing.end());
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  const auto failure = driver.failures.find(function);
  if (failure == driver.failures.end() || --failure->second.countdown > 0) return CUDA_SUCCESS;
  const CUresult code = failure->second.code;
  if (--failure->second.times <= 0) driver.failures.erase(failure);
  return code;
} catch (const std::bad_alloc&) {
  return CUDA_ERROR_OUT_OF_MEMORY;
}

namespace {

struct Library {
  std::string bytes;
};
struct Kernel {
  std::string name;
  std::vector<std::size_t> parameter_bytes = {};
  int smem_carveout = CU_SHAREDMEM_CARVEOUT_DEFAULT;
};

// Like a driver, for ever; and where a leak detector sees that they are meant to stay. The caller holds the mutex.
template <typename Object>
Object* keep(Object object) {
  static auto& kept = *new std::deque<Object>;
  return &kept.emplace_back(std::move(object));
}

// A cubin does not come with its size: it ends where its last section does.
std::string cubin_bytes(const void* code) {
  const auto* bytes = static_cast<const char*>(code);
  Elf64_Ehdr header;
  std::memcpy(&header, bytes, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
  std::size_t end = header.e_shoff + std::size_t{header.e_shnum} * sizeof(Elf64_Shdr);
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, bytes + header.e_shoff + i * sizeof section, sizeof section);
    if (section.sh_type != SHT_NULL && section.sh_type != SHT_NOBITS)
      end = std::max<std::size_t>(end, section.sh_offset + section.sh_size);
  }
  return {bytes, end};
}

const Allocation* allocation_of(CUdeviceptr pointer) {
  const auto& allocations = state().allocations;
  auto after = allocations.upper_bound(pointer);
  if (after == allocations.begin()) return nullptr;
  --after;
  return pointer < after->first + after->second.bytes ? &after->second : nullptr;
}

CUresult init(unsigned) {
  const std::lock_guard lock(state().mutex);
  if (const CUresult failed = enter("cuInit", nothing)) return failed;
  if (initialised_by != 0 && initialised_by != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
  if (state().device_count == 0) return CUDA_ERROR_NO_DEVICE;
  initialised_by = getpid();
  return CUDA_SUCCESS;
}

CUresult driver_get_version(int* version) {
  FAKE_ENTER(cuDriverGetVersion, nothing);
  *version = state().version;
  return CUDA_SUCCESS;
}

CUresult get_error_name(CUresult code, const char** text) {
  switch (code) {
    case CUDA_ERROR_OUT_OF_MEMORY: *text = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case CUDA_ERROR_INVALID_CONTEXT: *text = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case CUDA_ERROR_INVALID_IMAGE: *text = "CUDA_ERROR_INVALID_IMAGE"; break;
    case CUDA_ERROR_NOT_FOUND: *text = "CUDA_ERROR_NOT_FOUND"; break;
    case CUDA_ERROR_NO_DEVICE: *text = "CUDA_ERROR_NO_DEVICE"; break;
    case CUDA_ERROR_NOT_INITIALIZED: *text = "CUDA_ERROR_NOT_INITIALIZED"; break;
    case CUDA_ERROR_ILLEGAL_ADDRESS: *text = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case CUDA_ERROR_INVALID_VALUE: *text = "CUDA_ERROR_INVALID_VALUE"; break;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult get_error_string(CUresult, const char** text) {
  *text = "as the fake driver was told";
  return CUDA_SUCCESS;
}

CUresult device_get_count(int* count) {
  FAKE_ENTER(cuDeviceGetCount, initialised);
  *count = state().device_count;
  return CUDA_SUCCESS;
}

CUresult device_get(CUdevice* device, int ordinal) {
  FAKE_ENTER(cuDeviceGet, initialised);
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult device_get_name(char* name, int length, CUdevice device) {
  FAKE_ENTER(cuDeviceGetName, initialised);
  std::strncpy(name, ("Fake GPU " + std::to_string(device)).c_str(), length);
  return CUDA_SUCCESS;
}

CUresult device_get_uuid(CUuuid* uuid, CUdevice device) {
  FAKE_ENTER(cuDeviceGetUuid, initialised);
  *uuid = {};
  uuid->bytes[0] = static_cast<char>(device);
  return CUDA_SUCCESS;
}

CUresult device_total_mem(std::size_t* bytes, CUdevice) {
  FAKE_ENTER(cuDeviceTotalMem, initialised);
  *bytes = state().free_bytes;
  return CUDA_SUCCESS;
}

CUresult device_get_attribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  FAKE_ENTER(cuDeviceGetAttribute, initialised);
  if (device < 0 || device >= state().device_count) return CUDA_ERROR_INVALID_DEVICE;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = state().major; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = state().minor; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = state().multiprocessors; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS: *value = state().pageable_memory_access; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 1 << 20; return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult primary_context_retain(CUcontext* made, CUdevice device) {
  FAKE_ENTER(cuDevicePrimaryCtxRetain, initialised | no_capture);
  *made = reinterpret_cast<CUcontext>(static_cast<std::intptr_t>(device + 1));
  return CUDA_SUCCESS;
}

CUresult context_set_current(CUcontext made) {
  FAKE_ENTER(cuCtxSetCurrent, initialised);
  current_device = static_cast<int>(reinterpret_cast<std::intptr_t>(made)) - 1;
  return CUDA_SUCCESS;
}

CUresult context_get_device(CUdevice* device) {
  FAKE_ENTER(cuCtxGetDevice, initialised | context);
  *device = current_device;
  return CUDA_SUCCESS;
}

[[maybe_unused]] CUresult library_load_data(CUlibrary* library, const void* code, CUjit_option*, void**, unsigned,
                                            CUlibraryOption*, void**, unsigned) {
  FAKE_ENTER(cuLibraryLoadData, initialised | context | no_capture);
  std::string bytes = cubin_bytes(code);
  if (bytes.empty()) return CUDA_ERROR_INVALID_IMAGE;
  *library = reinterpret_cast<CUlibrary>(keep<Library>({std::move(bytes)}));
  return CUDA_SUCCESS;
}

CUresult library_unload(CUlibrary) {
  FAKE_ENTER(cuLibraryUnload, initialised);
  return CUDA_SUCCESS;
}

CUresult library_get_kernel(CUkernel* kernel, CUlibrary library, const char* name) {
  FAKE_ENTER(cuLibraryGetKernel, initialised);
  const std::string& bytes = reinterpret_cast<Library*>(library)->bytes;
  const std::string wanted = name + std::string(1, '\0');
  const std::size_t at = bytes.find(wanted);
  if (at == std::string::npos) return CUDA_ERROR_NOT_FOUND;
  Kernel found = {.name = name};
  std::istringstream sizes(bytes.c_str() + at + wanted.size());
  for (std::size_t size = 0; sizes >> size;) found.parameter_bytes.push_back(size);
  *kernel = reinterpret_cast<CUkernel>(keep<Kernel>(std::move(found)));
  return CUDA_SUCCESS;
}

CUresult kernel_get_function(CUfunction* function, CUkernel kernel) {
  FAKE_ENTER(cuKernelGetFunction, initialised | context | no_capture);
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

CUresult kernel_set_attribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice) {
  FAKE_ENTER(cuKernelSetAttribute, initialised);
  const std::string& name = reinterpret_cast<Kernel*>(kernel)->name;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: state().smem[name] = value; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: state().large_clusters.insert(name); return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      reinterpret_cast<Kernel*>(kernel)->smem_carveout = value;
      return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

// nullptr without the attribute.
const CUlaunchAttributeValue* find_attribute(const CUlaunchConfig& config, CUlaunchAttributeID id) {
  for (unsigned i = 0; i < config.numAttrs; ++i)
    if (config.attrs[i].id == id) return &config.attrs[i].value;
  return nullptr;
}

unsigned cluster_size_of(const CUlaunchConfig& config) {
  const CUlaunchAttributeValue* value = find_attribute(config, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  return value == nullptr ? 0 : value->clusterDim.x;
}

bool overlaps_previous(const CUlaunchConfig& config) {
  const CUlaunchAttributeValue* value = find_attribute(config, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
  return value != nullptr && value->programmaticStreamSerializationAllowed != 0;
}

bool is_cooperative(const CUlaunchConfig& config) {
  const CUlaunchAttributeValue* value = find_attribute(config, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
  return value != nullptr && value->cooperative != 0;
}

// Whether the blocks may run at the same time: no device has room for more threads.
bool runs_at_once(const CUlaunchConfig& config) {
  constexpr std::uint64_t threads_per_multiprocessor = 2048;
  const unsigned cluster = cluster_size_of(config);
  const std::uint64_t blocks = std::uint64_t{config.gridDimX} * config.gridDimY;
  return blocks * config.blockDimX <= threads_per_multiprocessor * static_cast<unsigned>(state().multiprocessors) &&
         (cluster == 0 || blocks / cluster <= static_cast<unsigned>(state().clusters_at_once));
}

bool is_possible(const CUlaunchConfig& config, const std::string& kernel) {
  const unsigned cluster = cluster_size_of(config);
  return (cluster == 0 || config.gridDimX % cluster == 0) &&
         (cluster <= 8 || state().large_clusters.count(kernel) != 0);
}

CUresult occupancy_max_active_clusters(int* clusters, CUfunction function, const CUlaunchConfig* config) {
  FAKE_ENTER(cuOccupancyMaxActiveClusters, initialised | context);
  const bool asks_for_clusters = cluster_size_of(*config) != 0;
  if (!asks_for_clusters || !is_possible(*config, reinterpret_cast<Kernel*>(function)->name))
    return CUDA_ERROR_INVALID_VALUE;
  *clusters = state().clusters_at_once;
  return CUDA_SUCCESS;
}

CUresult tensor_map_encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                 const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                                 const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  FAKE_ENTER(cuTensorMapEncodeTiled, nothing);
  if (rank != 3 || reinterpret_cast<std::uintptr_t>(base) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  const TensorMapContent content = {
      base, {sizes[0], sizes[1], sizes[2]}, {strides[0], strides[1]}, {box[0], box[1], box[2]}, type, swizzle};
  static_assert(sizeof content <= sizeof *map);
  std::memcpy(static_cast<void*>(map), &content, sizeof content);
  return CUDA_SUCCESS;
}

CUresult launch_kernel(const CUlaunchConfig* config, CUfunction function, void** parameters, void**) {
  FAKE_ENTER(cuLaunchKernelEx, initialised | context);
  const Kernel& kernel = *reinterpret_cast<Kernel*>(function);
  if (!is_possible(*config, kernel.name)) return CUDA_ERROR_INVALID_VALUE;
  if (is_cooperative(*config) && !runs_at_once(*config)) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  std::vector<std::vector<std::uint8_t>> copies;
  for (const std::size_t bytes : kernel.parameter_bytes) {
    const auto* parameter = static_cast<const std::uint8_t*>(parameters[copies.size()]);
    copies.emplace_back(parameter, parameter + bytes);
  }
  state().launch_list.push_back({kernel.name,
                                 {config->gridDimX, config->gridDimY, config->gridDimZ},
                                 {config->blockDimX, config->blockDimY, config->blockDimZ},
                                 config->sharedMemBytes,
                                 config->hStream,
                                 current_device,
                                 std::move(copies),
                                 cluster_size_of(*config),
                                 overlaps_previous(*config),
                                 is_cooperative(*config),
                                 kernel.smem_carveout});
  return CUDA_SUCCESS;
}

CUresult memset_words(CUdeviceptr to, unsigned value, std::size_t words, CUstream stream) {
  FAKE_ENTER(cuMemsetD32Async, initialised | context);
  auto* memory = reinterpret_cast<unsigned*>(to);
  std::fill(memory, memory + words, value);
  state().memset_list.push_back({memory, words, stream});
  return CUDA_SUCCESS;
}

CUresult stream_is_capturing(CUstream stream, CUstreamCaptureStatus* status) {
  FAKE_ENTER(cuStreamIsCapturing, initialised | context);
  if (stream == nullptr && !state().capturing.empty()) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  *status = state().capturing.count(stream) != 0 ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}

CUresult exchange_capture_mode(CUstreamCaptureMode* mode) {
  FAKE_ENTER(cuThreadExchangeStreamCaptureMode, initialised);
  std::swap(*mode, capture_mode);
  return CUDA_SUCCESS;
}

CUresult pointer_get_attributes(unsigned count, CUpointer_attribute* attributes, void** values, CUdeviceptr pointer) {
  FAKE_ENTER(cuPointerGetAttributes, initialised);
  const Allocation* allocation = allocation_of(pointer);
  for (unsigned i = 0; i < count; ++i) {
    switch (attributes[i]) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *static_cast<unsigned*>(values[i]) = allocation == nullptr ? 0 : CU_MEMORYTYPE_DEVICE;
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int*>(values[i]) = allocation == nullptr ? -2 : allocation->device;
        break;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *static_cast<unsigned*>(values[i]) = allocation != nullptr && allocation->managed ? 1 : 0;
        break;
      default: return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

CUresult mem_alloc(CUdeviceptr* pointer, std::size_t bytes) {
  FAKE_ENTER(cuMemAlloc, initialised | context | no_capture);
  if (bytes > state().free_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  *pointer = reinterpret_cast<CUdeviceptr>(memory);
  state().allocations[*pointer] = {bytes, current_device, false};
  return CUDA_SUCCESS;
}

CUresult mem_free(CUdeviceptr pointer) {
  FAKE_ENTER(cuMemFree, initialised | context | no_capture);
  if (state().allocations.erase(pointer) == 0) return CUDA_ERROR_INVALID_VALUE;
  std::free(reinterpret_cast<void*>(pointer));
  return CUDA_SUCCESS;
}

bool holds(CUdeviceptr pointer, std::size_t bytes) {
  return allocation_of(pointer) != nullptr && allocation_of(pointer) == allocation_of(pointer + bytes - 1);
}

CUresult copy_to_device(CUdeviceptr device, const void* host, std::size_t bytes) {
  FAKE_ENTER(cuMemcpyHtoD, initialised | context | no_capture);
  if (!holds(device, bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(reinterpret_cast<void*>(device), host, bytes);
  return CUDA_SUCCESS;
}

CUresult copy_to_host(void* host, CUdeviceptr device, std::size_t bytes) {
  FAKE_ENTER(cuMemcpyDtoH, initialised | context | no_capture);
  if (!holds(device, bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(host, reinterpret_cast<const void*>(device), bytes);
  return CUDA_SUCCESS;
}

const Function functions_here[] = {
    {"cuInit", address(init)},
    {"cuDriverGetVersion", address(driver_get_version)},
    {"cuGetErrorName", address(get_error_name)},
    {"cuGetErrorString", address(get_error_string)},
    {"cuDeviceGetCount", address(device_get_count)},
    {"cuDeviceGet", address(device_get)},
    {"cuDeviceGetName", address(device_get_name)},
    {"cuDeviceGetUuid", address(device_get_uuid)},
    {"cuDeviceGetAttribute", address(device_get_attribute)},
    {"cuDeviceTotalMem", address(device_total_mem)},
    {"cuDevicePrimaryCtxRetain", address(primary_context_retain)},
    {"cuCtxSetCurrent", address(context_set_current)},
    {"cuCtxGetDevice", address(context_get_device)},
#ifndef FAKE_DRIVER_WITHOUT_LIBRARIES
    {"cuLibraryLoadData", address(library_load_data)},
#endif
    {"cuLibraryUnload", address(library_unload)},
    {"cuLibraryGetKernel", address(library_get_kernel)},
    {"cuKernelGetFunction", address(kernel_get_function)},
    {"cuKernelSetAttribute", address(kernel_set_attribute)},
    {"cuOccupancyMaxActiveClusters", address(occupancy_max_active_clusters)},
    {"cuTensorMapEncodeTiled", address(tensor_map_encode_tiled)},
    {"cuLaunchKernelEx", address(launch_kernel)},
    {"cuMemsetD32Async", address(memset_words)},
    {"cuStreamIsCapturing", address(stream_is_capturing)},
    {"cuThreadExchangeStreamCaptureMode", address(exchange_capture_mode)},
    {"cuPointerGetAttributes", address(pointer_get_attributes)},
    {"cuMemAlloc", address(mem_alloc)},
    {"cuMemFree", address(mem_free)},
    {"cuMemcpyHtoD", address(copy_to_device)},
    {"cuMemcpyDtoH", address(copy_to_host)},
};

}  // namespace

void Driver::reset() {
  const std::lock_guard lock(mutex);
  device_count = 2;
  major = 9;
  minor = 0;
  multiprocessors = 132;
  pageable_memory_access = false;
  version = 13000;
  clusters_at_once = 7;
  free_bytes = std::size_t{1} << 30;
  failures.clear();
  call_counts.clear();
  capturing.clear();
  broken_captures.clear();
  launch_list.clear();
  memset_list.clear();
  smem.clear();
  large_clusters.clear();
  current_device = -1;
}

void Driver::fail(const std::string& function, CUresult code, int nth, int times) {
  const std::lock_guard lock(mutex);
  failures[function] = {nth, code, times};
}

int Driver::calls(const std::string& function) {
  const std::lock_guard lock(mutex);
  return call_counts[function];
}

bool Driver::is_initialised() {
  const std::lock_guard lock(mutex);
  return initialised_by == getpid();
}

void Driver::set_current_device(int device) { current_device = device; }

void Driver::begin_capture(void* stream) {
  const std::lock_guard lock(mutex);
  capturing.insert(stream);
}

bool Driver::end_capture(void* stream) {
  const std::lock_guard lock(mutex);
  capturing.erase(stream);
  return broken_captures.erase(stream) == 0;
}

void Driver::add_allocation(const void* memory, std::size_t bytes, int device, bool managed) {
  const std::lock_guard lock(mutex);
  allocations[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, device, managed};
}

std::vector<Launch> Driver::launches() {
  const std::lock_guard lock(mutex);
  return launch_list;
}

std::vector<Memset> Driver::memsets() {
  const std::lock_guard lock(mutex);
  return memset_list;
}

int Driver::reserved_smem(const std::string& kernel) {
  const std::lock_guard lock(mutex);
  return smem[kernel];
}

bool Driver::allows_large_clusters(const std::string& kernel) {
  const std::lock_guard lock(mutex);
  return large_clusters.count(kernel) != 0;
}

}  // namespace fake

extern "C" __attribute__((visibility("default"))) CUresult cuGetProcAddress_v2(const char* name, void** address, int,
                                                                               cuuint64_t,
                                                                               CUdriverProcAddressQueryResult* found) {
  for (const std::span<const fake::Function> functions :
       {std::span<const fake::Function>(fake::functions_here), fake::stream_functions()}) {
    for (const fake::Function& function : functions) {
      if (function.name != name) continue;
      *address = function.address;
      *found = CU_GET_PROC_ADDRESS_SUCCESS;
      return CUDA_SUCCESS;
    }
  }
  *address = nullptr;
  *found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return CUDA_ERROR_NOT_FOUND;
}
