// An NVRTC that compiles nothing: it turns a source into a cubin that holds the name of the source's kernel and the
// sizes of its parameters, at once. It counts what it compiles, and fails or waits when told to.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <nvrtc.h>

namespace fake {

struct Compiler {
  std::atomic<int> compiles = 0;  // of kernels
  std::atomic<int> units_at_once = 0;
  std::atomic<int> most_units_at_once = 0;
  std::atomic<nvrtcResult> result = NVRTC_SUCCESS;  // of every compile
  std::atomic<std::chrono::milliseconds> duration = std::chrono::milliseconds(0);

  // The kernels that were compiled since the last call, in any order.
  std::vector<std::string> take_compiled() {
    const std::lock_guard lock(mutex);
    return std::exchange(compiled, {});
  }

  std::mutex mutex;
  std::vector<std::string> compiled;
};

}  // namespace fake

extern "C" __attribute__((visibility("default"))) fake::Compiler* fake_compiler();
