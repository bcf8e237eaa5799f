#include "cache/tar.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include <llvm/ADT/STLExtras.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

// A field of a header.
struct Field {
  std::size_t offset;
  std::size_t size;
};

constexpr Field name_field = {0, 100};
constexpr Field mode_field = {100, 8};
constexpr Field user_field = {108, 8};
constexpr Field group_field = {116, 8};
constexpr Field size_field = {124, 12};
constexpr Field time_field = {136, 12};
constexpr Field checksum_field = {148, 8};
constexpr Field type_field = {156, 1};
constexpr Field link_field = {157, 100};
constexpr Field magic_field = {257, 8};
constexpr Field prefix_field = {345, 155};

// With the version "00".
constexpr llvm::StringRef magic("ustar\00000", 8);
constexpr std::int64_t max_time = 077777777777;
constexpr std::size_t chunk_bytes = std::size_t{1} << 20;

llvm::StringRef get(llvm::StringRef header, Field field) { return header.substr(field.offset, field.size); }

// The field up to its first NUL.
llvm::StringRef text(llvm::StringRef header, Field field) { return get(header, field).split('\0').first; }

void put(std::string& header, Field field, llvm::StringRef value) {
  std::copy(value.begin(), value.end(), header.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

// Digits that leave one byte for the NUL.
void put_octal(std::string& header, Field field, std::uint64_t value) {
  put(header, field, fmt::format("{:0{}o}", value, field.size - 1));
}

// Nothing for any other spelling than octal digits, spaces or NULs behind them.
std::optional<std::uint64_t> octal(llvm::StringRef header, Field field) {
  const llvm::StringRef digits = get(header, field).rtrim(llvm::StringRef("\0 ", 2));
  std::uint64_t value = 0;
  if (digits.empty() || digits.find_first_not_of("01234567") != llvm::StringRef::npos ||
      digits.getAsInteger(8, value)) {
    return std::nullopt;
  }
  return value;
}

// The sum of the header's bytes, its own field counted as spaces.
std::uint64_t checksum(llvm::StringRef header) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < header.size(); ++at) {
    const bool own = at >= checksum_field.offset && at < checksum_field.offset + checksum_field.size;
    sum += own ? ' ' : static_cast<unsigned char>(header[at]);
  }
  return sum;
}

bool is_zero(llvm::StringRef bytes) {
  return llvm::all_of(bytes, [](char byte) { return byte == 0; });
}

// A type in words: it is what an archive of another make differs in.
std::string_view type_name(char type) {
  switch (type) {
    case '1': return "a hard link";
    case '2': return "a symbolic link";
    case '3':
    case '4': return "a device";
    case '5': return "a folder";
    case '6': return "a FIFO";
    case 'x':
    case 'g':
    case 'L':
    case 'K': return "an extended header";
    default: return "a member of unknown type";
  }
}

}  // namespace

std::string tar_header(llvm::StringRef name, std::uint64_t size, std::int64_t unix_seconds) {
  std::string header(tar_block_bytes, '\0');
  put(header, name_field, name);
  put_octal(header, mode_field, 0644);
  put_octal(header, user_field, 0);
  put_octal(header, group_field, 0);
  put_octal(header, size_field, size);
  put_octal(header, time_field, static_cast<std::uint64_t>(std::clamp<std::int64_t>(unix_seconds, 0, max_time)));
  put(header, type_field, "0");
  put(header, magic_field, magic);
  put(header, checksum_field, fmt::format("{:06o}", checksum(header)) + std::string("\0 ", 2));
  return header;
}

std::string tar_padding(std::uint64_t size) {
  return std::string((tar_block_bytes - size % tar_block_bytes) % tar_block_bytes, '\0');
}

std::string tar_end() { return std::string(2 * tar_block_bytes, '\0'); }

TarReader::TarReader(Source source, std::uint64_t max_member_bytes)
    : source_(std::move(source)), max_member_bytes_(max_member_bytes) {}

llvm::Expected<std::optional<TarMember>> TarReader::next() {
  const std::uint64_t start = offset_;
  llvm::Expected<std::optional<std::string>> block = next_block();
  if (!block) return block.takeError();
  if (!*block) return refuse(start, "the end of the file", "a member or two blocks of zeros");
  const llvm::StringRef header = **block;
  if (is_zero(header)) {
    if (llvm::Error error = check_end()) return error;
    return std::nullopt;
  }
  if (get(header, magic_field) != magic) return refuse(start, "no ustar header", "one (tar --format=ustar)");
  if (octal(header, checksum_field) != checksum(header)) {
    return refuse(start, "a header whose checksum is wrong", fmt::format("{:o}", checksum(header)));
  }
  const char type = header[type_field.offset];
  if (type != '0' && type != '\0') return refuse(start, std::string(type_name(type)), "a regular file");
  if (!text(header, link_field).empty() || !text(header, prefix_field).empty()) {
    return refuse(start, "a member with a link's target or a folder", "a plain name");
  }
  const std::optional<std::uint64_t> size = octal(header, size_field);
  if (!size || *size > max_member_bytes_) {
    return refuse(start, size ? fmt::format("a member of {} bytes", *size) : "a size that is no octal number",
                  fmt::format("at most {}", max_member_bytes_));
  }
  llvm::Expected<std::string> bytes = read(*size + tar_padding(*size).size());
  if (!bytes) return bytes.takeError();
  if (!is_zero(llvm::StringRef(*bytes).drop_front(*size)))
    return refuse(start, "a member with something behind its bytes", "zeros up to the next block");
  bytes->resize(*size);
  return TarMember{text(header, name_field).str(), std::move(*bytes)};
}

llvm::Expected<std::optional<std::string>> TarReader::next_block() {
  char first = 0;
  llvm::Expected<std::size_t> got = source_(&first, 1);
  if (!got) return got.takeError();
  if (*got == 0) return std::nullopt;
  ++offset_;
  llvm::Expected<std::string> rest = read(tar_block_bytes - 1);
  if (!rest) return rest.takeError();
  return first + *rest;
}

llvm::Expected<std::string> TarReader::read(std::uint64_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    const std::size_t filled = bytes.size();
    bytes.resize(filled + std::min<std::uint64_t>(size - filled, chunk_bytes));
    llvm::Expected<std::size_t> got = source_(bytes.data() + filled, bytes.size() - filled);
    if (!got) return got.takeError();
    if (*got == 0) return refuse(offset_, "the end of the file", fmt::format("{} more bytes", size - filled));
    bytes.resize(filled + *got);
    offset_ += *got;
  }
  return bytes;
}

// After the first block of zeros comes a second, and nothing but zeros.
llvm::Error TarReader::check_end() {
  for (bool second = true;; second = false) {
    const std::uint64_t start = offset_;
    llvm::Expected<std::optional<std::string>> block = next_block();
    if (!block) return block.takeError();
    if (!*block) return second ? refuse(start, "the end of the file", "a block of zeros") : llvm::Error::success();
    if (!is_zero(**block)) return refuse(start, "something after the archive's end", "nothing");
  }
}

llvm::Error TarReader::refuse(std::uint64_t offset, const std::string& actual, const std::string& expected) const {
  return make_error(MHCJIT_ERROR_BAD_FILE, "tar archive: at byte {} is {}, it should be {}", offset, actual, expected);
}

}  // namespace mhcjit::cache
