// The body of each operator's public function.
#pragma once

#include "runtime/api_boundary.h"
#include "runtime/operator.h"
#include "runtime/sized_struct.h"

namespace mhcjit::runtime {

template <typename Args>
mhcjit_status call_operator(mhcjit_op id, const mhcjit_operator* op, const Args* args, void* stream) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(op, "op")) return error;
    if (auto error = check_not_null(args, "args")) return error;
    return with_filled(*args, [&](const Args& known) { return from_handle(op)->run(id, &known, stream); });
  });
}

}  // namespace mhcjit::runtime
