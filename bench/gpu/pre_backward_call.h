// One call of pre_backward.
#pragma once

#include "bench/gpu/pre_forward_call.h"

namespace mhcjit::gpu {

struct BackwardOptions {
  bool accumulate_dx = false;          // into what the caller uploads
  bool accumulate_parameters = false;  // likewise
  bool gradients_by_caller = false;    // dh_in, dh_post and dh_res are there, for the caller to upload
};

class BackwardCall final : public Call {
 public:
  // Reads the inputs and what forward saved where `forward` has them: it must outlive this. An empty gradient is
  // absent, and NULL is passed.
  BackwardCall(const ForwardCall& forward, const Gpu& gpu, const Case& item, const mhcjit_operator* op,
               const oracle::OutputGradients& gradients, const BackwardOptions& options = {});
  mhcjit_status run(CUstream stream = nullptr) const override { return mhcjit_pre_backward(op_, &args, stream); }
  mhcjit_status run_overlapped(CUstream stream) const override;
  const void* arguments() const override { return &args; }

  mhcjit_pre_backward_args args = {};
};

}  // namespace mhcjit::gpu
