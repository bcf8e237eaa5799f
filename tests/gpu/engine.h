// The engine whose kernels the tests on hardware run.
#pragma once

#include <memory>
#include <span>

#include "bench/gpu/gpu.h"

namespace mhcjit::gpu {

struct DestroyEngine {
  void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
};
using EnginePtr = std::unique_ptr<mhcjit_engine, DestroyEngine>;

// Its cache is $MHCJIT_CACHE_DIR, or memory alone when that is not set. `plan` as in mhcjit_engine_options.
EnginePtr make_engine(const char* plan);

// That of this process.
mhcjit_engine* engine();

inline const mhcjit_operator* prepare(const mhcjit_problem& problem) { return prepare(engine(), problem); }

inline void compile_all(const Gpu& gpu, std::span<const mhcjit_problem> problems) {
  compile_all(engine(), gpu, problems);
}

}  // namespace mhcjit::gpu
