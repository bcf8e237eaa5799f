// The process that runs plans, and the one that forks it whenever a plan has ended it.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "tuning/timer.h"

namespace mhcjit::tuning {

// Makes this process leave Ctrl-C and SIGTERM to its parent, which decides, and end with it: Ctrl-C goes to every
// process of a terminal, and a scheduler's SIGTERM to every process of a job.
void follow(pid_t parent);

// Never returns: the process obeys the orders of `channel`, each with an answer, until one ends it. This one has no
// threads, so that what it forks is sound.
[[noreturn]] void keep_process(pid_t parent, const MakeTimer& make_timer, int device, const std::vector<Row>& rows,
                               int channel);

// Describes the status of wait() of a process that has ended.
std::string describe_end(int status);

}  // namespace mhcjit::tuning
