#include "tools/interrupt.h"

#include <csignal>

namespace mhcjit::tools {
namespace {

std::atomic<bool> interrupted = false;

}  // namespace

const std::atomic<bool>& stop_on_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
  return interrupted;
}

}  // namespace mhcjit::tools
