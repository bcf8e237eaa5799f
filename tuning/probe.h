// Devices looked at without being used by this process: it forks, and a fork has no driver that its parent has opened.
#pragma once

#include <span>
#include <vector>

#include <llvm/Support/Error.h>

#include "tuning/timer.h"

namespace mhcjit::tuning {

// Errors: NO_DEVICE, with what the timer threw.
llvm::Expected<std::vector<Machine>> probe(const MakeTimer& make_timer, std::span<const int> devices);

}  // namespace mhcjit::tuning
