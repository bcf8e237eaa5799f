// The compiler of one engine: found when it is first asked about, opened when it is first needed.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"

namespace mhcjit::runtime {

// Thread-safe.
class Compiler {
 public:
  // `nvrtc_path` is the host's choice, "" for the usual places; `cache_roots` are the folders that may record an
  // identity.
  Compiler(std::string nvrtc_path, std::vector<std::string> cache_roots)
      : nvrtc_path_(std::move(nvrtc_path)), cache_roots_(std::move(cache_roots)) {}

  // The compilers whose kernels may be used: the NVRTC on this machine, else those that the cache folders record, each
  // once, in the folders' order and the newest of each first. Not empty. Never opens NVRTC. Errors: NO_NVRTC (there is
  // none, and no folder records one).
  llvm::Expected<std::vector<CompilerIdentity>> identities();

  // True if the host or the user named an NVRTC: none is searched for, and no record serves in its place.
  bool is_named() const;

  // Opens NVRTC when it is not open yet. Several threads may compile at once. Errors: NO_NVRTC, COMPILATION_FAILED,
  // OUT_OF_MEMORY.
  llvm::Expected<CompileOutput> compile(const CompileRequest& request);

 private:
  llvm::Expected<NvrtcLocation> location();

  const std::string nvrtc_path_;
  const std::vector<std::string> cache_roots_;
  std::mutex mutex_;
  std::optional<NvrtcLocation> location_;
  std::optional<CompilerIdentity> identity_;  // of location_
};

}  // namespace mhcjit::runtime
