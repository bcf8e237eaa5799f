#include "tests/support/scarce_memory.h"

#include <atomic>
#include <cerrno>
#include <cstddef>

namespace {

std::atomic<std::int64_t> made = 0, first_failing = mhcjit::test::endless, failing = 0;

bool fails() {
  const std::int64_t number = made.fetch_add(1, std::memory_order_relaxed);
  if (number < first_failing || number - first_failing >= failing) return false;
  errno = ENOMEM;
  return true;
}

}  // namespace

namespace mhcjit::test {

void fail_allocations(std::int64_t first, std::int64_t count) {
  made = 0;
  first_failing = first;
  failing = count;
}

std::int64_t allocations() { return made; }

}  // namespace mhcjit::test

// In the place of the C library's, for every library of the process; operator new calls malloc.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name): glibc's names.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept { return fails() ? nullptr : __libc_malloc(bytes); }
void* calloc(std::size_t count, std::size_t bytes) noexcept { return fails() ? nullptr : __libc_calloc(count, bytes); }
void* realloc(void* memory, std::size_t bytes) noexcept { return fails() ? nullptr : __libc_realloc(memory, bytes); }
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  return fails() ? nullptr : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept { return memalign(alignment, bytes); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  *memory = memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}
}
// NOLINTEND(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name)
