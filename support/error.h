// Every failure inside the library is an llvm::Error that carries one status of the C ABI and one text.
// All of them are born in make_error(), so one breakpoint catches them all.
#pragma once

#include <string>
#include <utility>

#include <fmt/format.h>
#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit {

// Text rule: subject, actual value, allowed values, remedy; lower case, no full stop.
llvm::Error make_error(mhcjit_status status, std::string text);

template <typename... Args>
llvm::Error make_error(mhcjit_status status, fmt::format_string<Args...> format, Args&&... args) {
  return make_error(status, fmt::format(format, std::forward<Args>(args)...));
}

struct Failure {
  mhcjit_status status = MHCJIT_SUCCESS;
  std::string text;
};

// Consumes `error`. An error that make_error() did not make becomes MHCJIT_ERROR_INTERNAL with its own text.
Failure take_failure(llvm::Error error);

}  // namespace mhcjit
