// The compiler of one engine: found when it is first asked about, opened when it is first needed.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <llvm/Support/Error.h>

#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"

namespace mhcjit::runtime {

struct CompilerChoice {
  std::string nvrtc_path = {};     // the host's choice; "": the usual places
  std::string driver_path = {};    // of the driver that is to load the kernels; "": the loader's libcuda.so.1
  std::string writable_root = {};  // the cache folders, which may record identities; "": there is none
  std::vector<std::string> read_only_roots = {};
};

// Thread-safe.
class Compiler {
 public:
  explicit Compiler(CompilerChoice choice = {}) : choice_(std::move(choice)) {}

  // The compilers whose kernels may be used: that of the NVRTC on this machine that serves the architecture best, then
  // those that the read-only folders record, each once, in the folders' order and the newest of each first; where there
  // is no NVRTC, those of the writable folder before them. Of an NVRTC that was named, its own alone. Not empty. Never
  // opens NVRTC. Errors: NO_NVRTC (there is none, and no folder records one).
  llvm::Expected<std::vector<CompilerIdentity>> identities(const codegen::Architecture& architecture);

  // True if the host or the user named an NVRTC: none is searched for, and no record serves in its place.
  bool is_named() const;

  // Opens NVRTC when it is not open yet. Several threads may compile at once. Errors: NO_NVRTC, COMPILATION_FAILED,
  // OUT_OF_MEMORY.
  llvm::Expected<CompileOutput> compile(const codegen::Architecture& architecture, const CompileRequest& request);

 private:
  struct Found {
    NvrtcLocation location;
    CompilerIdentity identity;
  };
  llvm::Expected<Found> find(const codegen::Architecture& architecture);

  const CompilerChoice choice_;
  std::mutex mutex_;
  std::map<codegen::Architecture, Found> found_;
};

}  // namespace mhcjit::runtime
