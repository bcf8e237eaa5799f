// Any bytes in the place of a cache entry, and any bytes in the place of its cubin, are read safely; what is accepted
// is written back as the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string>

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/xxhash.h>

#include "cache/cubin_check.h"
#include "cache/entry.h"

namespace {

void check(llvm::StringRef bytes) {
  llvm::Expected<mhcjit::cache::Entry> entry = mhcjit::cache::decode(bytes);
  if (!entry) {
    llvm::consumeError(entry.takeError());
    return;
  }
  if (mhcjit::cache::encode(*entry) != bytes) std::abort();
  llvm::consumeError(mhcjit::cache::check_cubin(entry->cubin, entry->architecture));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  llvm::consumeError(mhcjit::cache::check_cubin(bytes, "sm_90a"));
  // Without this a checksum stands between the fuzzer and everything behind it.
  if (size >= 64) {
    namespace endian = llvm::support::endian;
    endian::write64le(bytes.data() + 16, size);
    const llvm::StringRef covered = llvm::StringRef(bytes).drop_back(16);
    const llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::arrayRefFromStringRef(covered));
    endian::write64le(bytes.data() + size - 16, hash.low64);
    endian::write64le(bytes.data() + size - 8, hash.high64);
    check(bytes);
  }
  return 0;
}
