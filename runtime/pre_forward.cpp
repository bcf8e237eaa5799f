#include "mhcjit/pre_forward.h"

#include "runtime/operator_call.h"

mhcjit_status mhcjit_pre_forward(const mhcjit_operator* op, const mhcjit_pre_forward_args* args, void* stream) {
  return mhcjit::runtime::call_operator(MHCJIT_PRE_FORWARD, op, args, stream);
}
