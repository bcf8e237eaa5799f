#include "cache/hmac.h"

#include <sys/stat.h>

#include <algorithm>

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "cache/checked_file.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

constexpr std::size_t block_bytes = 64;
constexpr std::size_t least_key_bytes = 32;
constexpr std::size_t most_key_bytes = 4096;

using Block = std::array<std::uint8_t, block_bytes>;

Block padded(llvm::StringRef key) {
  Block block = {};
  if (key.size() > block_bytes) {
    const Mac hashed = llvm::SHA256::hash(llvm::arrayRefFromStringRef(key));
    std::copy(hashed.begin(), hashed.end(), block.begin());
  } else {
    std::copy(key.bytes_begin(), key.bytes_end(), block.begin());
  }
  return block;
}

Block masked(Block block, std::uint8_t mask) {
  for (std::uint8_t& byte : block) byte ^= mask;
  return block;
}

}  // namespace

Mac hmac_sha256(llvm::StringRef key, llvm::StringRef message) {
  const Block block = padded(key);
  llvm::SHA256 inner;
  inner.update(masked(block, 0x36));
  inner.update(message);
  llvm::SHA256 outer;
  outer.update(masked(block, 0x5c));
  outer.update(inner.final());
  return outer.final();
}

bool same_bytes(llvm::StringRef left, llvm::StringRef right) {
  if (left.size() != right.size()) return false;
  // The compiler may not leave the loop early for a value that it has to store.
  volatile unsigned char different = 0;
  for (std::size_t i = 0; i < left.size(); ++i) different = different | static_cast<unsigned char>(left[i] ^ right[i]);
  return different == 0;
}

llvm::Expected<std::string> read_hmac_key(const std::string& path) {
  const auto refuse = [&](std::string_view actual, std::string_view expected) {
    return make_error(MHCJIT_ERROR_BAD_FILE, "key file '{}' is {}, it should be {}", path, actual, expected);
  };
  llvm::Expected<std::optional<Bytes>> bytes = read_file(FileOps::system(), path, most_key_bytes, Trust::secret);
  if (!bytes) return bytes.takeError();
  if (!*bytes) return refuse("absent", fmt::format("a file of {} to {} bytes", least_key_bytes, most_key_bytes));
  if ((*bytes)->size() < least_key_bytes)
    return refuse(fmt::format("{} bytes long", (*bytes)->size()),
                  fmt::format("{} to {} (openssl rand -hex 32)", least_key_bytes, most_key_bytes));
  llvm::StringRef key = **bytes;
  key.consume_back("\n");
  return key.str();
}

}  // namespace mhcjit::cache
