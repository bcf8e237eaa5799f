// What a plan's name says, also of a plan that no family lists any more.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <llvm/ADT/StringRef.h>

namespace mhcjit::tuning {

// "one_pass" of "one_pass cluster_size=16 tokens_per_tile=8".
llvm::StringRef family_of(llvm::StringRef plan);

// Its parameters.
std::map<std::string, std::int64_t> parameters_of(llvm::StringRef plan);

}  // namespace mhcjit::tuning
