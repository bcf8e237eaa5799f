#include "runtime/installation.h"

#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <new>

namespace mhcjit::runtime {
namespace {

namespace fs = std::filesystem;

// The file that this code is part of, links resolved; "" where that is not known.
fs::path own_file() {
  Dl_info info = {};
  link_map* map = nullptr;
  if (dladdr1(reinterpret_cast<const void*>(&own_file), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0)
    return {};
  // A program has no name there.
  const fs::path name = map->l_name[0] == '\0' ? "/proc/self/exe" : map->l_name;
  std::error_code error;
  fs::path file = fs::canonical(name, error);
  if (error == std::errc::not_enough_memory) throw std::bad_alloc();
  return error ? fs::path() : file;
}

}  // namespace

std::string packages_folder() {
  const fs::path native = own_file().parent_path(), package = native.parent_path();
  return native.filename() == "_native" && package.filename() == "mhcjit" ? package.parent_path().native() : "";
}

std::string packaged_kernels() {
  const std::string packages = packages_folder();
  const std::string kernels = packages + "/mhcjit_kernels/cache";
  std::error_code error;
  return !packages.empty() && fs::is_directory(kernels, error) ? kernels : "";
}

}  // namespace mhcjit::runtime
