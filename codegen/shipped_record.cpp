#include "codegen/shipped_record.h"

#include "codegen/embedded.h"

namespace mhcjit::codegen {
namespace {

using Records = std::map<Architecture, TunedRecordPtr>;

// Tests hold every embedded text to be a record.
Records read_all() {
  Records records;
  for (const EmbeddedRecord& embedded : embedded_records()) {
    auto record = parse_record(embedded.name, embedded.text);
    if (record)
      records.emplace(record->header.architecture, std::make_shared<const TunedRecord>(std::move(*record)));
    else
      llvm::consumeError(record.takeError());
  }
  return records;
}

}  // namespace

const Records& shipped_records() {
  static const Records records = read_all();
  return records;
}

TunedRecordPtr shipped_record(const Architecture& architecture) {
  const auto found = shipped_records().find(architecture);
  return found == shipped_records().end() ? nullptr : found->second;
}

}  // namespace mhcjit::codegen
