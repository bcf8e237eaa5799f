// A CUDA driver made of host memory: it records what it is asked and fails when told to. It runs no kernel.
//
// It keeps the rules that callers get wrong: contexts belong to threads, a call that is unsafe during a capture breaks
// the capture, a forked child has no driver, a cubin has the kernel that its bytes name, memory belongs to a device.
//
// The library is opened like a real driver; its state is reached through fake_driver().
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <cuda.h>

namespace fake {

struct Launch {
  std::string kernel;
  std::uint32_t grid[3];
  std::uint32_t block[3];
  std::uint32_t dynamic_smem_bytes;
  void* stream;
  int device;                                         // of the context that was current
  std::vector<std::vector<std::uint8_t>> parameters;  // each as many bytes as the cubin says
  unsigned cluster_size;                              // 0 without the attribute
  bool overlaps_previous;                             // programmatic stream serialization
  bool is_cooperative;
  int smem_carveout;  // the function's
};

// What a tensor map was encoded from, which is what the fake one holds.
struct TensorMapContent {
  void* base;
  std::uint64_t sizes[3];
  std::uint64_t strides[2];
  std::uint32_t box[3];
  CUtensorMapDataType type;
  CUtensorMapSwizzle swizzle;
};

struct Failure {
  int countdown;  // 1: the next call fails
  CUresult code;
  int times;
};

struct Allocation {
  std::size_t bytes;
  int device;
  bool managed;
};

struct Memset {
  const void* to;
  std::size_t words;
  void* stream;
};

// Virtual, so that a program that opens the library at run time can call them.
class Driver {
 public:
  // As after loading: two H100-like devices, no context current on this thread, nothing recorded. Allocations stay.
  virtual void reset();

  // The `nth` call of `function` from now (1: the next) and the `times - 1` after it return `code`.
  virtual void fail(const std::string& function, CUresult code, int nth = 1, int times = 1);

  virtual int calls(const std::string& function);
  // Whether cuInit has ever succeeded in this process; reset() does not undo it.
  virtual bool is_initialised();
  // Device whose context is current on this thread; -1: no context.
  virtual void set_current_device(int device);
  virtual void begin_capture(void* stream);
  // Whether the capture is still valid.
  virtual bool end_capture(void* stream);
  // Memory of a device that did not come from cuMemAlloc.
  virtual void add_allocation(const void* memory, std::size_t bytes, int device, bool managed);
  virtual std::vector<Launch> launches();
  virtual std::vector<Memset> memsets();
  // Bytes of shared memory that cuKernelSetAttribute reserved for a kernel.
  virtual int reserved_smem(const std::string& kernel);
  // Whether cuKernelSetAttribute allowed clusters of more than 8 blocks of a kernel.
  virtual bool allows_large_clusters(const std::string& kernel);

  int device_count = 2;
  int major = 9;
  int minor = 0;
  int multiprocessors = 132;
  bool pageable_memory_access = false;
  int version = 13000;
  int clusters_at_once = 7;
  std::size_t free_bytes = std::size_t{1} << 30;

  // Below: for the driver's own functions, which hold `mutex`.
  std::recursive_mutex mutex;
  std::map<std::string, Failure> failures;
  std::map<std::string, int> call_counts;
  std::set<void*> capturing;
  std::set<void*> broken_captures;
  std::map<std::uintptr_t, Allocation> allocations;
  std::vector<Launch> launch_list;
  std::vector<Memset> memset_list;
  std::map<std::string, int> smem;
  std::set<std::string> large_clusters;
};

}  // namespace fake

extern "C" __attribute__((visibility("default"))) fake::Driver* fake_driver();
