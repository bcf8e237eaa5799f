#include "runtime/tuned_records.h"

#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>

#include "codegen/shipped_record.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// "NVIDIA H200, sm_90a with 132 multiprocessors"
std::string device_text(std::string_view name, const codegen::Architecture& architecture, int multiprocessors) {
  return fmt::format("{}, {} with {} multiprocessors", name, to_string(architecture), multiprocessors);
}

}  // namespace

llvm::Expected<codegen::TunedRecordPtr> read_tuned_record(const std::string& path) {
  const auto cannot_read = [&](const std::error_code& error) {
    return make_error(MHCJIT_ERROR_IO, "{} cannot be read: {}", path, error.message());
  };
  llvm::sys::fs::file_status status;
  if (const std::error_code error = llvm::sys::fs::status(path, status)) return cannot_read(error);
  // A FIFO would be waited for.
  if (!is_regular_file(status)) return cannot_read(std::make_error_code(std::errc::not_supported));
  // Volatile, since a sweep may be writing to it.
  auto text = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false,
                                          /*IsVolatile=*/true);
  if (!text) return cannot_read(text.getError());
  auto record = codegen::parse_record(path, (*text)->getBuffer(), codegen::Trials::passed_over);
  if (!record) return record.takeError();
  return std::make_shared<const codegen::TunedRecord>(std::move(*record));
}

std::string misfit(const std::string& path, const codegen::RecordHeader& made_on, const Device& device) {
  if (made_on.device == device.name && made_on.architecture == device.architecture &&
      made_on.multiprocessors == device.planned.multiprocessors)
    return "";
  return fmt::format("the record {} was made on {}, and device {} is {}: {}", path,
                     device_text(made_on.device, made_on.architecture, made_on.multiprocessors), device.ordinal,
                     device_text(device.name, device.architecture, device.planned.multiprocessors),
                     made_on.architecture == device.architecture ? "its plans serve, but others may be faster"
                                                                 : "none of its plans serves");
}

codegen::TunedRecords TunedRecords::of(const codegen::Architecture& architecture) {
  return {record(), codegen::shipped_record(architecture)};
}

const codegen::TunedRecordPtr& TunedRecords::record() {
  std::call_once(read_, [this] {
    if (path_.empty()) return;
    auto record = read_tuned_record(path_);
    if (record)
      record_ = std::move(*record);
    else
      log_(MHCJIT_LOG_WARNING, fmt::format("the record of tuned_path or MHCJIT_TUNED is not used: {}",
                                           take_failure(record.takeError()).text));
  });
  return record_;
}

void TunedRecords::warn_of_refused(const std::string& problem, const std::string& reason) {
  bool warned = false;
  const std::string line = fmt::format("{}: plans that were measured do not serve it: {}", problem, reason);
  std::call_once(refused_, [&] {
    warned = true;
    log_(MHCJIT_LOG_WARNING, line + "; further such problems are at the level info");
  });
  if (!warned) log_(MHCJIT_LOG_INFO, line);
}

void TunedRecords::check_device(const Device& device) {
  if (record() == nullptr) return;
  const std::string text = misfit(path_, record()->header, device);
  if (!text.empty()) std::call_once(other_device_, [&] { log_(MHCJIT_LOG_WARNING, text); });
}

}  // namespace mhcjit::runtime
