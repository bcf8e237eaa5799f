// The report of `mhcjit bench` so far: the JSON, the text, and the file that has one of them.
#pragma once

#include <string>

#include "bench/gpu/gpu.h"
#include "tools/bench_rows.h"
#include "tools/command.h"

namespace mhcjit::tools {

// The kind of the text and of the file.
enum class ReportFormat {
  table,  // for readers; the file has the JSON
  tsv,    // comment lines that begin with #, a line of column names, a line a candidate; the file has the same
};

// Each function that adds something writes the file, "" for none, so that a run that is ended keeps what it has.
// Errors: IO, when the file cannot be written.
class BenchReport {
 public:
  BenchReport(std::string file, const gpu::Gpu& gpu, ReportFormat format)
      : file_(std::move(file)), gpu_(gpu), format_(format) {}

  // Adds all that is known before anything is measured, the machine among it.
  llvm::Error begin(const std::string& commit, bool quick);
  // `heading` stands in the text above what follows.
  llvm::Error add_copy_rate(double gigabytes_per_second, const std::string& heading);
  // As a field of the JSON, or as the next of a list of it.
  llvm::Error add(llvm::StringRef field, BenchRow row);
  llvm::Error add_to(llvm::StringRef list, BenchRow row);

  void interrupt();

  Report take() { return std::move(report_); }

 private:
  void take_text(const BenchRow& row);
  llvm::Error write() const;

  const std::string file_;
  const gpu::Gpu& gpu_;
  const ReportFormat format_;
  Report report_;
  llvm::json::Array rows_;
};

}  // namespace mhcjit::tools
