#include "tools/interrupt.h"

#include <cerrno>
#include <csignal>

#include <unistd.h>

namespace mhcjit::tools {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler changes it");

std::string message;

// The handler writes itself: the work that is finished first may take minutes, and the user is to know at once.
void interrupt(int) {
  const int error = errno;
  interrupted = true;
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message.data(), message.size());
  errno = error;
}

}  // namespace

const std::atomic<bool>& stop_on_interrupt(const std::string& finishing) {
  const std::string erase_line = ::isatty(STDERR_FILENO) != 0 ? "\r\x1b[K" : "";  // a terminal echoes ^C, behind a bar
  message = erase_line + "mhcjit: interrupted: finishing " + finishing + "; once more ends at once\n";
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, interrupt);
  return interrupted;
}

}  // namespace mhcjit::tools
