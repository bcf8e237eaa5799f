// A host's choices for an engine, with the defaults filled in.
#pragma once

#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "cache/location.h"
#include "mhcjit/mhcjit.h"
#include "support/log.h"

namespace mhcjit::runtime {

struct Settings {
  std::string cache_root;  // "": compiled kernels are kept in memory only
  std::vector<std::string> read_only_roots;
  std::vector<cache::PassedOver> passed_over;  // in place of the two
  std::string installed_root;                  // of mhcjit-kernels; "": none, or the host names read-only folders
  std::string runtime_folder;                  // of this user on this machine; "": none
  std::string remote_url;                      // "": there is no server
  bool remote_read_only = false;
  std::string remote_ca_file;  // absolute; "": the system's certificates
  std::string hmac_key_file;   // absolute; "": entries carry no tag
  std::string record_path;     // absolute; "": misses are not recorded
  std::string tuned_path;      // absolute; "": there is no tuned record
  bool no_compile = false;
  std::string nvrtc_path;    // "": the usual places
  std::string driver_path;   // "": libcuda.so.1 from the loader's path
  std::string template_dir;  // "": embedded
  std::string plan;          // for the problems that it fits; "": the library chooses
  Log log;
  int cpu_threads = 0;  // 0: one per core
};

// getenv(), in the form that the functions which read the environment take.
const char* get_environment(const char* name);

// Reads the environment for what the host did not choose. Errors: INVALID_ARGUMENT (cpu_threads, no_compile,
// plan, remote_read_only, remote_url).
llvm::Expected<Settings> settings_from(const mhcjit_engine_options& options);

}  // namespace mhcjit::runtime
