#include "runtime/elf_note.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include <llvm/ADT/StringExtras.h>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

constexpr std::size_t largest_headers = 1 << 16;  // a real library has a few hundred bytes of either

class File {
 public:
  explicit File(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (is_open()) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return descriptor_ >= 0; }
  bool read(void* into, std::size_t bytes, std::uint64_t offset) const {
    return pread(descriptor_, into, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
  }

 private:
  int descriptor_;
};

std::size_t padded(std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; }

std::optional<std::string> build_id_among(const std::string& notes) {
  std::size_t at = 0;
  while (at + sizeof(Elf64_Nhdr) <= notes.size()) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    at += sizeof note;
    const std::size_t name_bytes = padded(note.n_namesz);
    const std::size_t text_bytes = padded(note.n_descsz);
    if (name_bytes > notes.size() - at || text_bytes > notes.size() - at - name_bytes) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes.data() + at, "GNU", 4) == 0)
      return llvm::toHex(llvm::StringRef(notes).substr(at + name_bytes, note.n_descsz), /*LowerCase=*/true);
    at += name_bytes + text_bytes;
  }
  return std::nullopt;
}

}  // namespace

llvm::Expected<std::string> gnu_build_id(const std::string& path) {
  const File file(path);
  if (!file.is_open()) return make_error(MHCJIT_ERROR_IO, "{} cannot be opened: {}", path, std::strerror(errno));
  Elf64_Ehdr header;
  if (!file.read(&header, sizeof header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
    return make_error(MHCJIT_ERROR_BAD_FILE, "{} is not a 64-bit ELF library", path);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (!file.read(segments.data(), segments.size() * sizeof(Elf64_Phdr), header.e_phoff))
    return make_error(MHCJIT_ERROR_BAD_FILE, "{} is cut short: its {} program headers at offset {} cannot be read",
                      path, header.e_phnum, header.e_phoff);
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > largest_headers) continue;
    std::string notes(segment.p_filesz, '\0');
    if (!file.read(notes.data(), notes.size(), segment.p_offset)) continue;
    if (auto id = build_id_among(notes)) return *id;
  }
  return make_error(MHCJIT_ERROR_BAD_FILE, "{} has no GNU build-id note", path);
}

}  // namespace mhcjit::runtime
