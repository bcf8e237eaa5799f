#include "runtime/api_boundary.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include <pthread.h>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// Memory that a thread owns, freed at its end. Not a thread_local object with a destructor: glibc ends the process
// where it has no memory to register one.
class OfThread {
 public:
  OfThread() : has_key_(pthread_key_create(&key_, std::free) == 0) {}
  OfThread(const OfThread&) = delete;
  OfThread& operator=(const OfThread&) = delete;
  ~OfThread() {
    if (has_key_) pthread_key_delete(key_);
  }

  // Takes `memory` in the place of what the thread owned. False, with nothing changed, where there is no memory for it.
  bool own(char* memory) const {
    if (!has_key_) return false;
    void* const old = pthread_getspecific(key_);
    if (pthread_setspecific(key_, memory) != 0) return false;
    std::free(old);
    return true;
  }

 private:
  pthread_key_t key_ = {};
  const bool has_key_;
};

constexpr const char* out_of_memory = "host memory ran out; free memory and call again";

const OfThread texts;
constinit thread_local const char* last_text = "";

}  // namespace

mhcjit_status report(mhcjit_status status, const char* text) noexcept {
  char* const copy = ::strdup(text);
  const bool owned = copy != nullptr && texts.own(copy);
  if (!owned) std::free(copy);
  last_text = owned                                  ? copy
              : status == MHCJIT_ERROR_OUT_OF_MEMORY ? out_of_memory
                                                     : "host memory ran out, and with it the text of this failure";
  return status;
}

mhcjit_status report_out_of_memory() noexcept { return report(MHCJIT_ERROR_OUT_OF_MEMORY, out_of_memory); }

mhcjit_status report(llvm::Error error) noexcept {
  try {
    const Failure failure = take_failure(std::move(error));
    return report(failure.status, failure.text.c_str());
  } catch (const std::bad_alloc&) {
    return report_out_of_memory();
  }
}

const char* last_error() noexcept { return last_text; }

llvm::Error is_null(const char* argument) {
  return make_error(MHCJIT_ERROR_NULL_POINTER, "{} is NULL; pass a pointer", argument);
}

}  // namespace mhcjit::runtime
