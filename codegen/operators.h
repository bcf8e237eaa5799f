// The operators that there are. A new one is a file with its table and families, and a line in operators.cpp.
#pragma once

#include <span>
#include <string>

#include "codegen/operator.h"

namespace mhcjit::codegen {

extern const Operator pre_forward;
extern const Operator pre_backward;

std::span<const Operator* const> operators();

// Errors: INVALID_ARGUMENT, with the allowed ones.
llvm::Expected<const Operator*> operator_of(mhcjit_op id);
llvm::Expected<const Operator*> parse_operator(std::string_view name);

// Separated by commas.
std::string operator_names();
// The names of operators with a tensor that the flag makes fp32.
std::string operator_names(bool Problem::* dtype_flag);

}  // namespace mhcjit::codegen
