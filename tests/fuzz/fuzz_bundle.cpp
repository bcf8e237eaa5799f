// Any bytes as a bundle: read safely, and nothing is handed on but sound entries under their own names, each once, and
// one record of printable lines.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include <fmt/format.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "../cache/resealed.h"
#include "cache/bundle.h"
#include "cache/folder_store.h"

namespace {

using namespace mhcjit::cache;

void require(bool condition) {
  if (!condition) std::abort();
}

std::string digest_of(llvm::StringRef text) {
  return llvm::toHex(llvm::SHA256::hash(llvm::arrayRefFromStringRef(text)), /*LowerCase=*/true);
}

void check(llvm::StringRef bytes) {
  // In pieces that end anywhere.
  const auto source = [&bytes](char* buffer, std::size_t size) -> llvm::Expected<std::size_t> {
    const std::size_t count = std::min({size, bytes.size(), std::size_t{1000}});
    std::memcpy(buffer, bytes.data(), count);
    bytes = bytes.drop_front(count);
    return count;
  };
  std::set<std::string> digests;
  int records = 0;
  BundleVisitor visitor;
  visitor.entry = [&](const std::string& digest, StoredEntry& entry) {
    require(digests.insert(digest).second);
    require(digest_of(entry.entry.key_text) == digest);
    require(!check_stored_entry(entry.bytes, digest).takeError());
    return llvm::Error::success();
  };
  visitor.compilers = [&](const CompilerLines& lines) {
    require(++records == 1 && !lines.empty() && lines.size() <= max_recorded_compilers);
    for (const std::string& line : lines) require(!line.empty() && llvm::all_of(line, llvm::isPrint));
    return llvm::Error::success();
  };
  if (llvm::Error error = read_bundle(source, visitor)) require(!llvm::toString(std::move(error)).empty());
}

// The archive with its entries' checksums and names, and its headers' checksums, as they should be: without this they
// stand between the fuzzer and everything behind them.
std::string repaired(std::string bytes) {
  for (std::size_t at = 0; at + tar_block_bytes <= bytes.size() && bytes[at] != '\0';) {
    std::uint64_t size = 0;
    if (llvm::StringRef(bytes).substr(at + 124, 11).getAsInteger(8, size)) break;
    const std::size_t begin = at + tar_block_bytes;
    if (size > bytes.size() - begin) break;
    if (llvm::StringRef(bytes).substr(at, 100).split('\0').first.ends_with(entry_extension) && size >= 56) {
      bytes.replace(begin, size, resealed(bytes.substr(begin, size)));
      if (llvm::Expected<Entry> entry = decode(bytes.substr(begin, size)))
        bytes.replace(at, 64, digest_of(entry->key_text));
      else
        llvm::consumeError(entry.takeError());
    }
    bytes.replace(at + 148, 8, "        ");
    unsigned sum = 0;
    for (std::size_t i = at; i < begin; ++i) sum += static_cast<unsigned char>(bytes[i]);
    bytes.replace(at + 148, 7, fmt::format("{:06o}", sum) + '\0');
    at = begin + (size + tar_block_bytes - 1) / tar_block_bytes * tar_block_bytes;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  check(repaired(bytes));
  return 0;
}
