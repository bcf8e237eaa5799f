#include "cache/entry.h"

#include <initializer_list>
#include <limits>
#include <string_view>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/Endian.h>
#include <llvm/Support/MathExtras.h>
#include <llvm/Support/xxhash.h>

#include "cache/cubin_check.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

namespace endian = llvm::support::endian;

constexpr llvm::StringLiteral magic("MHCJIT\r\n");
constexpr std::uint32_t format_version = 2;
constexpr std::size_t header_bytes = 40;
constexpr std::size_t record_bytes = 28;
constexpr std::size_t cubin_alignment = 16;
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

llvm::Error check_kernel(const CompiledKernel& compiled) {
  const KernelResources& kernel = compiled.resources;
  return check_all({{"length of a kernel's name", kernel.name.size(), 1, 4096},
                    number("registers", kernel.registers),
                    number("spill store bytes", kernel.spill_store_bytes),
                    number("spill load bytes", kernel.spill_load_bytes),
                    number("static shared memory bytes", kernel.static_smem_bytes),
                    number("most threads of a block", kernel.max_threads_per_block)});
}

std::size_t aligned(std::size_t offset) { return llvm::alignTo<cubin_alignment>(offset); }

std::size_t encoded_bytes(const Entry& entry) {
  std::size_t total = header_bytes + entry.key_text.size() + entry.architecture.size();
  for (const CompiledKernel& kernel : entry.kernels) total += record_bytes + kernel.resources.name.size();
  for (const CompiledKernel& kernel : entry.kernels) total = aligned(total) + kernel.cubin.size();
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

std::string hex(llvm::StringRef bytes) { return llvm::toHex(bytes, /*LowerCase=*/true); }

std::string checksum(llvm::StringRef bytes) {
  const llvm::XXH128_hash_t hash = llvm::xxh3_128bits(llvm::arrayRefFromStringRef(bytes));
  std::string text;
  append(text, hash.low64);
  append(text, hash.high64);
  return text;
}

// Checks all that holds for every sound file of this format, before a length inside it is believed.
llvm::Error check_envelope(llvm::StringRef bytes) {
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

// The rest of an entry's bytes, from which its parts are taken.
class Rest {
 public:
  explicit Rest(llvm::StringRef bytes) : bytes_(bytes), left_(bytes) {}

  llvm::Error take(std::string_view field, std::uint64_t length, llvm::StringRef& taken) {
    if (llvm::Error error = check_all({{field, length, 0, left_.size()}})) return error;
    taken = left_.take_front(length);
    left_ = left_.drop_front(length);
    return llvm::Error::success();
  }

  llvm::Error take_padding() {
    const std::size_t offset = bytes_.size() - left_.size();
    llvm::StringRef padding;
    if (llvm::Error error = take("length of the zeros before a cubin", aligned(offset) - offset, padding)) return error;
    if (padding.find_first_not_of('\0') == llvm::StringRef::npos) return llvm::Error::success();
    return bad_field("the zeros before a cubin", hex(padding), "zeros");
  }

  llvm::Error check_empty() const {
    if (left_.empty()) return llvm::Error::success();
    return bad_field("bytes between the cubins and the checksum", left_.size(), 0);
  }

 private:
  const llvm::StringRef bytes_;
  llvm::StringRef left_;
};

llvm::Error take_kernel(Rest& rest, CompiledKernel& kernel, std::uint64_t& cubin_length) {
  llvm::StringRef record, name;
  if (llvm::Error error = rest.take("length of a kernel's record", record_bytes, record)) return error;
  if (llvm::Error error = rest.take("length of a kernel's name", read_u32(record, 0), name)) return error;
  kernel.resources = {name.str(),
                      read_number(record, 4),
                      read_number(record, 8),
                      read_number(record, 12),
                      read_number(record, 16),
                      read_number(record, 20)};
  cubin_length = read_u32(record, 24);
  return check_kernel(kernel);
}

llvm::Error take_kernels(Rest& rest, std::uint32_t count, const Bytes& bytes, std::vector<CompiledKernel>& kernels) {
  std::vector<std::uint64_t> cubin_lengths;
  // A record takes bytes of the file, so a wrong number of kernels ends the loop before it fills the memory.
  for (; count > 0; --count) {
    if (llvm::Error error = take_kernel(rest, kernels.emplace_back(), cubin_lengths.emplace_back())) return error;
  }
  for (const auto [kernel, length] : llvm::zip_equal(kernels, cubin_lengths)) {
    llvm::StringRef cubin;
    if (llvm::Error error = rest.take_padding()) return error;
    if (llvm::Error error = rest.take("length of a cubin", length, cubin)) return error;
    kernel.cubin = bytes.part(cubin);
  }
  return llvm::Error::success();
}

}  // namespace

std::size_t Entry::cubin_bytes() const {
  std::size_t bytes = 0;
  for (const CompiledKernel& kernel : kernels) bytes += kernel.cubin.size();
  return bytes;
}

llvm::Error check_limits(const Entry& entry) {
  for (const CompiledKernel& kernel : entry.kernels) {
    if (llvm::Error error = check_kernel(kernel)) return error;
  }
  return check_all({{"number of kernels", entry.kernels.size(), 1, 256},
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
  append(bytes, entry.created_unix_seconds);
  bytes += entry.key_text;
  bytes += entry.architecture;
  for (const auto& [resources, cubin] : entry.kernels) {
    append_length(bytes, resources.name.size());
    append(bytes, resources.registers);
    append(bytes, resources.spill_store_bytes);
    append(bytes, resources.spill_load_bytes);
    append(bytes, resources.static_smem_bytes);
    append(bytes, resources.max_threads_per_block);
    append_length(bytes, cubin.size());
    bytes += resources.name;
  }
  for (const CompiledKernel& kernel : entry.kernels) {
    bytes.resize(aligned(bytes.size()), '\0');
    bytes.append(kernel.cubin.data(), kernel.cubin.size());
  }
  bytes += checksum(bytes);
  return bytes;
}

llvm::Expected<Entry> decode(const Bytes& bytes) {
  if (llvm::Error error = check_envelope(bytes)) return error;
  Entry entry;
  entry.created_unix_seconds = static_cast<std::int64_t>(read_u64(bytes, 32));
  Rest rest(llvm::StringRef(bytes).drop_back(checksum_bytes));
  llvm::StringRef header, key_text, architecture;
  if (llvm::Error error = rest.take("length of the header", header_bytes, header)) return error;
  if (llvm::Error error = rest.take("length of the key text", read_u32(header, 24), key_text)) return error;
  if (llvm::Error error = rest.take("length of the architecture", read_u32(header, 28), architecture)) return error;
  if (llvm::Error error = take_kernels(rest, read_u32(header, 12), bytes, entry.kernels)) return error;
  if (llvm::Error error = rest.check_empty()) return error;
  entry.key_text = key_text.str();
  entry.architecture = architecture.str();
  if (llvm::Error error = check_limits(entry)) return error;
  return entry;
}

llvm::Error check_cubins(const Entry& entry) {
  for (const CompiledKernel& kernel : entry.kernels) {
    if (llvm::Error error = check_cubin(kernel.cubin, entry.architecture)) return error;
  }
  return llvm::Error::success();
}

}  // namespace mhcjit::cache
