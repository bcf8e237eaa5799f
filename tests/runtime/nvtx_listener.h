// A profiling tool that only listens: NVTX loads it where the variable NVTX_INJECTION64_PATH names it, and it keeps a
// line for each range that is pushed or popped.
#pragma once

#include <string>
#include <vector>

// "DOMAIN push TEXT" and "DOMAIN pop", of all threads so far.
extern "C" __attribute__((visibility("default"))) const std::vector<std::string>* nvtx_listener_lines();
