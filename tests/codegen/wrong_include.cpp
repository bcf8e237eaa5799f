// Seen from codegen, whose own headers are found and whose neighbours' are not.
#include "codegen/problem.h"

#include "cache/disk_cache.h"
