# mhcjit_component(NAME SOURCES files... [USES components...] [PRIVATE_LIBS targets...])
#
# One folder, one static library mhcjit_NAME. A source sees the headers of its own folder and of the folders it
# lists in USES, and no others: each folder is reached through a view of its own, "NAME/header.h", so that an include
# of a folder that is not listed does not build. A folder inside another is named by its path: "runtime/cpu" is the
# library mhcjit_runtime_cpu.
function(mhcjit_component name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;PRIVATE_LIBS" ${ARGN})
  list(TRANSFORM arg_USES PREPEND mhcjit_)
  string(REPLACE "/" "_" arg_USES "${arg_USES}")
  string(REPLACE "/" "_" stem ${name})
  set(target mhcjit_${stem})
  set(view ${PROJECT_BINARY_DIR}/views/${stem})
  cmake_path(GET name PARENT_PATH parent)
  file(MAKE_DIRECTORY ${view}/${parent})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${view}/${name} SYMBOLIC)

  add_library(${target} STATIC ${arg_SOURCES})
  target_include_directories(${target} PUBLIC ${view})
  target_link_libraries(${target} PUBLIC mhcjit_headers ${arg_USES} PRIVATE mhcjit_warnings ${arg_PRIVATE_LIBS})
  target_precompile_headers(${target} REUSE_FROM mhcjit_common_headers)
endfunction()

add_library(mhcjit_headers INTERFACE)
target_include_directories(mhcjit_headers INTERFACE ${PROJECT_SOURCE_DIR}/include)

add_library(mhcjit_warnings INTERFACE)
target_compile_options(mhcjit_warnings INTERFACE -Wall -Wextra -Wpedantic -Werror)

# Programs for other machines carry their C++ library, since the one there may be older. libgcc stays the system's, which every
# glibc brings along: the static one of g++ 12 asks for glibc 2.35.
add_library(mhcjit_cxx_runtime INTERFACE)
target_link_options(mhcjit_cxx_runtime INTERFACE -static-libstdc++)

# The headers that most sources include are parsed once and not once for each of them. None of the project's own headers
# is among it, and none that one source alone needs. CMAKE_DISABLE_PRECOMPILE_HEADERS does without, for ccache, and in
# the clang preset, which shows that each source includes what it uses.
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/precompiled.cpp CONTENT "")
add_library(mhcjit_common_headers OBJECT ${PROJECT_BINARY_DIR}/precompiled.cpp)
target_include_directories(mhcjit_common_headers SYSTEM PRIVATE ${FMT_INCLUDE_DIR})
target_link_libraries(mhcjit_common_headers PRIVATE mhcjit_llvm mhcjit_warnings)
target_precompile_headers(mhcjit_common_headers PRIVATE
  <algorithm> <atomic> <chrono> <cmath> <map> <memory> <mutex> <optional> <string> <vector>
  <fmt/format.h> <llvm/ADT/STLExtras.h> <llvm/ADT/StringExtras.h> <llvm/Support/CommandLine.h> <llvm/Support/Error.h>
  <llvm/Support/JSON.h>)
