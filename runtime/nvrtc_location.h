// Finds NVRTC on this machine by looking at files alone: a host with a warm cache never opens it.
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/Support/Error.h>

namespace mhcjit::runtime {

using GetEnvironment = llvm::function_ref<const char*(const char* name)>;

struct NvrtcLocation {
  std::string library;   // libnvrtc.so.13, links resolved
  std::string builtins;  // libnvrtc-builtins.so.13.0 of the same folder, links resolved
  std::string found_by;  // "MHCJIT_NVRTC", "nvidia-cuda-nvrtc wheel", ...
  int major = 0;         // the version, which the name of the builtins carries
  int minor = 0;
};

// Looks, in this order, at: `option`; $MHCJIT_NVRTC; the libraries already loaded in this process; the folder of the
// program, unless anybody may write there; the nvidia-cuda-nvrtc wheel of $VIRTUAL_ENV, $CONDA_PREFIX, the python3 on
// PATH, ~/.local, /usr/local and /usr; $CONDA_PREFIX/lib; $CUDA_PATH; $CUDA_HOME; the loader's folders;
// /usr/local/cuda. In each place version 13 before 12. An option or variable that does not lead to NVRTC is an error,
// never passed over. A libnvrtc without its builtins in the same folder cannot compile and does not count. Errors:
// NO_NVRTC, with the number of folders that were looked at.
llvm::Expected<NvrtcLocation> locate_nvrtc(const std::string& option, GetEnvironment get_environment);

// Those folders, each with what leads to it: "/usr/local/cuda/lib64 (CUDA_HOME)".
std::vector<std::string> searched_folders(GetEnvironment get_environment);

// True if `option` or $MHCJIT_NVRTC names an NVRTC, so that none is searched for.
bool names_nvrtc(const std::string& option, GetEnvironment get_environment);

}  // namespace mhcjit::runtime
