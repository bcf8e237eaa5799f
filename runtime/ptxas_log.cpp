#include "runtime/ptxas_log.h"

#include <charconv>

#include <llvm/ADT/StringRef.h>

namespace mhcjit::runtime {
namespace {

// The number that stands right before `unit`: "Used 32 registers, 800 bytes smem" -> 32 for " registers".
int number_before(llvm::StringRef line, llvm::StringRef unit) {
  const std::size_t at = line.find(unit);
  if (at == llvm::StringRef::npos) return 0;
  const llvm::StringRef digits = line.take_front(at).rsplit(' ').second;
  int number = 0;
  digits.getAsInteger(10, number);
  return number;
}

llvm::StringRef quoted(llvm::StringRef line) { return line.split('\'').second.split('\'').first; }

}  // namespace

std::vector<cache::KernelResources> parse_ptxas_log(std::string_view log) {
  std::vector<cache::KernelResources> kernels;
  bool properties_of_entry = false;  // a log also has properties of functions that were not inlined
  llvm::StringRef rest(log.data(), log.size());
  while (!rest.empty()) {
    llvm::StringRef line;
    std::tie(line, rest) = rest.split('\n');
    if (line.contains("Compiling entry function")) {
      kernels.emplace_back().name = quoted(line).str();
      continue;
    }
    if (kernels.empty()) continue;
    cache::KernelResources& kernel = kernels.back();
    if (line.contains("Function properties for ")) {
      properties_of_entry = line.split("Function properties for ").second.trim() == kernel.name;
    } else if (line.contains(" bytes spill stores")) {
      if (!properties_of_entry) continue;
      kernel.spill_store_bytes = number_before(line, " bytes spill stores");
      kernel.spill_load_bytes = number_before(line, " bytes spill loads");
    } else if (line.contains(" registers")) {
      kernel.registers = number_before(line, " registers");
      kernel.static_smem_bytes = number_before(line, " bytes smem");
    }
  }
  return kernels;
}

}  // namespace mhcjit::runtime
