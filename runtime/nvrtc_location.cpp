#include "runtime/nvrtc_location.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <new>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>

#include "runtime/installation.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

namespace fs = std::filesystem;

constexpr int supported_majors[] = {13, 12};
constexpr std::string_view builtins_prefix = "libnvrtc-builtins.so.";

// "" when it is not set.
std::string variable(GetEnvironment get_environment, const char* name) {
  const char* value = get_environment(name);
  return value == nullptr ? "" : value;
}

struct Place {
  std::string name;
  fs::path folder;
};

// A lack of memory says nothing of the file.
void check_memory(std::error_code error) {
  if (error == std::errc::not_enough_memory) throw std::bad_alloc();
}

// Names of the entries of `folder` that begin with `prefix`, the last in alphabetical order first. By LLVM's iterator:
// that of std::filesystem ends the process where memory runs out.
std::vector<std::string> names_in(const fs::path& folder, std::string_view prefix) {
  std::vector<std::string> names;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator entry(folder.native(), error), end; !error && entry != end;
       entry.increment(error))
    if (std::string name = llvm::sys::path::filename(entry->path()).str(); name.starts_with(prefix))
      names.push_back(std::move(name));
  check_memory(error);
  std::sort(names.rbegin(), names.rend());
  return names;
}

// "12.9" or "12.9.86" -> 12, 9.
bool parse_version(std::string_view text, int& major, int& minor) {
  const char* const end = text.data() + text.size();
  const auto [dot, major_error] = std::from_chars(text.data(), end, major);
  if (major_error != std::errc() || dot == end || *dot != '.') return false;
  return std::from_chars(dot + 1, end, minor).ec == std::errc();
}

// The location of the NVRTC in the file `library`, when its builtins lie beside it.
std::optional<NvrtcLocation> location_of_file(const fs::path& library, const std::string& found_by) {
  std::error_code error;
  const fs::path real = fs::canonical(library, error);
  check_memory(error);
  if (error) return std::nullopt;
  // A toolkit folder may hold several versions: the full version in the resolved name then says which builtins.
  std::string_view version = std::string_view(real.native());
  const std::size_t suffix = version.rfind(".so.");
  version = suffix == std::string_view::npos ? "" : version.substr(suffix + 4);
  int library_major = 0, library_minor = 0;
  const bool exact = parse_version(version, library_major, library_minor);
  if (!exact) std::from_chars(version.data(), version.data() + version.size(), library_major);

  for (const fs::path& folder : {real.parent_path(), library.parent_path()}) {
    for (const std::string& name : names_in(folder, builtins_prefix)) {
      NvrtcLocation location;
      if (!parse_version(std::string_view(name).substr(builtins_prefix.size()), location.major, location.minor))
        continue;
      if (library_major != 0 && location.major != library_major) continue;
      if (exact && location.minor != library_minor) continue;
      location.library = real;
      location.builtins = fs::canonical(folder / name, error);
      if (error) continue;
      location.found_by = found_by;
      return location;
    }
  }
  return std::nullopt;
}

std::vector<NvrtcLocation> locations_in_folder(const Place& place) {
  std::vector<NvrtcLocation> locations;
  for (const int major : supported_majors)
    if (auto found = location_of_file(place.folder / fmt::format("libnvrtc.so.{}", major), place.name))
      locations.push_back(std::move(*found));
  return locations;
}

std::vector<std::string> loaded_libraries() {
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* into) {
        const fs::path path = info->dlpi_name;
        const std::string name = path.filename();
        if (name.starts_with("libnvrtc") && !name.starts_with("libnvrtc-builtins") &&
            name.find(".alt.") == std::string::npos)
          static_cast<std::vector<std::string>*>(into)->push_back(path);
        return 0;
      },
      &paths);
  return paths;
}

void add_wheels_in(std::vector<Place>& places, const fs::path& packages) {
  for (const char* wheel : {"cu13", "cuda_nvrtc"})
    places.push_back({"nvidia-cuda-nvrtc wheel", packages / "nvidia" / wheel / "lib"});
}

void add_wheels(std::vector<Place>& places, const fs::path& prefix) {
  if (prefix.empty()) return;
  for (const std::string& python : names_in(prefix / "lib", "python3"))
    for (const char* packages : {"site-packages", "dist-packages"})
      add_wheels_in(places, prefix / "lib" / python / packages);
}

// The installation that a `python3` on PATH belongs to; in a virtual environment that is the environment's folder.
fs::path prefix_of_python(GetEnvironment get_environment) {
  const std::string path = variable(get_environment, "PATH");
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    if (!folder.starts_with('/')) continue;
    if (access((fs::path(folder) / "python3").c_str(), X_OK) == 0) return fs::path(folder).parent_path();
  }
  return {};
}

// A user who may write beside a program may replace it as well, except in a folder where anybody may add files and only
// owners remove them.
void add_folder_of_program(std::vector<Place>& places) {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  const auto everybodys = fs::status(folder, error).permissions() & fs::perms::others_write;
  if (!error && everybodys == fs::perms::none) places.push_back({"beside the program", folder});
}

// The folders that the loader searches: those of LD_LIBRARY_PATH and its built-in ones, as it took them when the
// process started, and those configured for its cache.
void add_loader_folders(std::vector<Place>& places) {
  void* const process = dlopen(nullptr, RTLD_LAZY);
  Dl_serinfo size = {};
  if (process != nullptr && dlinfo(process, RTLD_DI_SERINFOSIZE, &size) == 0) {
    std::vector<std::max_align_t> storage(size.dls_size / sizeof(std::max_align_t) + 1);
    auto* const list = reinterpret_cast<Dl_serinfo*>(storage.data());
    *list = size;
    if (dlinfo(process, RTLD_DI_SERINFO, list) == 0)
      for (unsigned i = 0; i < list->dls_cnt; ++i) places.push_back({"loader path", list->dls_serpath[i].dls_name});
  }
  for (const std::string& name : names_in("/etc/ld.so.conf.d", "")) {
    std::ifstream lines("/etc/ld.so.conf.d/" + name);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with('/')) places.push_back({"loader path", line});
  }
}

// Each folder once, where it comes first.
std::vector<Place> standard_places(GetEnvironment get_environment) {
  std::vector<Place> places;
  const auto value = [&](const char* name) -> fs::path {
    std::string text = variable(get_environment, name);
    return text.starts_with('/') ? text : "";
  };
  add_folder_of_program(places);
  if (const std::string packages = packages_folder(); !packages.empty()) add_wheels_in(places, packages);
  add_wheels(places, value("VIRTUAL_ENV"));
  add_wheels(places, value("CONDA_PREFIX"));
  add_wheels(places, prefix_of_python(get_environment));
  if (const fs::path home = value("HOME"); !home.empty()) add_wheels(places, home / ".local");
  add_wheels(places, "/usr/local");
  add_wheels(places, "/usr");
  if (const fs::path conda = value("CONDA_PREFIX"); !conda.empty()) places.push_back({"CONDA_PREFIX", conda / "lib"});
  for (const char* name : {"CUDA_PATH", "CUDA_HOME"})
    if (const fs::path root = value(name); !root.empty())
      for (const char* folder : {"lib64", "lib"}) places.push_back({name, root / folder});
  add_loader_folders(places);
  places.push_back({"/usr/local/cuda", "/usr/local/cuda/lib64"});
  std::set<fs::path> seen;
  std::erase_if(places, [&](const Place& place) { return !seen.insert(place.folder).second; });
  return places;
}

struct Version {
  int major;
  int minor;

  auto operator<=>(const Version&) const = default;
};

// The first NVRTC that compiles for a compute capability.
struct FirstVersion {
  Version capability;
  Version nvrtc;
};
constexpr FirstVersion first_versions[] = {
    {{8, 0}, {12, 0}},  {{8, 8}, {13, 0}},  {{8, 9}, {12, 0}},  {{9, 0}, {12, 0}},  {{10, 0}, {12, 8}},
    {{10, 3}, {12, 9}}, {{11, 0}, {13, 0}}, {{12, 0}, {12, 8}}, {{12, 1}, {12, 9}},
};
constexpr Version newest_capability = {12, 1};
constexpr Version first_with_families = {12, 9};  // sm_100f

// None where the architecture is newer than this library.
std::optional<Version> first_version_for(const codegen::Architecture& architecture) {
  const Version capability = {architecture.major, architecture.minor};
  if (capability > newest_capability) return std::nullopt;
  Version first = {};
  for (const FirstVersion& row : first_versions)
    if (row.capability <= capability) first = row.nvrtc;
  return architecture.suffix == 'f' ? std::max(first, first_with_families) : first;
}

bool knows(const NvrtcLocation& location, const std::optional<codegen::Architecture>& architecture) {
  if (!architecture) return true;
  const std::optional<Version> first = first_version_for(*architecture);
  return first && Version{location.major, location.minor} >= *first;
}

// Within a major version a driver loads what newer compilers made for its devices.
bool can_load(int driver_version, const NvrtcLocation& location) {
  return driver_version == 0 || location.major <= driver_version / 1000;
}

llvm::Expected<NvrtcLocation> named_file(const std::string& path, const std::string& argument) {
  if (auto found = location_of_file(path, argument)) return *found;
  std::error_code error;
  const bool exists = fs::exists(path, error);
  const llvm::sys::fs::directory_iterator beside(fs::absolute(path).parent_path().native(), error);
  return make_error(MHCJIT_ERROR_NO_NVRTC,
                    "{} is '{}', which {}; it must name a libnvrtc.so file of CUDA 12 or 13 that has its "
                    "libnvrtc-builtins.so beside it; correct it, or unset it to search the usual places",
                    argument, path,
                    !exists ? "does not exist"
                    : error ? "lies in a folder that cannot be read: " + error.message()
                            : "has no libnvrtc-builtins.so of its version beside it");
}

}  // namespace

bool names_nvrtc(const std::string& option, GetEnvironment get_environment) {
  return !option.empty() || !variable(get_environment, "MHCJIT_NVRTC").empty();
}

std::string unfit_because(const NvrtcLocation& location, const std::optional<codegen::Architecture>& architecture,
                          int driver_version) {
  if (!knows(location, architecture)) {
    const std::optional<Version> first = first_version_for(*architecture);
    return fmt::format("NVRTC {}.{} does not know {}{}", location.major, location.minor, to_string(*architecture),
                       first ? fmt::format(", which came with {}.{}", first->major, first->minor) : "");
  }
  if (!can_load(driver_version, location))
    return fmt::format("kernels of NVRTC {}.{} need a driver of CUDA {}.0 or newer, and this one supports {}.{}",
                       location.major, location.minor, location.major, driver_version / 1000,
                       driver_version % 1000 / 10);
  return "";
}

std::vector<NvrtcLocation> find_nvrtcs(GetEnvironment get_environment, const NvrtcUse& use) {
  std::vector<NvrtcLocation> locations;
  for (const std::string& path : loaded_libraries())
    if (auto found = location_of_file(path, "already loaded in the process")) locations.push_back(std::move(*found));
  for (const Place& place : standard_places(get_environment))
    for (NvrtcLocation& found : locations_in_folder(place)) locations.push_back(std::move(found));
  std::set<std::string> seen;
  std::erase_if(locations, [&](const NvrtcLocation& location) { return !seen.insert(location.library).second; });

  const bool majors_differ = std::any_of(locations.begin(), locations.end(), [&](const NvrtcLocation& location) {
    return location.major != locations.front().major;
  });
  const int driver_version = majors_differ && use.driver_version ? use.driver_version() : 0;
  const auto rank = [&](const NvrtcLocation& location) {
    const bool is_known = knows(location, use.architecture);
    return std::tuple(!is_known, !can_load(driver_version, location),
                      is_known ? Version{} : Version{-location.major, -location.minor});
  };
  std::stable_sort(locations.begin(), locations.end(),
                   [&](const NvrtcLocation& a, const NvrtcLocation& b) { return rank(a) < rank(b); });
  return locations;
}

llvm::Expected<NvrtcLocation> locate_nvrtc(const std::string& option, GetEnvironment get_environment,
                                           const NvrtcUse& use) {
  if (!option.empty()) return named_file(option, "nvrtc_path");
  if (const std::string named = variable(get_environment, "MHCJIT_NVRTC"); !named.empty())
    return named_file(named, "MHCJIT_NVRTC");
  const std::vector<NvrtcLocation> found = find_nvrtcs(get_environment, use);
  if (!found.empty()) return found.front();
  return make_error(MHCJIT_ERROR_NO_NVRTC,
                    "NVRTC was not found; install it with `pip install nvidia-cuda-nvrtc`,\n"
                    "or install a CUDA toolkit of version 12 or 13,\n"
                    "or set MHCJIT_NVRTC to its file, libnvrtc.so.13 or libnvrtc.so.12 with its libnvrtc-builtins.so "
                    "beside it,\n"
                    "or use a cache that already holds the kernel;\n"
                    "searched the libraries of this process and {} folders, which `mhcjit doctor` lists",
                    standard_places(get_environment).size());
}

std::vector<std::string> searched_folders(GetEnvironment get_environment) {
  std::vector<std::string> folders;
  for (const Place& place : standard_places(get_environment))
    folders.push_back(fmt::format("{} ({})", place.folder.native(), place.name));
  return folders;
}

}  // namespace mhcjit::runtime
