#include "support/error.h"

#include <new>
#include <system_error>

#include <llvm/Support/ErrorHandling.h>

namespace mhcjit {
namespace {

class StatusError : public llvm::ErrorInfo<StatusError> {
 public:
  static char ID;

  StatusError(mhcjit_status status, std::string text) : status_(status), text_(std::move(text)) {}

  mhcjit_status status() const { return status_; }
  const std::string& text() const { return text_; }

  void log(llvm::raw_ostream& stream) const override { stream << text_; }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }

 private:
  mhcjit_status status_;
  std::string text_;
};

char StatusError::ID = 0;

// LLVM's containers take memory from malloc, and end the process if it has none, unless they are told to throw as the
// others do. Every program that uses them links this file, which tells them.
[[maybe_unused]] const bool containers_throw = [] {
  llvm::install_bad_alloc_error_handler([](void*, const char*, bool) { throw std::bad_alloc(); });
  return true;
}();

}  // namespace

llvm::Error make_error(mhcjit_status status, std::string text) {
  return llvm::make_error<StatusError>(status, std::move(text));
}

Failure take_failure(llvm::Error error) {
  Failure failure;
  llvm::handleAllErrors(
      std::move(error),
      [&](const StatusError& status_error) { failure = {status_error.status(), status_error.text()}; },
      [&](const llvm::ErrorInfoBase& other) { failure = {MHCJIT_ERROR_INTERNAL, other.message()}; });
  return failure;
}

}  // namespace mhcjit
