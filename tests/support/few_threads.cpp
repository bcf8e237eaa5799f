#include "tests/support/few_threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace mhcjit::test {
namespace {

int limit_of_the_environment() {
  const char* const limit = std::getenv("MHCJIT_TEST_THREADS");
  return limit == nullptr ? any_number : std::atoi(limit);
}

std::atomic<int>& allowed() {
  static std::atomic<int> count = limit_of_the_environment();
  return count;
}

std::atomic<int> refused = 0;

// False where none is left.
bool take_one() {
  int left = allowed();
  while (left > 0 && !allowed().compare_exchange_weak(left, left - 1)) {
  }
  if (left == 0) ++refused;
  return left != 0;
}

}  // namespace

void allow_threads(int count) {
  allowed() = count;
  refused = 0;
}

int refused_threads() { return refused; }

}  // namespace mhcjit::test

// In the place of the system's, for every library of the process.
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): those of glibc are reserved.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*work)(void*), void* argument) noexcept {
  if (!mhcjit::test::take_one()) return EAGAIN;
  static const auto create = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, work, argument);
}
