#include "runtime/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cache/hmac.h"
#include "cache/remote_store.h"
#include "cache/remote_url.h"
#include "codegen/shipped_record.h"
#include "runtime/compiler_identity.h"
#include "runtime/device.h"
#include "runtime/nvrtc.h"
#include "runtime/settings.h"
#include "runtime/tuned_records.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

std::string text_of(llvm::Error error) { return take_failure(std::move(error)).text; }

// `usable` receives the device if kernels run on it.
Findings::Device look_at_device(const DriverApi& driver, CUdevice ordinal, std::vector<Device>& usable) {
  Findings::Device found;
  found.ordinal = ordinal;
  char name[256] = {};
  if (driver.cuDeviceGetName(name, sizeof name - 1, ordinal) == CUDA_SUCCESS) found.name = name;
  std::size_t bytes = 0;
  if (driver.cuDeviceTotalMem(&bytes, ordinal) == CUDA_SUCCESS) found.memory_bytes = bytes;
  auto device = inspect_device(driver, ordinal);
  if (!device) {
    found.problem = text_of(device.takeError());
    return found;
  }
  found.compute_capability = fmt::format("{}.{}", device->architecture.major, device->architecture.minor);
  found.architecture = to_string(device->architecture);
  usable.push_back(std::move(*device));
  return found;
}

void look_at_devices(const DriverApi& driver, Findings& findings, std::vector<Device>& usable) {
  if (auto error = driver.initialise()) {
    findings.devices_problem = text_of(std::move(error));
    return;
  }
  int count = 0;
  if (auto error = driver.check(driver.cuDeviceGetCount(&count), MHCJIT_ERROR_NO_DEVICE, "counting devices")) {
    findings.devices_problem = text_of(std::move(error));
    return;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) findings.devices.push_back(look_at_device(driver, ordinal, usable));
  if (count == 0)
    findings.devices_problem =
        "the driver reports no device; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use "
        "MHCJIT_DEVICE_CPU";
}

// Returns the driver's version, 0 where there is none.
int look_at_driver(const std::string& path, Findings& findings, std::vector<Device>& usable) {
  auto driver = DriverApi::load(path);
  if (!driver) {
    findings.driver.problem = text_of(driver.takeError());
    findings.devices_problem = "no driver to ask";
    return 0;
  }
  findings.driver.path = (*driver)->path();
  findings.driver.version = (*driver)->version();
  look_at_devices(**driver, findings, usable);
  return (*driver)->cuda_version();
}

Findings::Nvrtc look_at_nvrtc(const std::string& path, const std::optional<codegen::Architecture>& architecture,
                              int driver_version) {
  Findings::Nvrtc found;
  const NvrtcUse use = {architecture, [&] { return driver_version; }};
  auto location = locate_nvrtc(path, get_environment, use);
  const bool is_named = names_nvrtc(path, get_environment);
  if (!location) {
    found.problem = text_of(location.takeError());
    if (!is_named) found.searched = searched_folders(get_environment);
    return found;
  }
  if (const std::string reason = unfit_because(*location, architecture, driver_version); !reason.empty())
    found.problem = reason +
                    "; install one that fits (`pip install nvidia-cuda-nvrtc-cu12`, `pip install "
                    "nvidia-cuda-nvrtc`), or name it in MHCJIT_NVRTC";
  for (const NvrtcLocation& other : is_named ? std::vector<NvrtcLocation>() : find_nvrtcs(get_environment, use)) {
    if (other.library == location->library) continue;
    const std::string reason = unfit_because(other, architecture, driver_version);
    found.others.push_back(fmt::format("{} ({}): {}", other.library, other.found_by,
                                       reason.empty() ? "would serve, but comes later in the search" : reason));
  }
  found.path = location->library;
  found.builtins_path = location->builtins;
  found.found_by = location->found_by;
  if (auto identity = identify(*location)) {
    found.identity = to_string(*identity);
  } else {
    found.problem = text_of(identity.takeError());
  }
  if (auto nvrtc = Nvrtc::load(*location)) {
    found.version = (*nvrtc)->version();
  } else {
    found.problem = text_of(nvrtc.takeError());
  }
  return found;
}

// Or owned by another user, who may then make it so.
bool is_writable_by_others(const std::string& folder, struct stat& status) {
  return stat(folder.c_str(), &status) == 0 &&
         ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (status.st_uid != geteuid() && status.st_uid != 0));
}

std::string recorded_compilers(const std::string& root) {
  std::vector<std::string> texts;
  for (const CompilerIdentity& identity : recorded_identities(root)) texts.push_back(to_string(identity));
  return fmt::format("{}", fmt::join(texts, ", "));
}

Findings::Cache look_at_cache(const std::string& root, bool has_key) {
  namespace fs = std::filesystem;
  Findings::Cache found;
  if (root.empty()) {
    found.problem = "there is no cache folder, so every process compiles anew; set HOME or MHCJIT_CACHE_DIR";
    return found;
  }
  std::error_code error;
  fs::path existing = found.root = fs::absolute(root, error);
  found.recorded_compiler = recorded_compilers(found.root);
  while (!fs::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  struct stat status = {};
  if (!fs::is_directory(existing, error)) {
    found.problem = fmt::format("{} is not a folder; set MHCJIT_CACHE_DIR to one", existing.native());
  } else if (access(existing.c_str(), W_OK | X_OK) != 0) {
    found.problem = fmt::format("{} cannot be written; make it writable, or set MHCJIT_CACHE_DIR to a folder that is",
                                existing.native());
  } else if (!has_key && existing == fs::path(found.root) && is_writable_by_others(found.root, status)) {
    found.problem = fmt::format(
        "{} belongs to user {} with mode {:o}, so others could plant kernels in it and it is not "
        "used; make it yours with chmod 700, or set MHCJIT_CACHE_DIR to another folder",
        existing.native(), status.st_uid, status.st_mode & 07777);
  }
  return found;
}

// `otherwise` is what to do with a folder that cannot be put right.
Findings::Cache look_at_read_only_cache(const std::string& root, bool has_key, const std::string& otherwise) {
  namespace fs = std::filesystem;
  Findings::Cache found;
  std::error_code error;
  found.root = fs::absolute(root, error);
  found.recorded_compiler = recorded_compilers(found.root);
  struct stat status = {};
  if (!fs::is_directory(found.root, error)) {
    found.problem = fmt::format("{} is not a folder; {}", found.root, otherwise);
  } else if (access(found.root.c_str(), R_OK | X_OK) != 0) {
    found.problem = fmt::format("{} cannot be read; make it readable, or {}", found.root, otherwise);
  } else if (!has_key && is_writable_by_others(found.root, status)) {
    found.problem = fmt::format(
        "{} belongs to user {} with mode {:o}, so others could plant kernels in it and it is not used; make it yours "
        "or root's with chmod go-w, or {}",
        found.root, status.st_uid, status.st_mode & 07777, otherwise);
  }
  return found;
}

void add_passed_over(const cache::PassedOver& place, Findings& findings) {
  if (place.variable == "MHCJIT_CACHE_RO") {
    findings.read_only_caches.push_back({place.path, "", to_string(place)});
  } else {
    std::string& problem = findings.cache.problem;
    problem = problem.empty() ? to_string(place) : to_string(place) + "; " + problem;
  }
}

Findings::Remote look_at_remote(const Settings& settings) {
  if (settings.remote_url.empty()) return {};
  Findings::Remote found = {cache::without_password(settings.remote_url), settings.remote_read_only, ""};
  if (auto error = cache::RemoteStore::probe({.url = settings.remote_url, .ca_file = settings.remote_ca_file}))
    found.problem =
        fmt::format("it is not used: {}; repair it, or unset MHCJIT_CACHE_REMOTE", text_of(std::move(error)));
  return found;
}

Findings::KeyFile look_at_key_file(const std::string& path) {
  if (path.empty()) return {};
  auto key = cache::read_hmac_key(path);
  if (key) return {path, ""};
  return {path, fmt::format("no cache is used, so every process compiles anew: {}", text_of(key.takeError()))};
}

Findings::TunedRecord described(const codegen::TunedRecord& record) {
  Findings::TunedRecord found;
  found.device = record.header.device;
  found.architecture = to_string(record.header.architecture);
  found.multiprocessors = record.header.multiprocessors;
  found.problems = record.choices.size();
  for (const codegen::TunedChoice& choice : record.choices) found.rows += choice.rows.size();
  return found;
}

Findings::TunedRecord look_at_tuned_record(const std::string& path, const std::vector<Device>& devices) {
  Findings::TunedRecord found;
  found.path = path;
  if (path.empty()) return found;
  auto record = read_tuned_record(path);
  if (!record) {
    found.problem = fmt::format(
        "it is not used: {}; name one that `mhcjit tune` or `mhcjit tune merge` made, or unset MHCJIT_TUNED",
        text_of(record.takeError()));
    return found;
  }
  found = described(**record);
  found.path = path;
  for (const Device& device : devices)
    if (found.problem.empty()) found.problem = misfit(path, (*record)->header, device);
  if (found.problems == 0) found.problem = "it has no choices; let `mhcjit tune` go on with it";
  return found;
}

}  // namespace

bool Findings::gpu_ready() const {
  const auto usable = [](const Device& device) { return device.problem.empty(); };
  return driver.problem.empty() && nvrtc.problem.empty() && std::any_of(devices.begin(), devices.end(), usable);
}

llvm::Expected<Findings> find_out(const mhcjit_engine_options& options) {
  auto settings = settings_from(options);
  if (!settings) return settings.takeError();
  Findings findings;
  findings.library_version = mhcjit_version();
  std::vector<Device> devices;  // those that kernels run on
  const int driver_version = look_at_driver(settings->driver_path, findings, devices);
  const auto architecture = devices.empty() ? std::nullopt : std::optional(devices.front().architecture);
  findings.nvrtc = look_at_nvrtc(settings->nvrtc_path, architecture, driver_version);
  const bool has_key = !settings->hmac_key_file.empty();
  findings.cache = look_at_cache(settings->cache_root, has_key);
  for (const std::string& root : settings->read_only_roots)
    findings.read_only_caches.push_back(look_at_read_only_cache(root, has_key, "take it out of MHCJIT_CACHE_RO"));
  if (const std::string& root = settings->installed_root; !root.empty())
    findings.read_only_caches.push_back(look_at_read_only_cache(root, has_key, "uninstall mhcjit-kernels"));
  for (const cache::PassedOver& place : settings->passed_over) add_passed_over(place, findings);
  findings.remote = look_at_remote(*settings);
  findings.key_file = look_at_key_file(settings->hmac_key_file);
  findings.tuned = look_at_tuned_record(settings->tuned_path, devices);
  for (const auto& [_, record] : codegen::shipped_records()) findings.shipped.push_back(described(*record));
  return findings;
}

}  // namespace mhcjit::runtime
