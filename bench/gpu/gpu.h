// Device 0 as benchmarks and the tests on hardware use it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "bench/gpu/driver.h"
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
void require(mhcjit_status status, std::string_view what);

const mhcjit_operator* prepare(mhcjit_engine* engine, const mhcjit_problem& problem);

// Compiles the problems for `gpu` on all processors, so that what follows finds them ready. A failure is reported by
// whoever prepares the problem.
void compile_all(mhcjit_engine* engine, const Gpu& gpu, std::span<const mhcjit_problem> problems);

}  // namespace mhcjit::gpu
