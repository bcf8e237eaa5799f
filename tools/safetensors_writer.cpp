#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <sys/stat.h>
#include <unistd.h>

#include <llvm/Support/Endian.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/Signals.h>

#include "support/error.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are written and read as they lie in memory");

// The length field and the header, padded so that the buffer is 8-byte aligned.
std::string header_of(const std::vector<const TensorToWrite*>& tensors) {
  llvm::json::Object header;
  std::uint64_t offset = 0;
  for (const TensorToWrite* tensor : tensors) {
    header[tensor->name] =
        llvm::json::Object{{"dtype", tensor->dtype},
                           {"shape", llvm::json::Array(tensor->shape)},
                           {"data_offsets", llvm::json::Array{offset, offset + tensor->bytes.size()}}};
    offset += tensor->bytes.size();
  }
  std::string json;
  llvm::raw_string_ostream(json) << llvm::json::Value(std::move(header));
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  llvm::support::endian::write64le(length.data(), json.size());
  return length + json;
}

bool write_all(int fd, const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(fd, at, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    at += put;
    bytes -= static_cast<std::size_t>(put);
  }
  return true;
}

// Where the bytes go: `path`, or what it links to.
llvm::Expected<std::string> destination_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return path;
  if (!S_ISREG(status.st_mode)) return make_error(MHCJIT_ERROR_IO, "cannot write '{}': it is not a regular file", path);
  llvm::SmallString<256> real;
  if (const std::error_code error = llvm::sys::fs::real_path(path, real))
    return make_error(MHCJIT_ERROR_IO, "cannot write '{}': {}", path, error.message());
  return real.str().str();
}

}  // namespace

llvm::Error write_safetensors(const std::string& path, llvm::ArrayRef<TensorToWrite> tensors) {
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) {
    if (tensor_bytes(tensor.dtype, tensor.shape) != tensor.bytes.size())
      return make_error(MHCJIT_ERROR_INTERNAL, "tensor '{}' of {} with shape [{}] has {} bytes", tensor.name,
                        tensor.dtype, fmt::join(tensor.shape, ", "), tensor.bytes.size());
    order.push_back(&tensor);
  }
  // The widest dtype first keeps every tensor aligned to its dtype; among equals, the caller's order. (clang warns of
  // what std::stable_sort of libstdc++ 12 uses inside.)
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const std::uint64_t width_a = *tensor_bytes(a->dtype, {1});
    const std::uint64_t width_b = *tensor_bytes(b->dtype, {1});
    return width_a != width_b ? width_a > width_b : a < b;
  });

  llvm::Expected<std::string> destination = destination_of(path);
  if (!destination) return destination.takeError();
  int fd = -1;
  llvm::SmallString<256> temporary;
  if (const std::error_code error =
          llvm::sys::fs::createUniqueFile(*destination + ".%%%%%%%%.tmp", fd, temporary, llvm::sys::fs::OF_None, 0666))
    return make_error(MHCJIT_ERROR_IO, "cannot create '{}': {}", path, error.message());
  llvm::sys::RemoveFileOnSignal(temporary);

  const std::string header = header_of(order);
  bool written = write_all(fd, header.data(), header.size());
  for (const TensorToWrite* tensor : order)
    written = written && write_all(fd, tensor->bytes.data(), tensor->bytes.size());
  int reason = errno;
  // A full or failing network file system may say so only at close.
  if (::close(fd) != 0 && written) {
    written = false;
    reason = errno;
  }
  if (written && ::rename(temporary.c_str(), destination->c_str()) != 0) {
    written = false;
    reason = errno;
  }
  llvm::sys::DontRemoveFileOnSignal(temporary);
  if (written) return llvm::Error::success();
  ::unlink(temporary.c_str());
  return make_error(MHCJIT_ERROR_IO, "cannot write '{}': {}", path, std::strerror(reason));
}

}  // namespace mhcjit::tools
