#include "runtime/api_boundary.h"

#include <string>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

thread_local std::string last_text;

}  // namespace

mhcjit_status report(mhcjit_status status, const char* text) noexcept {
  try {
    last_text = text;
  } catch (const std::bad_alloc&) {
    last_text.clear();  // the status alone is what memory is left for
  }
  return status;
}

mhcjit_status report(llvm::Error error) noexcept {
  try {
    const Failure failure = take_failure(std::move(error));
    return report(failure.status, failure.text.c_str());
  } catch (const std::bad_alloc&) {
    return report(MHCJIT_ERROR_OUT_OF_MEMORY, "");
  }
}

const char* last_error() noexcept { return last_text.c_str(); }

llvm::Error is_null(const char* argument) {
  return make_error(MHCJIT_ERROR_NULL_POINTER, "{} is NULL; pass a pointer", argument);
}

}  // namespace mhcjit::runtime
