// One call of pre_forward.
#pragma once

#include "bench/gpu/calls.h"

namespace mhcjit::gpu {

class ForwardCall final : public Call {
 public:
  // `inputs` without x leave x to the caller, who uploads it into buffer("x").
  ForwardCall(const Gpu& gpu, const Case& item, const mhcjit_operator* op, const oracle::Inputs& inputs);
  mhcjit_status run(CUstream stream = nullptr) const override { return mhcjit_pre_forward(op_, &args, stream); }
  const void* arguments() const override { return &args; }
  mhcjit_status run_overlapped(CUstream stream) const override;

  mhcjit_pre_forward_args args = {};
};

}  // namespace mhcjit::gpu
