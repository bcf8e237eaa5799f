// The report of `mhcjit bench` so far: the JSON, the text, and the TSV, which a file has.
#pragma once

#include <string>

#include "bench/gpu/gpu.h"
#include "tools/bench_rows.h"
#include "tools/command.h"

namespace mhcjit::tools {

// The TSV has comment lines that begin with #, a line of column names, and a line a row. Each function that adds
// something writes the file, "" for none, so that a run that is ended keeps what it has. Errors: IO, when the file
// cannot be written.
class BenchReport {
 public:
  BenchReport(std::string file, const gpu::Gpu& gpu) : file_(std::move(file)), gpu_(gpu) {}

  // Adds all that is known before anything is measured, the machine among it.
  llvm::Error begin(const std::string& commit, bool quick);
  // `heading` stands in the table above what follows, `columns` in the TSV.
  llvm::Error add_copy_rate(double gigabytes_per_second, const std::string& heading, const std::string& columns);
  // As a field of the JSON, or as the next of a list of it.
  llvm::Error add(llvm::StringRef field, BenchRow row);
  llvm::Error add_to(llvm::StringRef list, BenchRow row);

  void interrupt();

  Report take();

 private:
  void take_text(const BenchRow& row);
  llvm::Error write() const;

  const std::string file_;
  const gpu::Gpu& gpu_;
  std::string tsv_;
  Report report_;
  llvm::json::Array rows_;
};

}  // namespace mhcjit::tools
