#include "runtime/cpu/elements.h"

#include <algorithm>

#include "support/half.h"

namespace mhcjit::runtime::cpu {

void load(codegen::DType dtype, const void* tensor, std::int64_t offset, std::int64_t count, float* out) {
  if (dtype == codegen::DType::fp32) {
    std::copy_n(static_cast<const float*>(tensor) + offset, count, out);
    return;
  }
  const std::uint16_t* halves = static_cast<const std::uint16_t*>(tensor) + offset;
  if (dtype == codegen::DType::bf16) {
    for (std::int64_t k = 0; k < count; ++k) out[k] = bf16_to_float(halves[k]);
  } else {
    for (std::int64_t k = 0; k < count; ++k) out[k] = fp16_to_float(halves[k]);
  }
}

void store(codegen::DType dtype, const float* values, std::int64_t count, void* tensor, std::int64_t offset) {
  if (dtype == codegen::DType::fp32) {
    std::copy_n(values, count, static_cast<float*>(tensor) + offset);
    return;
  }
  std::uint16_t* halves = static_cast<std::uint16_t*>(tensor) + offset;
  if (dtype == codegen::DType::bf16) {
    for (std::int64_t k = 0; k < count; ++k) halves[k] = float_to_bf16(values[k]);
  } else {
    for (std::int64_t k = 0; k < count; ++k) halves[k] = float_to_fp16(values[k]);
  }
}

}  // namespace mhcjit::runtime::cpu
