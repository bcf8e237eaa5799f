// Compiled kernels as the cache keeps them, and their bytes (FORMAT.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/bytes.h"

namespace mhcjit::cache {

// The compiler's report of one kernel.
struct KernelResources {
  std::string name;
  int registers = 0;          // of a thread
  int spill_store_bytes = 0;  // of a thread
  int spill_load_bytes = 0;   // of a thread
  int static_smem_bytes = 0;  // of a block
  int max_threads_per_block = 0;

  bool operator==(const KernelResources&) const = default;
};

// A kernel and the cubin that it is in, alone.
struct CompiledKernel {
  KernelResources resources;
  Bytes cubin;

  bool operator==(const CompiledKernel&) const = default;
};

struct Entry {
  std::string key_text;      // CacheKey::text() of what was compiled
  std::string architecture;  // "sm_90a"
  std::vector<CompiledKernel> kernels;
  std::int64_t created_unix_seconds = 0;

  std::size_t cubin_bytes() const;  // of all kernels

  bool operator==(const Entry&) const = default;
};

inline constexpr std::size_t max_entry_bytes = std::size_t{64} << 20;

// Success when the entry can be written and read back, or BAD_FILE with the field that is outside FORMAT.md's limits.
llvm::Error check_limits(const Entry& entry);

// The entry's file. `entry` has passed check_limits(). The same entry gives the same bytes.
std::string encode(const Entry& entry);

// The entry in `bytes`, of which its cubins are parts, or BAD_FILE with the field, what it holds and what it should
// hold. If the bytes are aligned to 16, so are the cubins. Reads any bytes safely; does not look into the cubins
// (check_cubins() does). Cost: the checksum, about 12 us for 100 KB.
llvm::Expected<Entry> decode(const Bytes& bytes);

// Success when check_cubin() says so of every kernel's, for the entry's architecture. Errors: its.
llvm::Error check_cubins(const Entry& entry);

}  // namespace mhcjit::cache
