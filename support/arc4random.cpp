// Debian's LLVM asks for arc4random, which came with glibc 2.36; with one of their own, the library and the tool load
// on glibc 2.34, too.
#include <sys/random.h>

#include <cstdlib>

extern "C" __uint32_t arc4random() noexcept {
  __uint32_t number = 0;
  if (getentropy(&number, sizeof number) != 0) std::abort();
  return number;
}
