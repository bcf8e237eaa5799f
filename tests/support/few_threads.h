// A limit of threads that holds for every user, root included, whom RLIMIT_NPROC does not bind. A program that links
// few_threads.cpp has it, and so has one that the shared library few_threads is loaded into before all others
// (LD_PRELOAD), where $MHCJIT_TEST_THREADS is the limit from the start.
#pragma once

namespace mhcjit::test {

constexpr int any_number = -1;

// From now on `count` threads can be made; every further one is refused as the system does at a limit.
void allow_threads(int count);

// Threads that were refused since.
int refused_threads();

}  // namespace mhcjit::test
