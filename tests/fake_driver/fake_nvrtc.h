// An NVRTC that compiles nothing: it turns a source into a cubin that holds the names of the source's kernels, at once.
// It counts what it compiles, and fails or waits when told to.
#pragma once

#include <atomic>
#include <chrono>

#include <nvrtc.h>

namespace fake {

struct Compiler {
  std::atomic<int> compiles = 0;  // of operators: of each, the unit of its first kernel counts
  std::atomic<int> units_at_once = 0;
  std::atomic<int> most_units_at_once = 0;
  std::atomic<nvrtcResult> result = NVRTC_SUCCESS;  // of every compile
  std::atomic<std::chrono::milliseconds> duration = std::chrono::milliseconds(0);
};

}  // namespace fake

extern "C" __attribute__((visibility("default"))) fake::Compiler* fake_compiler();
