// The safetensors file format, read as hostile and written so that a failure leaves no half file.
//
//     8 bytes   little-endian length of the header
//     header    JSON object: name -> {"dtype", "shape", "data_offsets": [begin, end]}, optionally "__metadata__" ->
//               {string: string}; padded with spaces so that what follows is 8-byte aligned
//     buffer    the tensors' bytes, little-endian, row-major; offsets count from here, no gaps, no overlap
//
// Every failure is MHCJIT_ERROR_BAD_FILE (the file is not what it should be: the text names file, tensor, field, value
// and what is allowed) or MHCJIT_ERROR_IO (it cannot be read or written).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "tools/host_buffer.h"
#include "tools/input_file.h"

namespace mhcjit::tools {

inline constexpr std::uint64_t max_safetensors_header_bytes = std::uint64_t{16} << 20;

struct TensorInfo {
  std::string name;
  std::string dtype;  // as the file spells it: "BF16", "F16", "F32", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // offsets in the byte buffer
  std::uint64_t end = 0;

  std::uint64_t bytes() const { return end - begin; }
};

// Bytes of a tensor of a dtype that the format defines; nothing for another dtype, a negative dimension, an overflow or
// a size that is not whole bytes.
std::optional<std::uint64_t> tensor_bytes(llvm::StringRef dtype, llvm::ArrayRef<std::int64_t> shape);

// Checks the JSON header of a file whose byte buffer has `buffer_bytes` bytes. The tensors come back in the order of
// their bytes; together they cover the buffer exactly. The size of a dtype that the format does not define cannot be
// checked: such a tensor is only known to lie inside the buffer. `file` stands in the error texts.
llvm::Expected<std::vector<TensorInfo>> parse_safetensors_header(llvm::StringRef file, llvm::StringRef header,
                                                                 std::uint64_t buffer_bytes);

// An open file whose header has been checked. Tensors are read on request.
class SafetensorsFile {
 public:
  static llvm::Expected<SafetensorsFile> open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(llvm::StringRef name) const;

  // `tensor` is one of tensors(). The file may have shrunk since it was opened: that is BAD_FILE, not a fault.
  llvm::Expected<HostBuffer> read(const TensorInfo& tensor) const;

 private:
  explicit SafetensorsFile(InputFile file) : file_(std::move(file)) {}

  InputFile file_;
  std::uint64_t buffer_offset_ = 0;
  std::vector<TensorInfo> tensors_;
};

struct TensorToWrite {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  llvm::ArrayRef<std::byte> bytes;  // must outlive the call
};

// Writes an OutputFile: on failure `path` is as it was.
llvm::Error write_safetensors(const std::string& path, llvm::ArrayRef<TensorToWrite> tensors);

}  // namespace mhcjit::tools
