#include "runtime/compiler.h"

#include <llvm/ADT/STLExtras.h>

#include "runtime/driver_api.h"
#include "runtime/settings.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// Adds what `root` records and is not there yet.
void add_recorded(const std::string& root, std::vector<CompilerIdentity>& identities) {
  for (const CompilerIdentity& recorded : recorded_identities(root))
    if (!llvm::is_contained(identities, recorded)) identities.push_back(recorded);
}

// As NvrtcUse has it. cuInit is not called, so a warm-up does not keep its children from using CUDA.
int driver_version(const std::string& path) {
  auto driver = DriverApi::load(path);
  if (driver) return (*driver)->cuda_version();
  llvm::consumeError(driver.takeError());
  return 0;
}

}  // namespace

// Only a success is kept: NVRTC may be installed while the process runs.
llvm::Expected<Compiler::Found> Compiler::find(const codegen::Architecture& architecture) {
  const std::lock_guard lock(mutex_);
  if (const auto known = found_.find(architecture); known != found_.end()) return known->second;
  auto location = locate_nvrtc(choice_.nvrtc_path, get_environment,
                               {architecture, [this] { return driver_version(choice_.driver_path); }});
  if (!location) return location.takeError();
  auto identity = identify(*location);
  if (!identity) return identity.takeError();
  return found_.emplace(architecture, Found{std::move(*location), std::move(*identity)}).first->second;
}

llvm::Expected<std::vector<CompilerIdentity>> Compiler::identities(const codegen::Architecture& architecture) {
  auto found = find(architecture);
  std::vector<CompilerIdentity> identities;
  if (found) identities.push_back(found->identity);
  // A compiler that was named and is not there is a mistake to report, not a machine without a compiler.
  if (!is_named()) {
    if (!found) add_recorded(choice_.writable_root, identities);
    for (const std::string& root : choice_.read_only_roots) add_recorded(root, identities);
  }
  if (identities.empty()) return found.takeError();
  if (!found) llvm::consumeError(found.takeError());
  return identities;
}

bool Compiler::is_named() const { return names_nvrtc(choice_.nvrtc_path, get_environment); }

llvm::Expected<CompileOutput> Compiler::compile(const codegen::Architecture& architecture,
                                                const CompileRequest& request) {
  auto found = find(architecture);
  if (!found) return found.takeError();
  auto nvrtc = Nvrtc::load(found->location);
  if (!nvrtc) return nvrtc.takeError();
  return (*nvrtc)->compile(request);
}

}  // namespace mhcjit::runtime
