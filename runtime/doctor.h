// Reports each thing that mhcjit needs: its place, or what to do if it is missing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit::runtime {

// In each part `problem` is "" when all is well; otherwise it says what is wrong and what to do, and the other fields
// hold what was found all the same.
struct Findings {
  struct Driver {
    std::string path;
    std::string version;  // newest CUDA that it supports, "12.8"
    std::string problem;
  };
  struct Nvrtc {
    std::string path;
    std::string builtins_path;
    std::string found_by;
    std::string version;
    std::string identity;               // as in cache keys: version and build-ids
    std::vector<std::string> others;    // "FILE (WHAT LED TO IT): why it is not taken", of those that were found, too
    std::vector<std::string> searched;  // the folders, when it was searched for and in none of them
    std::string problem;
  };
  struct Device {
    std::int32_t ordinal = 0;
    std::string name;
    std::string compute_capability;  // "9.0"
    std::string architecture;        // what kernels are compiled for: "sm_90a"
    std::uint64_t memory_bytes = 0;
    std::string problem;
  };
  struct Cache {
    std::string root;  // "": compiled kernels are kept in memory only
    std::string
        recorded_compiler;  // the identities that the folder holds for machines without NVRTC, with ", " between
    std::string problem;
  };

  struct Remote {
    std::string url;  // without user and password; "": there is none
    bool read_only = false;
    std::string problem;
  };
  struct KeyFile {
    std::string path;  // "": entries carry no tag
    std::string problem;
  };
  // Measured plans (docs/tuning.md).
  struct TunedRecord {
    std::string path;    // "": there is none, or it is in the library
    std::string device;  // that it was made on; this and what follows where it can be read
    std::string architecture;
    int multiprocessors = 0;
    std::size_t problems = 0;
    std::size_t rows = 0;  // numbers of tokens of all problems
    std::string problem;
  };

  std::string library_version;
  Driver driver;
  std::vector<Device> devices;
  std::string devices_problem;
  Nvrtc nvrtc;  // for the architecture of the first usable device, where there is one
  Cache cache;
  std::vector<Cache> read_only_caches;  // in the order in which they are searched
  Remote remote;
  KeyFile key_file;
  TunedRecord tuned;                 // the user's
  std::vector<TunedRecord> shipped;  // one for each architecture that has one

  // True if mhcjit_prepare can work for MHCJIT_DEVICE_GPU from an empty cache.
  bool gpu_ready() const;
};

// Looks at everything that `options` would make an engine use. Opens the driver and NVRTC, asks the server of a remote
// cache once, creates no file and no context. Cost: up to a second, and 2 for a server that does not answer. Errors:
// INVALID_ARGUMENT (options).
llvm::Expected<Findings> find_out(const mhcjit_engine_options& options);

}  // namespace mhcjit::runtime
