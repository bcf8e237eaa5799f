// A forged entry: damaged, but with a total length and a checksum that agree with what it holds, so that a reader must
// find the damage by itself.
#pragma once

#include <string>

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/xxhash.h>

namespace mhcjit::cache {

// `bytes` are at least the 56 of an entry without parts.
inline std::string resealed(std::string bytes) {
  const auto write = [&bytes](std::size_t offset, std::uint64_t value) {
    llvm::support::endian::write64le(bytes.data() + offset, value);
  };
  write(16, bytes.size());
  const llvm::StringRef covered = llvm::StringRef(bytes).drop_back(16);
  const llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::arrayRefFromStringRef(covered));
  write(bytes.size() - 16, hash.low64);
  write(bytes.size() - 8, hash.high64);
  return bytes;
}

}  // namespace mhcjit::cache
