#include "cache/cubin_check.h"

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <llvm/BinaryFormat/ELF.h>
#include <llvm/Support/Endian.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

namespace elf = llvm::ELF;
namespace endian = llvm::support::endian;

// ELF ABI version from which the SM number is the second byte of e_flags; before, it is the lowest.
constexpr std::uint8_t first_abi_with_sm_in_second_byte = 8;

template <typename Value, typename Expected>
llvm::Error bad_field(std::string_view field, const Value& value, const Expected& expected) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "cubin: {} is {}, it should be {}", field, value, expected);
}

// The file's bytes, and a part of them that starts at `offset`.
struct View {
  llvm::StringRef bytes;
  std::size_t offset = 0;

  std::uint8_t u8(std::size_t at) const { return static_cast<std::uint8_t>(bytes[offset + at]); }
  std::uint16_t u16(std::size_t at) const { return endian::read16le(bytes.data() + offset + at); }
  std::uint32_t u32(std::size_t at) const { return endian::read32le(bytes.data() + offset + at); }
  std::uint64_t u64(std::size_t at) const { return endian::read64le(bytes.data() + offset + at); }
};

llvm::Error check_inside(std::string_view what, std::uint64_t index, std::uint64_t offset, std::uint64_t size,
                         std::uint64_t file_size) {
  if (offset <= file_size && size <= file_size - offset) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_BAD_FILE, "cubin: {} {} is {} bytes at offset {}, it should end within the file's {}",
                    what, index, size, offset, file_size);
}

llvm::Expected<unsigned> sm_number(llvm::StringRef architecture) {
  llvm::StringRef rest = architecture;
  unsigned number = 0;
  const bool named = rest.consume_front("sm_") && !rest.consumeInteger(10, number) && number <= 255;
  if (named && (rest.empty() || rest == "a" || rest == "f")) return number;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "architecture is '{}', it should be sm_ and a number up to 255, with a or f or nothing after it",
                    std::string_view(architecture));
}

llvm::Error check_header(View file, unsigned sm) {
  if (file.bytes.size() < sizeof(elf::Elf64_Ehdr)) {
    return bad_field("size", file.bytes.size(), fmt::format("at least {}", sizeof(elf::Elf64_Ehdr)));
  }
  const bool second_byte = file.u8(elf::EI_ABIVERSION) >= first_abi_with_sm_in_second_byte;
  struct Field {
    std::string_view name;
    std::uint64_t value;
    std::uint64_t expected;
  };
  for (const Field& field : {
           Field{"ELF magic", file.u32(0), 0x464c457f},
           Field{"ELF class", file.u8(elf::EI_CLASS), elf::ELFCLASS64},
           Field{"ELF byte order", file.u8(elf::EI_DATA), elf::ELFDATA2LSB},
           Field{"ELF version", file.u8(elf::EI_VERSION), elf::EV_CURRENT},
           Field{"ELF type", file.u16(16), elf::ET_EXEC},
           Field{"ELF machine", file.u16(18), elf::EM_CUDA},
           Field{"SM number", file.u8(second_byte ? 49 : 48), sm},
           Field{"size of the ELF header", file.u16(52), sizeof(elf::Elf64_Ehdr)},
       }) {
    if (field.value != field.expected) return bad_field(field.name, field.value, field.expected);
  }
  return llvm::Error::success();
}

// A table of `count` headers, each of whose contents `check_one` finds inside the file.
template <typename CheckOne>
llvm::Error check_table(std::string_view what, View file, std::uint64_t offset, std::uint16_t count,
                        std::uint16_t header_size, std::uint16_t expected_header_size, CheckOne&& check_one) {
  const std::size_t file_size = file.bytes.size();
  if (header_size != expected_header_size) {
    return bad_field(fmt::format("size of a {} header", what), header_size, expected_header_size);
  }
  const std::uint64_t table_size = std::uint64_t{count} * header_size;
  if (llvm::Error error = check_inside(fmt::format("{} table of length", what), count, offset, table_size, file_size)) {
    return error;
  }
  for (std::uint16_t index = 0; index < count; ++index) {
    const View header{file.bytes, static_cast<std::size_t>(offset + std::uint64_t{index} * header_size)};
    if (llvm::Error error = check_one(index, header)) return error;
  }
  return llvm::Error::success();
}

llvm::Error check_sections(View file) {
  const std::uint16_t count = file.u16(60);
  const std::uint16_t names_index = file.u16(62);
  if (names_index >= count) {
    return bad_field("index of the section of names", names_index, fmt::format("less than {}", count));
  }
  return check_table("section", file, file.u64(40), count, file.u16(58), sizeof(elf::Elf64_Shdr),
                     [&](std::uint16_t index, View header) -> llvm::Error {
                       const std::uint32_t type = header.u32(4);
                       if (type == elf::SHT_NULL || type == elf::SHT_NOBITS) return llvm::Error::success();
                       return check_inside("section", index, header.u64(24), header.u64(32), file.bytes.size());
                     });
}

llvm::Error check_segments(View file) {
  return check_table("segment", file, file.u64(32), file.u16(56), file.u16(54), sizeof(elf::Elf64_Phdr),
                     [&](std::uint16_t index, View header) -> llvm::Error {
                       return check_inside("segment", index, header.u64(8), header.u64(32), file.bytes.size());
                     });
}

}  // namespace

llvm::Error check_cubin(llvm::StringRef cubin, llvm::StringRef architecture) {
  llvm::Expected<unsigned> sm = sm_number(architecture);
  if (!sm) return sm.takeError();
  const View file{cubin};
  if (llvm::Error error = check_header(file, *sm)) return error;
  if (llvm::Error error = check_sections(file)) return error;
  return check_segments(file);
}

}  // namespace mhcjit::cache
