// Device 0 as tests and benchmarks use it, and the engine whose kernels they run.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "driver.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::gpu {

struct Gpu {
  const Driver& driver;
  CUdevice device = 0;
  CUcontext context = nullptr;
  std::string name;
  std::string driver_version;  // "13.0"
  std::string architecture;    // "sm_90a"
  int l2_bytes = 0;

  // Every thread that launches or copies has to call this once.
  void make_current() const;
  void synchronize(CUstream stream = nullptr) const;
  std::size_t free_bytes() const;
};

// Device 0 with its primary context current on the calling thread. nullptr without one; missing_gpu() says why.
const Gpu* find_gpu();
const std::string& missing_gpu();

// Throws std::runtime_error with mhcjit_last_error() unless `status` is success.
void require(mhcjit_status status, const char* what);

// The engine of this process. Its cache is $MHCJIT_CACHE_DIR, or memory alone when that is not set.
mhcjit_engine* engine();

const mhcjit_operator* prepare(const mhcjit_problem& problem);

// Compiles the problems for `gpu` on all processors, so that the tests that follow find them ready.
void compile_all(const Gpu& gpu, std::span<const mhcjit_problem> problems);

}  // namespace mhcjit::gpu
