#include "mhcjit/pre_backward.h"

#include "runtime/operator_call.h"

mhcjit_status mhcjit_pre_backward(const mhcjit_operator* op, const mhcjit_pre_backward_args* args, void* stream) {
  return mhcjit::runtime::call_operator(MHCJIT_PRE_BACKWARD, op, args, stream);
}
