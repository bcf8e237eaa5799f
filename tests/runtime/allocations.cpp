// In a file of its own: where the compiler sees both these and their callers, it takes free() for a mistake.
#include "tests/runtime/allocations.h"

#include <cstdlib>
#include <new>

namespace {

thread_local int count = 0;

}  // namespace

namespace mhcjit::test {

int allocations() { return count; }

}  // namespace mhcjit::test

void* operator new(std::size_t bytes) {
  ++count;
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
