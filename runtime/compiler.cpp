#include "runtime/compiler.h"

#include <llvm/ADT/STLExtras.h>

#include "runtime/settings.h"
#include "support/error.h"

namespace mhcjit::runtime {
// Only a success is kept: NVRTC may be installed while the process runs.
llvm::Expected<NvrtcLocation> Compiler::location() {
  const std::lock_guard lock(mutex_);
  if (location_) return *location_;
  auto found = locate_nvrtc(nvrtc_path_, get_environment);
  if (!found) return found.takeError();
  auto identity = identify(*found);
  if (!identity) return identity.takeError();
  identity_ = *identity;
  location_ = *found;
  return *location_;
}

llvm::Expected<std::vector<CompilerIdentity>> Compiler::identities() {
  auto found = location();
  if (found) {
    const std::lock_guard lock(mutex_);
    return std::vector{*identity_};
  }
  // A compiler that was named and is not there is a mistake to report, not a machine without a compiler.
  if (!is_named()) {
    std::vector<CompilerIdentity> identities;
    for (const std::string& root : cache_roots_)
      for (const CompilerIdentity& recorded : recorded_identities(root))
        if (!llvm::is_contained(identities, recorded)) identities.push_back(recorded);
    if (!identities.empty()) {
      llvm::consumeError(found.takeError());
      return identities;
    }
  }
  return found.takeError();
}

bool Compiler::is_named() const { return names_nvrtc(nvrtc_path_, get_environment); }

llvm::Expected<CompileOutput> Compiler::compile(const CompileRequest& request) {
  auto found = location();
  if (!found) return found.takeError();
  auto nvrtc = Nvrtc::load(*found);
  if (!nvrtc) return nvrtc.takeError();
  return (*nvrtc)->compile(request);
}

}  // namespace mhcjit::runtime
