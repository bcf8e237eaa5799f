// What the fake driver's functions begin with, and the tables in which they are found.
#pragma once

#include <span>
#include <string_view>

#include "tests/fake_driver/fake_driver.h"

namespace fake {

inline Driver& state() { return *fake_driver(); }

enum Needs : unsigned { nothing = 0, initialised = 1, context = 2, no_capture = 4 };

// Counts the call, and says whether it fails before it does anything. The caller holds the mutex.
CUresult enter(const char* function, unsigned needs = initialised);

#define FAKE_ENTER(function, needs)                  \
  const std::lock_guard lock(::fake::state().mutex); \
  if (const CUresult failed = ::fake::enter(#function, needs)) return failed

struct Function {
  std::string_view name;
  void* address;
};

template <typename Type>
void* address(Type* function) {
  return reinterpret_cast<void*>(function);
}

// Streams, events, graphs and what copies and fills on them: what measures calls needs, beyond the library.
std::span<const Function> stream_functions();

}  // namespace fake
