// Any bytes in the place of a cache entry, and any bytes in the place of a cubin, are read safely; what is accepted
// is written back as the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../cache/resealed.h"
#include "cache/cubin_check.h"
#include "cache/entry.h"

namespace {

void check(const mhcjit::cache::Bytes& bytes) {
  llvm::Expected<mhcjit::cache::Entry> entry = mhcjit::cache::decode(bytes);
  if (!entry) {
    llvm::consumeError(entry.takeError());
    return;
  }
  if (mhcjit::cache::encode(*entry) != llvm::StringRef(bytes)) std::abort();
  llvm::consumeError(mhcjit::cache::check_cubins(*entry));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  llvm::consumeError(mhcjit::cache::check_cubin(bytes, "sm_90a"));
  // Without this a checksum stands between the fuzzer and everything behind it.
  if (size >= 56) check(mhcjit::cache::resealed(bytes));
  return 0;
}
