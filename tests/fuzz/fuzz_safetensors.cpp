// Fuzzes the header of a safetensors file. The first two bytes of an input are the size of the byte buffer, the rest is
// the header. Beyond not crashing, what is accepted must lie inside the buffer, cover it and have the size its shape
// says.
#include <cstdlib>

#include "tools/safetensors.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t buffer_bytes = data[0] + 256u * data[1];
  const llvm::StringRef header(reinterpret_cast<const char*>(data) + 2, size - 2);
  auto tensors = mhcjit::tools::parse_safetensors_header("fuzzed", header, buffer_bytes);
  if (!tensors) {
    require(!llvm::toString(tensors.takeError()).empty());
    return 0;
  }
  std::uint64_t covered = 0;
  for (const mhcjit::tools::TensorInfo& tensor : *tensors) {
    require(tensor.begin == covered && tensor.end >= tensor.begin);
    covered = tensor.end;
    if (const auto bytes = mhcjit::tools::tensor_bytes(tensor.dtype, tensor.shape)) require(*bytes == tensor.bytes());
  }
  require(covered == buffer_bytes);
  return 0;
}
