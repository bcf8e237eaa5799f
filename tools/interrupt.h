// Ctrl-C and SIGTERM for commands that keep what they have done.
#pragma once

#include <atomic>
#include <string>

namespace mhcjit::tools {

// From now on Ctrl-C or SIGTERM makes the result true, and says on stderr that the command is `finishing` something; a
// second one ends the process. Called once.
const std::atomic<bool>& stop_on_interrupt(const std::string& finishing);

}  // namespace mhcjit::tools
