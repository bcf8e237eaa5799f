# The library is built from these. scripts/install-deps installs all of them on Debian 12, some into .deps.
#
# LLVM: only the support library and its demangler, linked statically. Debian's LLVMConfig.cmake imports every LLVM
# tool and library, and asks for development packages of each, so the two archives are named directly.
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
# fmt's headers only: support/fmt_library.cpp compiles the rest of it into the library.
find_package(fmt 9...<10 REQUIRED)
get_target_property(FMT_INCLUDE_DIR fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)

set(llvm /usr/lib/llvm-19 ${PROJECT_SOURCE_DIR}/.deps/llvm/usr/lib/llvm-19)
find_path(LLVM_INCLUDE_DIR llvm/Support/Error.h PATHS ${llvm} PATH_SUFFIXES include NO_DEFAULT_PATH REQUIRED)
find_library(LLVM_SUPPORT_LIBRARY libLLVMSupport.a PATHS ${llvm} PATH_SUFFIXES lib NO_DEFAULT_PATH REQUIRED)
find_library(LLVM_DEMANGLE_LIBRARY libLLVMDemangle.a PATHS ${llvm} PATH_SUFFIXES lib NO_DEFAULT_PATH REQUIRED)
find_library(ZSTD_LIBRARY zstd REQUIRED)
add_library(mhcjit_llvm INTERFACE)
target_include_directories(mhcjit_llvm SYSTEM INTERFACE ${LLVM_INCLUDE_DIR})
target_link_libraries(mhcjit_llvm INTERFACE ${LLVM_SUPPORT_LIBRARY} ${LLVM_DEMANGLE_LIBRARY} mhcjit_arc4random
                                            ZLIB::ZLIB ${ZSTD_LIBRARY} Threads::Threads ${CMAKE_DL_LIBS})

# The NVRTC of scripts/install-deps: its lib and include.
set(MHCJIT_NVRTC_13 ${PROJECT_SOURCE_DIR}/.deps/nvrtc13/nvidia/cu13)

# CUDA's types only (cuda.h, nvrtc.h): neither the driver nor NVRTC is linked.
find_path(CUDA_DRIVER_INCLUDE_DIR cuda.h
  HINTS ${PROJECT_SOURCE_DIR}/.deps/cuda-headers/nvidia/cu13/include ENV CUDA_PATH ENV CUDA_HOME
  PATHS /usr/local/cuda PATH_SUFFIXES include REQUIRED)
find_path(NVRTC_INCLUDE_DIR nvrtc.h
  HINTS ${MHCJIT_NVRTC_13}/include ENV CUDA_PATH ENV CUDA_HOME
  PATHS /usr/local/cuda PATH_SUFFIXES include REQUIRED)
add_library(mhcjit_cuda_headers INTERFACE)
target_include_directories(mhcjit_cuda_headers SYSTEM INTERFACE ${CUDA_DRIVER_INCLUDE_DIR} ${NVRTC_INCLUDE_DIR})

# Ranges for profilers, headers only. Without them the library is built without ranges.
find_path(NVTX_INCLUDE_DIR nvtx3/nvToolsExt.h
  HINTS ${PROJECT_SOURCE_DIR}/.deps/nvtx/nvidia/cu13/include ENV CUDA_PATH ENV CUDA_HOME
  PATHS /usr/local/cuda PATH_SUFFIXES include)
add_library(mhcjit_nvtx INTERFACE)
if(NVTX_INCLUDE_DIR)
  target_include_directories(mhcjit_nvtx SYSTEM INTERFACE ${NVTX_INCLUDE_DIR})
  target_compile_definitions(mhcjit_nvtx INTERFACE MHCJIT_HAS_NVTX)
endif()

# libcurl's types only, for the same reason.
find_path(CURL_INCLUDE_DIR curl/curl.h REQUIRED)
add_library(mhcjit_curl_headers INTERFACE)
target_include_directories(mhcjit_curl_headers SYSTEM INTERFACE ${CURL_INCLUDE_DIR})
