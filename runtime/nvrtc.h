// NVRTC as a table of functions, opened at run time and never linked, and one call that turns a source into a cubin.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <llvm/ADT/ArrayRef.h>
#include <llvm/Support/Error.h>
#include <nvrtc.h>

#include "runtime/compiler_identity.h"
#include "runtime/nvrtc_location.h"

namespace mhcjit::runtime {

#define MHCJIT_NVRTC_FUNCTIONS(F) \
  F(nvrtcGetErrorString)          \
  F(nvrtcVersion)                 \
  F(nvrtcCreateProgram)           \
  F(nvrtcDestroyProgram)          \
  F(nvrtcCompileProgram)          \
  F(nvrtcGetCUBINSize)            \
  F(nvrtcGetCUBIN)                \
  F(nvrtcGetProgramLogSize)       \
  F(nvrtcGetProgramLog)

struct NvrtcFunctions {
#define MHCJIT_MEMBER(name) decltype(&::name) name = nullptr;
  MHCJIT_NVRTC_FUNCTIONS(MHCJIT_MEMBER)
#undef MHCJIT_MEMBER
};

// A header that a source may include, as text: the compiler reads no file.
struct Header {
  std::string_view name;
  std::string_view text;
};

struct CompileRequest {
  std::string source;
  std::vector<Header> headers;
  std::vector<std::string> options;
  std::string kept_source_path;  // where a refused source is kept for its reader; "": it is not kept
};

struct CompileOutput {
  std::string cubin;
  std::string log;
  CompilerIdentity compiler;  // that made it: the library that this process has open, whatever file has its name now
};

// One NVRTC library, kept open while the process lives. Thread-safe: several threads may compile at once, with about
// 90 MB each.
class Nvrtc : public NvrtcFunctions {
 public:
  // The first success for a file serves the whole process. Cost: 6-300 ms. Errors: NO_NVRTC (the file cannot be
  // opened or is not NVRTC).
  static llvm::Expected<const Nvrtc*> load(const NvrtcLocation& location);

  // Errors: COMPILATION_FAILED (text: the log, the options, where the source was kept), OUT_OF_MEMORY.
  llvm::Expected<CompileOutput> compile(const CompileRequest& request) const;

  std::string version() const;

 private:
  std::string path_;
  CompilerIdentity identity_;
};

}  // namespace mhcjit::runtime
