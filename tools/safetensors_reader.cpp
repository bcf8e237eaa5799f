#include <llvm/ADT/STLExtras.h>
#include <llvm/Support/Endian.h>

#include "support/error.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {
namespace {

constexpr std::uint64_t length_bytes = 8;

}  // namespace

llvm::Expected<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  llvm::Expected<InputFile> opened = InputFile::open(path);
  if (!opened) return opened.takeError();
  SafetensorsFile file(std::move(*opened));
  const std::uint64_t file_bytes = file.file_.bytes();
  if (file_bytes < length_bytes)
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: has {} bytes, a safetensors file has at least {}", path, file_bytes,
                      length_bytes);
  std::byte length[length_bytes];
  if (auto error = file.file_.read_at(0, length, length_bytes)) return error;
  const std::uint64_t header_bytes = llvm::support::endian::read64le(length);
  if (header_bytes > file_bytes - length_bytes || header_bytes > max_safetensors_header_bytes)
    return make_error(
        MHCJIT_ERROR_BAD_FILE,
        "{}: the header length is {}, allowed: at most {} and at most the {} bytes that follow it (is the "
        "file truncated?)",
        path, header_bytes, max_safetensors_header_bytes, file_bytes - length_bytes);

  llvm::Expected<HostBuffer> header = HostBuffer::allocate(header_bytes);
  if (!header) return header.takeError();
  if (auto error = file.file_.read_at(length_bytes, header->data(), header_bytes)) return error;
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
  if (auto error = file_.read_at(buffer_offset_ + tensor.begin, buffer->data(), tensor.bytes())) return error;
  return buffer;
}

}  // namespace mhcjit::tools
