// The dtypes of x as a safetensors file spells them.
#pragma once

#include <optional>

#include <llvm/ADT/StringRef.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit::tools {

inline const char* safetensors_name(mhcjit_dtype dtype) {
  switch (dtype) {
    case MHCJIT_BF16: return "BF16";
    case MHCJIT_FP16: return "F16";
    case MHCJIT_FP32: break;
  }
  return "F32";
}

inline std::optional<mhcjit_dtype> dtype_from_safetensors(llvm::StringRef name) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32})
    if (name == safetensors_name(dtype)) return dtype;
  return std::nullopt;
}

}  // namespace mhcjit::tools
