// The library's errors as the exceptions of those who measure.
#pragma once

#include <stdexcept>
#include <utility>

#include "support/error.h"

namespace mhcjit::bench {

// Throws std::runtime_error with the error's text.
inline void throw_if(llvm::Error error) {
  if (error) throw std::runtime_error(take_failure(std::move(error)).text);
}

template <typename T>
T value_or_throw(llvm::Expected<T> expected) {
  if (!expected) throw_if(expected.takeError());
  return std::move(*expected);
}

}  // namespace mhcjit::bench
