// Ctrl-C for commands that keep what they have done.
#pragma once

#include <atomic>

namespace mhcjit::tools {

// From now on Ctrl-C makes the result true; a second one ends the process.
const std::atomic<bool>& stop_on_interrupt();

}  // namespace mhcjit::tools
