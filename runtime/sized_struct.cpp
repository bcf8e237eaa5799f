#include "runtime/sized_struct.h"

#include <algorithm>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// Garbage where struct_size should be is most often larger.
constexpr std::size_t largest_size = 4096;

}  // namespace

llvm::Error check_struct_size(const SizedStruct& type, std::size_t size) {
  if (size >= type.first_bytes && size <= largest_size) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "{}: struct_size is {}, allowed: {} to {}; start from {}, or write sizeof({})", type.name, size,
                    type.first_bytes, largest_size, type.initialiser, type.name);
}

llvm::Error read_struct(const SizedStruct& type, const void* given, void* known) {
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (auto error = check_struct_size(type, size)) return error;
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = type.bytes; i < size; ++i)
    if (bytes[i] != 0)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                        "{}: byte {} is {}, allowed: 0, since this library knows {} of the {} bytes; leave newer "
                        "fields as {} has them, or use a newer library",
                        type.name, i, bytes[i], type.bytes, size, type.initialiser);
  const std::size_t begin = sizeof size;
  std::memcpy(static_cast<std::byte*>(known) + begin, static_cast<const std::byte*>(given) + begin,
              std::min(size, type.bytes) - begin);
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
