// The compiler of one engine: found when it is first asked about, opened when it is first needed.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include <llvm/Support/Error.h>

#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"

namespace mhcjit::runtime {

// Thread-safe.
class Compiler {
 public:
  // `nvrtc_path` is the host's choice, "" for the usual places; `cache_root` is the folder that may record an identity.
  Compiler(std::string nvrtc_path, std::string cache_root)
      : nvrtc_path_(std::move(nvrtc_path)), cache_root_(std::move(cache_root)) {}

  // Never opens NVRTC. Errors: NO_NVRTC (there is none, and the cache folder records none).
  llvm::Expected<CompilerIdentity> identity();

  // Opens NVRTC when it is not open yet. Errors: NO_NVRTC, COMPILATION_FAILED, OUT_OF_MEMORY.
  llvm::Expected<CompileOutput> compile(const CompileRequest& request);

  // Makes the cache folder record this compiler's identity. Errors: IO.
  llvm::Error record();

 private:
  llvm::Expected<NvrtcLocation> location();

  const std::string nvrtc_path_;
  const std::string cache_root_;
  std::mutex mutex_;
  std::optional<NvrtcLocation> location_;
  std::optional<CompilerIdentity> identity_;  // of location_
};

}  // namespace mhcjit::runtime
