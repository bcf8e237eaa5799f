// The history of misses that a warm-up reads (docs/shapes.md).
#pragma once

#include <atomic>
#include <string>

#include "codegen/problem.h"
#include "support/log.h"

namespace mhcjit::runtime {

// Appends each problem to a file as one line of a shapes file: one write, so that processes may share the file (not
// over a network file system, whose appends may overlap). Behind a line that a full disk cut short, a new one begins. A
// problem stands there once for each process, whatever the number of engines. A file that cannot be written is one
// warning and no failure. Thread-safe.
class MissRecord {
 public:
  // `path` is absolute; "" records nothing. Touches no file.
  MissRecord(std::string path, Log log) : path_(std::move(path)), log_(std::move(log)) {}

  // Cost: seven system calls, at the first call for a problem. The file is opened anew each time, so that it may be
  // moved away meanwhile.
  void add(const codegen::Problem& problem);

 private:
  const std::string path_;
  const Log log_;
  std::atomic<bool> warned_ = false;
};

// {"n":4,"d":4096,"dtype":"bf16","gamma":true,"batch_invariant":false,"fp32_dx":false,"ops":["OPERATOR"]}
std::string shape_line(const codegen::Problem& problem);

}  // namespace mhcjit::runtime
