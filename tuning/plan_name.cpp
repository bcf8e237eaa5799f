#include "tuning/plan_name.h"

#include <llvm/ADT/SmallVector.h>

namespace mhcjit::tuning {

llvm::StringRef family_of(llvm::StringRef plan) { return plan.split(' ').first; }

std::map<std::string, std::int64_t> parameters_of(llvm::StringRef plan) {
  llvm::SmallVector<llvm::StringRef> words;
  plan.split(words, ' ', -1, /*KeepEmpty=*/false);
  std::map<std::string, std::int64_t> parameters;
  for (const llvm::StringRef word : words) {
    const auto [name, value] = word.split('=');
    std::int64_t number = 0;
    if (!value.getAsInteger(10, number)) parameters[name.str()] = number;
  }
  return parameters;
}

}  // namespace mhcjit::tuning
