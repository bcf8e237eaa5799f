// Plain tar archives (the ustar format) of regular files, one member in memory at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

inline constexpr std::size_t tar_block_bytes = 512;

// The header that stands before the bytes of a member of mode 0644. The name has at most 99 bytes, the size is below 8
// GiB, and a time outside 1970 to 2242 becomes the nearest of them.
std::string tar_header(llvm::StringRef name, std::uint64_t size, std::int64_t unix_seconds);

// The zeros that fill the last block of `size` bytes.
std::string tar_padding(std::uint64_t size);

// The blocks after the last member.
std::string tar_end();

struct TarMember {
  std::string name;
  std::string bytes;
};

class TarReader {
 public:
  // Fills up to `size` bytes and returns how many; 0 at the end.
  using Source = std::function<llvm::Expected<std::size_t>(char* buffer, std::size_t size)>;

  // Allocates no more than it has read, and never more than `max_member_bytes`.
  TarReader(Source source, std::uint64_t max_member_bytes);

  // The next member, or nothing after the last. Reads any bytes safely, and refuses what is not a whole archive of
  // regular files: links, folders, devices, extended headers, an archive that is cut. Errors: BAD_FILE with the byte
  // of the archive, what stands there and what should; those of the source.
  llvm::Expected<std::optional<TarMember>> next();

 private:
  // Nothing at the end of the archive's bytes.
  llvm::Expected<std::optional<std::string>> next_block();
  llvm::Expected<std::string> read(std::uint64_t size);
  llvm::Error check_end();
  llvm::Error refuse(std::uint64_t offset, const std::string& actual, const std::string& expected) const;

  Source source_;
  const std::uint64_t max_member_bytes_;
  std::uint64_t offset_ = 0;
};

}  // namespace mhcjit::cache
