// The engine whose kernels the tests on hardware run.
#pragma once

#include <span>

#include "bench/gpu/gpu.h"

namespace mhcjit::gpu {

// That of this process. Its cache is $MHCJIT_CACHE_DIR, or memory alone when that is not set.
mhcjit_engine* engine();

inline const mhcjit_operator* prepare(const mhcjit_problem& problem) { return prepare(engine(), problem); }

inline void compile_all(const Gpu& gpu, std::span<const mhcjit_problem> problems) {
  compile_all(engine(), gpu, problems);
}

}  // namespace mhcjit::gpu
