// AddressSanitizer's hooks, or nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define MHCJIT_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MHCJIT_ADDRESS_SANITIZER
#endif
#endif

#ifdef MHCJIT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace mhcjit::test::address_sanitizer {

#ifdef MHCJIT_ADDRESS_SANITIZER
inline constexpr bool enabled = true;
inline void poison(const void* begin, std::size_t bytes) { __asan_poison_memory_region(begin, bytes); }
inline void unpoison(const void* begin, std::size_t bytes) { __asan_unpoison_memory_region(begin, bytes); }
#else
inline constexpr bool enabled = false;
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
#endif

struct Stack {
  const void* bottom = nullptr;
  std::size_t bytes = 0;
};

// Says on which stack a thread of execution goes on. leave() stands before a switch, arrive() behind it, on the stack
// that was switched to.
class Switch {
 public:
  // `to`: where the switch goes. `last`: the stack that is left will not be come back to.
  void leave(const Stack& to, bool last = false) {
#ifdef MHCJIT_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(last ? nullptr : &fake_stack_, to.bottom, to.bytes);
#else
    static_cast<void>(to);
    static_cast<void>(last);
#endif
  }
  // Returns the stack that was left.
  Stack arrive() {
    Stack from;
#ifdef MHCJIT_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake_stack_, &from.bottom, &from.bytes);
#endif
    return from;
  }

 private:
#ifdef MHCJIT_ADDRESS_SANITIZER
  void* fake_stack_ = nullptr;
#endif
};

}  // namespace mhcjit::test::address_sanitizer
