// How loads and threads share out a stream of x.
#pragma once

#include "codegen/problem.h"

namespace mhcjit::codegen {

// Elements of x in one load: up to 16 bytes, and no load crosses from one stream into the next.
int vec_size_of(const Problem& problem);

// Threads that work on one token, in whole warps, of a block of `threads_per_block`, a power of two: as many as have a
// load each, or fewer where the last step through a stream would leave many of them idle.
int most_threads_per_token(const Problem& problem, int vec_size, int threads_per_block);
int threads_per_token_of(const Problem& problem, int vec_size, int threads_per_block);

}  // namespace mhcjit::codegen
