#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <llvm/ADT/STLExtras.h>
#include <llvm/Support/Endian.h>

#include "support/error.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {
namespace {

constexpr std::uint64_t length_bytes = 8;

}  // namespace

SafetensorsFile::Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

llvm::Expected<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  // O_NONBLOCK: a FIFO in place of the file must not hang the open. It changes nothing for a regular file.
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status = {};
  if (descriptor.get() < 0 || ::fstat(descriptor.get(), &status) != 0)
    return make_error(MHCJIT_ERROR_IO, "cannot open '{}': {}", path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return make_error(MHCJIT_ERROR_IO, "cannot read '{}': it is not a regular file", path);

  SafetensorsFile file(path, std::move(descriptor));
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (file_bytes < length_bytes)
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: has {} bytes, a safetensors file has at least {}", path, file_bytes,
                      length_bytes);
  std::byte length[length_bytes];
  if (auto error = file.read_at(0, length, length_bytes)) return error;
  const std::uint64_t header_bytes = llvm::support::endian::read64le(length);
  if (header_bytes > file_bytes - length_bytes || header_bytes > max_safetensors_header_bytes)
    return make_error(
        MHCJIT_ERROR_BAD_FILE,
        "{}: the header length is {}, allowed: at most {} and at most the {} bytes that follow it (is the "
        "file truncated?)",
        path, header_bytes, max_safetensors_header_bytes, file_bytes - length_bytes);

  llvm::Expected<HostBuffer> header = HostBuffer::allocate(header_bytes);
  if (!header) return header.takeError();
  if (auto error = file.read_at(length_bytes, header->data(), header_bytes)) return error;
  file.buffer_offset_ = length_bytes + header_bytes;
  llvm::Expected<std::vector<TensorInfo>> tensors = parse_safetensors_header(
      path, {reinterpret_cast<const char*>(header->data()), header_bytes}, file_bytes - file.buffer_offset_);
  if (!tensors) return tensors.takeError();
  file.tensors_ = std::move(*tensors);
  return file;
}

const TensorInfo* SafetensorsFile::find(llvm::StringRef name) const {
  const auto found = llvm::find_if(tensors_, [&](const TensorInfo& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

llvm::Expected<HostBuffer> SafetensorsFile::read(const TensorInfo& tensor) const {
  llvm::Expected<HostBuffer> buffer = HostBuffer::allocate(tensor.bytes());
  if (!buffer) return buffer.takeError();
  if (auto error = read_at(buffer_offset_ + tensor.begin, buffer->data(), tensor.bytes())) return error;
  return buffer;
}

llvm::Error SafetensorsFile::read_at(std::uint64_t offset, std::byte* to, std::uint64_t bytes) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(file_.get(), to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_error(MHCJIT_ERROR_IO, "cannot read '{}': {}", path_, std::strerror(errno));
    if (got == 0)
      return make_error(MHCJIT_ERROR_BAD_FILE, "{}: became shorter while it was read, it ends at byte {}", path_,
                        offset);
    to += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
  return llvm::Error::success();
}

}  // namespace mhcjit::tools
