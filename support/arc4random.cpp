// Debian's LLVM asks for arc4random, which came with glibc 2.36; with one of their own, the library and the tool load
// on glibc 2.34, too.
#include <sys/random.h>

#include <chrono>

// LLVM makes names of temporary files from it, and takes another where one exists. So a number that can be foreseen
// does no harm, where a sandbox refuses the system call.
extern "C" __uint32_t arc4random() noexcept {
  __uint32_t number = 0;
  if (getentropy(&number, sizeof number) != 0)
    number = static_cast<__uint32_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return number;
}
