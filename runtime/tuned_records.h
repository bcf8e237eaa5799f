// The measured rows that an engine's plans come from (docs/tuning.md).
#pragma once

#include <mutex>
#include <string>

#include "codegen/choose.h"
#include "runtime/device.h"
#include "support/log.h"

namespace mhcjit::runtime {

// Errors: IO (the file cannot be read), BAD_FILE (it is no tuned record).
llvm::Expected<codegen::TunedRecordPtr> read_tuned_record(const std::string& path);

// "" where the record was made on this kind of device; else what that means, as a sentence without its end. `path` is
// the record's.
std::string misfit(const std::string& path, const codegen::RecordHeader& made_on, const Device& device);

// The user's record and the shipped ones. A record that cannot be used is a warning to the log, once, and no failure.
// Thread-safe.
class TunedRecords {
 public:
  // `path` is absolute; "": the user has none. Touches no file.
  TunedRecords(std::string path, Log log) : path_(std::move(path)), log_(std::move(log)) {}

  const std::string& path() const { return path_; }

  // Reads the user's record at the first call.
  codegen::TunedRecords of(const codegen::Architecture& architecture);

  // What choose() or a build has found: says once that rows of the record do not serve, and why.
  void warn_of_refused(const std::string& problem, const std::string& reason);

  // Says once that the record was made on another kind of device than the one that is used.
  void check_device(const Device& device);

 private:
  const codegen::TunedRecordPtr& record();

  const std::string path_;
  const Log log_;
  std::once_flag read_, refused_, other_device_;
  codegen::TunedRecordPtr record_;
};

}  // namespace mhcjit::runtime
