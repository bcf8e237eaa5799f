#include "cache/entry.h"

#include <initializer_list>
#include <limits>
#include <string_view>

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/xxhash.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

namespace endian = llvm::support::endian;

constexpr llvm::StringLiteral magic("MHCJIT\r\n");
constexpr std::uint32_t format_version = 1;
constexpr std::size_t header_bytes = 48;
constexpr std::size_t record_bytes = 24;
constexpr std::size_t checksum_bytes = 16;

template <typename Value, typename Expected>
llvm::Error bad_field(std::string_view field, const Value& value, const Expected& expected) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "cache entry: {} is {}, it should be {}", field, value, expected);
}

struct Limit {
  std::string_view field;
  std::uint64_t value;
  std::uint64_t least;
  std::uint64_t most;
};

llvm::Error check_all(std::initializer_list<Limit> limits) {
  for (const Limit& limit : limits) {
    if (limit.value < limit.least || limit.value > limit.most) {
      return bad_field(limit.field, limit.value, fmt::format("{} to {}", limit.least, limit.most));
    }
  }
  return llvm::Error::success();
}

// A negative number becomes one above the limit.
Limit number(std::string_view field, int value) {
  return {field, static_cast<std::uint32_t>(value), 0, std::numeric_limits<std::int32_t>::max()};
}

llvm::Error check_kernel(const KernelResources& kernel) {
  return check_all({{"length of a kernel's name", kernel.name.size(), 1, 4096},
                    number("registers", kernel.registers),
                    number("spill store bytes", kernel.spill_store_bytes),
                    number("spill load bytes", kernel.spill_load_bytes),
                    number("static shared memory bytes", kernel.static_smem_bytes),
                    number("most threads of a block", kernel.max_threads_per_block)});
}

std::size_t encoded_bytes(const Entry& entry) {
  std::size_t total = header_bytes + entry.key_text.size() + entry.architecture.size() + entry.cubin.size();
  for (const KernelResources& kernel : entry.kernels) total += record_bytes + kernel.name.size();
  return total + checksum_bytes;
}

template <typename Integer>
void append(std::string& bytes, Integer value) {
  char raw[sizeof(Integer)];
  endian::write<Integer, llvm::endianness::little>(raw, value);
  bytes.append(raw, sizeof(raw));
}

void append_length(std::string& bytes, std::size_t length) { append(bytes, static_cast<std::uint32_t>(length)); }

std::uint32_t read_u32(llvm::StringRef bytes, std::size_t offset) { return endian::read32le(bytes.data() + offset); }

std::uint64_t read_u64(llvm::StringRef bytes, std::size_t offset) { return endian::read64le(bytes.data() + offset); }

int read_number(llvm::StringRef bytes, std::size_t offset) { return static_cast<int>(read_u32(bytes, offset)); }

std::string checksum(llvm::StringRef bytes) {
  const llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::arrayRefFromStringRef(bytes));
  std::string text;
  append(text, hash.low64);
  append(text, hash.high64);
  return text;
}

// What holds for every sound file of format 1, before a length inside it is believed.
llvm::Error check_envelope(llvm::StringRef bytes) {
  const auto hex = [](llvm::StringRef text) { return llvm::toHex(text, /*LowerCase=*/true); };
  if (llvm::Error error = check_all({{"size", bytes.size(), header_bytes + checksum_bytes, max_entry_bytes}})) {
    return error;
  }
  if (!bytes.starts_with(magic)) return bad_field("magic", hex(bytes.take_front(magic.size())), hex(magic));
  const std::uint32_t version = read_u32(bytes, 8);
  if (version != format_version) return bad_field("format version", version, format_version);
  const std::uint64_t total = read_u64(bytes, 16);
  if (total != bytes.size()) return bad_field("total length", total, bytes.size());
  const llvm::StringRef stored = bytes.take_back(checksum_bytes);
  const std::string computed = checksum(bytes.drop_back(checksum_bytes));
  if (stored != computed) return bad_field("checksum", hex(stored), hex(computed));
  return llvm::Error::success();
}

// Takes `length` bytes off the front of `rest`.
llvm::Error take(llvm::StringRef& rest, std::string_view field, std::uint64_t length, llvm::StringRef& taken) {
  if (llvm::Error error = check_all({{field, length, 0, rest.size()}})) return error;
  taken = rest.take_front(length);
  rest = rest.drop_front(length);
  return llvm::Error::success();
}

llvm::Error take_kernel(llvm::StringRef& rest, KernelResources& kernel) {
  llvm::StringRef record;
  if (llvm::Error error = take(rest, "length of a kernel's record", record_bytes, record)) return error;
  kernel.registers = read_number(record, 4);
  kernel.spill_store_bytes = read_number(record, 8);
  kernel.spill_load_bytes = read_number(record, 12);
  kernel.static_smem_bytes = read_number(record, 16);
  kernel.max_threads_per_block = read_number(record, 20);
  llvm::StringRef name;
  if (llvm::Error error = take(rest, "length of a kernel's name", read_u32(record, 0), name)) return error;
  kernel.name = name.str();
  return check_kernel(kernel);
}

}  // namespace

llvm::Error check_limits(const Entry& entry) {
  for (const KernelResources& kernel : entry.kernels) {
    if (llvm::Error error = check_kernel(kernel)) return error;
  }
  return check_all({{"number of kernels", entry.kernels.size(), 0, 256},
                    {"length of the key text", entry.key_text.size(), 0, std::size_t{16} << 20},
                    {"length of the architecture", entry.architecture.size(), 1, 32},
                    {"total length", encoded_bytes(entry), 0, max_entry_bytes}});
}

std::string encode(const Entry& entry) {
  std::string bytes = magic.str();
  bytes.reserve(encoded_bytes(entry));
  append(bytes, format_version);
  append_length(bytes, entry.kernels.size());
  append<std::uint64_t>(bytes, encoded_bytes(entry));
  append_length(bytes, entry.key_text.size());
  append_length(bytes, entry.architecture.size());
  append<std::uint64_t>(bytes, entry.cubin.size());
  append(bytes, entry.created_unix_seconds);
  bytes += entry.key_text;
  bytes += entry.architecture;
  for (const KernelResources& kernel : entry.kernels) {
    append_length(bytes, kernel.name.size());
    append(bytes, kernel.registers);
    append(bytes, kernel.spill_store_bytes);
    append(bytes, kernel.spill_load_bytes);
    append(bytes, kernel.static_smem_bytes);
    append(bytes, kernel.max_threads_per_block);
    bytes += kernel.name;
  }
  bytes += entry.cubin;
  bytes += checksum(bytes);
  return bytes;
}

llvm::Expected<Entry> decode(llvm::StringRef bytes) {
  if (llvm::Error error = check_envelope(bytes)) return error;
  llvm::StringRef rest = bytes.drop_front(header_bytes).drop_back(checksum_bytes);
  llvm::StringRef key_text, architecture, cubin;
  if (llvm::Error error = take(rest, "length of the key text", read_u32(bytes, 24), key_text)) return error;
  if (llvm::Error error = take(rest, "length of the architecture", read_u32(bytes, 28), architecture)) return error;

  Entry entry;
  entry.created_unix_seconds = static_cast<std::int64_t>(read_u64(bytes, 40));
  // A record takes bytes of the file, so a wrong number of kernels ends the loop before it fills the memory.
  for (std::uint32_t left = read_u32(bytes, 12); left > 0; --left) {
    if (llvm::Error error = take_kernel(rest, entry.kernels.emplace_back())) return error;
  }
  if (llvm::Error error = take(rest, "length of the cubin", read_u64(bytes, 32), cubin)) return error;
  if (!rest.empty()) return bad_field("bytes between the cubin and the checksum", rest.size(), 0);

  entry.key_text = key_text.str();
  entry.architecture = architecture.str();
  entry.cubin = cubin.str();
  if (llvm::Error error = check_limits(entry)) return error;
  return entry;
}

}  // namespace mhcjit::cache
