#include "cache/entry_file.h"

#include <string_view>

#include <llvm/Support/Endian.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

// An entry's total length is here.
constexpr std::size_t total_length_offset = 16;
constexpr std::size_t least_entry_bytes = 56;

// The same rule for what is read and for what is written.
llvm::Error check_entry(const Entry& entry, const CacheKey& key, llvm::StringRef architecture) {
  if (entry.key_text != key.text()) {
    return make_error(MHCJIT_ERROR_BAD_FILE,
                      "cache entry: key text is another key's ({} bytes), it should be that of {}",
                      entry.key_text.size(), key.digest());
  }
  if (entry.architecture != architecture) {
    return make_error(MHCJIT_ERROR_BAD_FILE, "cache entry: architecture is '{}', it should be '{}'", entry.architecture,
                      std::string_view(architecture));
  }
  return check_cubins(entry);
}

}  // namespace

llvm::StringRef without_tag(llvm::StringRef file) {
  if (file.size() < least_entry_bytes + tag_bytes) return file;
  const llvm::StringRef entry = file.drop_back(tag_bytes);
  // The length that an entry states tells a tag from a cubin that ends like one.
  const std::uint64_t total = llvm::support::endian::read64le(entry.data() + total_length_offset);
  return total == entry.size() && file.drop_front(entry.size()).starts_with(tag_magic) ? entry : file;
}

llvm::Expected<Entry> read_entry_file(const Bytes& file, const CacheKey& key, llvm::StringRef architecture) {
  llvm::Expected<Entry> entry = decode(file.part(without_tag(file)));
  if (!entry) return entry.takeError();
  if (llvm::Error error = check_entry(*entry, key, architecture)) return error;
  return entry;
}

llvm::Expected<std::string> make_entry_file(const Entry& entry, const CacheKey& key) {
  if (llvm::Error error = check_limits(entry)) return error;
  if (llvm::Error error = check_entry(entry, key, entry.architecture)) return error;
  return encode(entry);
}

}  // namespace mhcjit::cache
