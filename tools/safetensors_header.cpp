#include <algorithm>
#include <limits>

#include <llvm/ADT/StringSwitch.h>
#include <llvm/Support/JSON.h>

#include "support/error.h"
#include "support/strict_json.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {
namespace {

// Deepest legal nesting: header, tensor, shape.
constexpr std::size_t max_depth = 3;

int bits_of(llvm::StringRef dtype) {
  return llvm::StringSwitch<int>(dtype)
      .Case("F4", 4)
      .Cases("F6_E2M3", "F6_E3M2", 6)
      .Cases("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", 8)
      .Cases("I16", "U16", "F16", "BF16", 16)
      .Cases("I32", "U32", "F32", 32)
      .Cases("I64", "U64", "F64", "C64", 64)
      .Default(0);
}

llvm::Error bad_file(llvm::StringRef file, std::string text) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: {}", file.str(), text);
}

llvm::Error check_metadata(llvm::StringRef file, const llvm::json::Value& value) {
  const llvm::json::Object* object = value.getAsObject();
  if (object == nullptr) return bad_file(file, "__metadata__ is not an object of strings");
  for (const auto& [key, text] : *object)
    if (text.kind() != llvm::json::Value::String)
      return bad_file(file, fmt::format("__metadata__ {} is not a string", quoted(key)));
  return llvm::Error::success();
}

// The array of non-negative integers `field` of a tensor.
llvm::Expected<std::vector<std::uint64_t>> integers(llvm::StringRef where, const llvm::json::Object& tensor,
                                                    llvm::StringRef field) {
  const llvm::json::Array* array = tensor.getArray(field);
  if (array == nullptr) return make_error(MHCJIT_ERROR_BAD_FILE, "{}: {} is not an array", where.str(), field.str());
  std::vector<std::uint64_t> values;
  for (const llvm::json::Value& element : *array) {
    const std::optional<std::uint64_t> value = element.getAsUINT64();
    if (!value || *value > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
      return make_error(MHCJIT_ERROR_BAD_FILE, "{}: {}[{}] is not an integer of 0 to 2^63-1", where.str(), field.str(),
                        values.size());
    values.push_back(*value);
  }
  return values;
}

llvm::Expected<TensorInfo> parse_tensor(llvm::StringRef file, llvm::StringRef name, const llvm::json::Value& value,
                                        std::uint64_t buffer_bytes) {
  const std::string where = fmt::format("{}: tensor {}", file.str(), quoted(name));
  const llvm::json::Object* object = value.getAsObject();
  if (object == nullptr) return make_error(MHCJIT_ERROR_BAD_FILE, "{}: is not an object", where);
  const std::optional<llvm::StringRef> dtype = object->getString("dtype");
  if (!dtype) return make_error(MHCJIT_ERROR_BAD_FILE, "{}: dtype is not a string", where);

  llvm::Expected<std::vector<std::uint64_t>> shape = integers(where, *object, "shape");
  if (!shape) return shape.takeError();
  llvm::Expected<std::vector<std::uint64_t>> offsets = integers(where, *object, "data_offsets");
  if (!offsets) return offsets.takeError();
  if (offsets->size() != 2)
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: data_offsets has {} numbers, allowed: 2", where, offsets->size());
  const std::uint64_t begin = (*offsets)[0];
  const std::uint64_t end = (*offsets)[1];
  if (begin > end || end > buffer_bytes)
    return make_error(MHCJIT_ERROR_BAD_FILE,
                      "{}: data_offsets is [{}, {}], allowed: begin <= end <= {}, the bytes after the header (is the "
                      "file truncated?)",
                      where, begin, end, buffer_bytes);

  TensorInfo tensor = {name.str(), dtype->str(), {shape->begin(), shape->end()}, begin, end};
  if (bits_of(*dtype) != 0) {
    const std::optional<std::uint64_t> bytes = tensor_bytes(*dtype, tensor.shape);
    if (!bytes)
      return make_error(MHCJIT_ERROR_BAD_FILE, "{}: shape [{}] of {} is not a size that a file can have", where,
                        fmt::join(tensor.shape, ", "), quoted(*dtype));
    if (*bytes != tensor.bytes())
      return make_error(MHCJIT_ERROR_BAD_FILE,
                        "{}: shape [{}] of {} takes {} bytes, but data_offsets [{}, {}] holds {}", where,
                        fmt::join(tensor.shape, ", "), *dtype, *bytes, begin, end, tensor.bytes());
  }
  return tensor;
}

// No gap and no overlap: each tensor begins where the one before it ends.
llvm::Error check_cover(llvm::StringRef file, const std::vector<TensorInfo>& tensors, std::uint64_t buffer_bytes) {
  std::uint64_t covered = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != covered)
      return bad_file(file, fmt::format("tensor {}: data_offsets begins at {}, allowed: {}, where the tensor before it "
                                        "ends (tensors may neither overlap nor leave a gap)",
                                        quoted(tensor.name), tensor.begin, covered));
    covered = tensor.end;
  }
  if (covered != buffer_bytes)
    return bad_file(file, fmt::format("the tensors end at byte {} of the buffer, but the file has {} bytes there",
                                      covered, buffer_bytes));
  return llvm::Error::success();
}

}  // namespace

std::optional<std::uint64_t> tensor_bytes(llvm::StringRef dtype, llvm::ArrayRef<std::int64_t> shape) {
  std::uint64_t bits = bits_of(dtype);
  for (const std::int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(bits, static_cast<std::uint64_t>(size), &bits)) return std::nullopt;
  if (bits_of(dtype) == 0 || bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

llvm::Expected<std::vector<TensorInfo>> parse_safetensors_header(llvm::StringRef file, llvm::StringRef header,
                                                                 std::uint64_t buffer_bytes) {
  if (!header.starts_with("{"))
    return bad_file(file, "the header does not begin with '{', it is not a safetensors file");
  llvm::Expected<llvm::json::Value> json = parse_strict_json(file.str() + ": the header", header, max_depth);
  if (!json) return json.takeError();

  std::vector<TensorInfo> tensors;
  for (const auto& [key, value] : *json->getAsObject()) {
    const llvm::StringRef name = key;
    if (name == "__metadata__") {
      if (auto error = check_metadata(file, value)) return error;
      continue;
    }
    llvm::Expected<TensorInfo> tensor = parse_tensor(file, name, value, buffer_bytes);
    if (!tensor) return tensor.takeError();
    tensors.push_back(std::move(*tensor));
  }
  // An empty tensor shares its offset with the one after it.
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  if (auto error = check_cover(file, tensors, buffer_bytes)) return error;
  return tensors;
}

}  // namespace mhcjit::tools
