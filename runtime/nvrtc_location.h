// Finds NVRTC on this machine by looking at files alone: a host with a warm cache never opens it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/Support/Error.h>

#include "codegen/device.h"

namespace mhcjit::runtime {

using GetEnvironment = llvm::function_ref<const char*(const char* name)>;

struct NvrtcLocation {
  std::string library;   // libnvrtc.so.13, links resolved
  std::string builtins;  // libnvrtc-builtins.so.13.0 of the same folder, links resolved
  std::string found_by;  // "MHCJIT_NVRTC", "nvidia-cuda-nvrtc wheel", ...
  int major = 0;         // the version, which the name of the builtins carries
  int minor = 0;
};

// What an NVRTC is to be used for.
struct NvrtcUse {
  std::optional<codegen::Architecture> architecture;  // none: any
  // The newest CUDA that the driver supports, 12080 for 12.8; 0: there is none to ask. Called where the answer matters.
  std::function<int()> driver_version;
};

// Why kernels of this NVRTC cannot serve; "" where they can.
std::string unfit_because(const NvrtcLocation& location, const std::optional<codegen::Architecture>& architecture,
                          int driver_version);

// Every NVRTC that is found, each file once, best first: those before the others that know the architecture, of these
// those before the others whose kernels the driver can load, and of these in the order of the places: the libraries
// already loaded in this process; the folder of the program, unless anybody may write there; the nvidia-cuda-nvrtc
// wheel beside the package that this library is part of, of $VIRTUAL_ENV, $CONDA_PREFIX, the python3 on PATH, ~/.local,
// /usr/local and /usr; $CONDA_PREFIX/lib; $CUDA_PATH; $CUDA_HOME; the loader's folders; /usr/local/cuda. In each place
// version 13 before 12. Where none knows the architecture the newest is first. A libnvrtc without its builtins in the
// same folder cannot compile and does not count.
std::vector<NvrtcLocation> find_nvrtcs(GetEnvironment get_environment, const NvrtcUse& use);

// `option`, else $MHCJIT_NVRTC, else the first that find_nvrtcs() finds. An option or variable that does not lead to
// NVRTC is an error, never passed over. Errors: NO_NVRTC, with the number of folders that were looked at.
llvm::Expected<NvrtcLocation> locate_nvrtc(const std::string& option, GetEnvironment get_environment,
                                           const NvrtcUse& use = {});

// Those folders, each with what leads to it: "/usr/local/cuda/lib64 (CUDA_HOME)".
std::vector<std::string> searched_folders(GetEnvironment get_environment);

// True if `option` or $MHCJIT_NVRTC names an NVRTC, so that none is searched for.
bool names_nvrtc(const std::string& option, GetEnvironment get_environment);

}  // namespace mhcjit::runtime
