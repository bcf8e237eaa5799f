// The edge of the C ABI: every public function runs inside guarded(), which turns errors and exceptions into a status
// and the calling thread's text.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit::runtime {

// Keeps `text` for mhcjit_last_error() of this thread and returns `status`. Never throws.
mhcjit_status report(mhcjit_status status, const char* text) noexcept;

// Consumes `error`; success leaves the thread's text as it is. Never throws.
mhcjit_status report(llvm::Error error) noexcept;

mhcjit_status report_out_of_memory() noexcept;

// The text of this thread's most recent failure.
const char* last_error() noexcept;

// NULL_POINTER, naming the argument.
llvm::Error is_null(const char* argument);

inline llvm::Error check_not_null(const void* pointer, const char* argument) {
  if (pointer != nullptr) [[likely]]
    return llvm::Error::success();
  return is_null(argument);
}

// The outcome of `body`, called as llvm::Error().
template <typename Body>
mhcjit_status guarded(Body&& body) noexcept {
  try {
    if (llvm::Error error = body()) [[unlikely]]
      return report(std::move(error));
    return MHCJIT_SUCCESS;
  } catch (const std::bad_alloc&) {
    return report_out_of_memory();
  } catch (const std::exception& exception) {
    return report(MHCJIT_ERROR_INTERNAL, exception.what());
  } catch (...) {
    return report(MHCJIT_ERROR_INTERNAL, "an unknown exception reached the edge of mhcjit; please report it");
  }
}

}  // namespace mhcjit::runtime
