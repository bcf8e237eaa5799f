#include "runtime/fork_guard.h"

#include <pthread.h>

#include <atomic>

namespace mhcjit::runtime {
namespace {

std::atomic<std::uint32_t> generation = 0;

}  // namespace

std::uint32_t fork_generation() {
  // A process id would do too, but it costs a system call on the launch path and is re-used.
  static const int installed = pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1); });
  static_cast<void>(installed);
  return generation.load(std::memory_order_relaxed);
}

}  // namespace mhcjit::runtime
