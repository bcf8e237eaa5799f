#include <algorithm>
#include <bit>

#include <llvm/Support/Endian.h>
#include <llvm/Support/JSON.h>

#include "support/error.h"
#include "tools/output_file.h"
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

  llvm::Expected<OutputFile> file = OutputFile::create(path);
  if (!file) return file.takeError();
  if (auto error = file->write(header_of(order))) return error;
  for (const TensorToWrite* tensor : order)
    if (auto error = file->write({reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size()}))
      return error;
  return file->publish();
}

}  // namespace mhcjit::tools
