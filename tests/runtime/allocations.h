// Counts what a test program allocates with new.
#pragma once

namespace mhcjit::test {

// Allocations of the calling thread, since its start.
int allocations();

}  // namespace mhcjit::test
