#include "tools/bench_report.h"

#include <ctime>

#include <fmt/chrono.h>

#include "runtime/doctor.h"
#include "tools/output_file.h"

namespace mhcjit::tools {

llvm::Error BenchReport::begin(const std::string& commit, bool quick) {
  auto found = runtime::find_out({});
  if (!found) return found.takeError();
  report_.json = llvm::json::Object{{"device", gpu_.name},
                                    {"architecture", gpu_.architecture},
                                    {"driver", found->driver.version},
                                    {"nvrtc", found->nvrtc.version},
                                    {"mhcjit", found->library_version},
                                    {"commit", commit},
                                    {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
                                    {"l2_bytes", gpu_.l2_bytes},
                                    {"quick", quick}};
  report_.text = fmt::format("{}, {}, driver of CUDA {}, NVRTC {}, commit {}\n", gpu_.name, gpu_.architecture,
                             found->driver.version, found->nvrtc.version, commit);
  for (const char* field : {"device", "architecture", "driver", "nvrtc", "mhcjit", "commit", "date"})
    tsv_ += fmt::format("# {}: {}\n", field, std::string_view(*report_.json.getString(field)));
  return write();
}

llvm::Error BenchReport::add_copy_rate(double gigabytes_per_second, const std::string& heading,
                                       const std::string& columns) {
  report_.json["copy_gigabytes_per_second"] = number(gigabytes_per_second);
  report_.text += fmt::format("a plain copy: {:.0f} GB/s read plus written\n{}", gigabytes_per_second, heading);
  tsv_ += fmt::format("# copy_gigabytes_per_second: {}\n{}\n", digits(gigabytes_per_second), columns);
  return write();
}

llvm::Error BenchReport::add(llvm::StringRef field, BenchRow row) {
  take_text(row);
  report_.json[field] = std::move(row.json);
  return write();
}

llvm::Error BenchReport::add_to(llvm::StringRef list, BenchRow row) {
  take_text(row);
  rows_.push_back(std::move(row.json));
  report_.json[list] = llvm::json::Array(rows_);
  return write();
}

void BenchReport::interrupt() {
  say("interrupted: what is measured so far stays");
  report_.exit_code = exit_interrupted;
}

Report BenchReport::take() { return std::move(report_); }

void BenchReport::take_text(const BenchRow& row) {
  say(llvm::StringRef(row.text).rtrim().str());
  report_.text += row.text;
  tsv_ += row.tsv_lines;
  if (!row.ok) report_.exit_code = exit_failed;
}

llvm::Error BenchReport::write() const {
  if (file_.empty()) return llvm::Error::success();
  auto file = OutputFile::create(file_);
  if (!file) return file.takeError();
  if (auto error = file->write(tsv_)) return error;
  return file->publish();
}

}  // namespace mhcjit::tools
