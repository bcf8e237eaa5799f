#include "tools/run_operator.h"

#include <chrono>
#include <optional>

#include "tools/command.h"
#include "tools/engine.h"
#include "tools/tensor_names.h"

namespace mhcjit::tools {
namespace {

// The engine and the tensors of one run. The first failure sticks: what follows it does nothing, and finish() returns
// it, so that a call's arguments can be listed without a check after each.
class Session {
 public:
  Session(const RunInputs& inputs, const RunOptions& options) : inputs_(inputs), options_(options) {
    llvm::Expected<EnginePtr> engine = open_engine(options.cache_dir);
    if (engine)
      engine_ = std::move(*engine);
    else
      failure_ = take_failure(engine.takeError());
  }

  bool failed() const { return failure_.has_value(); }

  const mhcjit_operator* prepare(mhcjit_op op) {
    if (failed()) return nullptr;
    const mhcjit_problem problem = {.op = op,
                                    .n = inputs_.n,
                                    .d = inputs_.d,
                                    .dtype = inputs_.dtype,
                                    .has_gamma = inputs_.has_gamma() ? 1 : 0,
                                    .fp32_dx = options_.fp32_dx && op == MHCJIT_PRE_BACKWARD ? 1 : 0};
    const mhcjit_operator* prepared = nullptr;
    check(mhcjit_prepare(engine_.get(), &problem, options_.placement ? MHCJIT_DEVICE_GPU : MHCJIT_DEVICE_CPU, nullptr,
                         &prepared));
    return prepared;
  }

  std::size_t workspace_bytes(const mhcjit_operator* op) {
    std::size_t bytes = 0;
    if (!failed()) check(mhcjit_workspace_bytes(op, inputs_.T, &bytes));
    return bytes;
  }

  // nullptr for an absent tensor.
  void* upload(const HostBuffer& source) {
    return failed() ? nullptr : keep(DeviceTensor::upload(options_.placement, source));
  }
  float* upload_floats(const HostBuffer& source) { return static_cast<float*>(upload(source)); }

  void* allocate(std::size_t bytes) {
    return failed() ? nullptr : keep(DeviceTensor::allocate(options_.placement, bytes));
  }

  // A tensor of the result.
  void* output(const char* name, mhcjit_dtype dtype, std::vector<std::int64_t> shape) {
    const std::optional<std::uint64_t> bytes = tensor_bytes(safetensors_name(dtype), shape);
    if (!bytes && !failed()) keep(make_error(MHCJIT_ERROR_OUT_OF_MEMORY, "output {} is larger than any memory", name));
    void* memory = failed() ? nullptr : allocate(*bytes);
    if (failed()) return nullptr;
    outputs_.push_back({{name, dtype, std::move(shape), {}}, tensors_.size() - 1});
    return memory;
  }
  float* output_floats(const char* name, std::vector<std::int64_t> shape) {
    return static_cast<float*>(output(name, MHCJIT_FP32, std::move(shape)));
  }

  template <typename Args>
  void call(mhcjit_status (*function)(const mhcjit_operator*, const Args*, void*), const mhcjit_operator* op,
            const Args& args) {
    if (!failed()) check(function(op, &args, nullptr));
  }

  llvm::Expected<RunResult> finish() {
    RunResult result;
    for (Output& output : outputs_) {
      if (failed()) break;
      llvm::Expected<HostBuffer> values = std::move(tensors_[output.memory]).download();
      if (!values) return values.takeError();
      output.tensor.values = std::move(*values);
      result.outputs.push_back(std::move(output.tensor));
    }
    if (!failed()) check(mhcjit_engine_counters(engine_.get(), &result.counters));
    if (failed()) return make_error(failure_->status, failure_->text);
    return result;
  }

 private:
  struct Output {
    OutputTensor tensor;
    std::size_t memory;  // index in tensors_
  };

  void check(mhcjit_status status) {
    if (auto error = library_error(status)) failure_ = take_failure(std::move(error));
  }

  void* keep(llvm::Expected<DeviceTensor> tensor) {
    if (!tensor) {
      failure_ = take_failure(tensor.takeError());
      return nullptr;
    }
    tensors_.push_back(std::move(*tensor));
    return tensors_.back().data();
  }

  const RunInputs& inputs_;
  const RunOptions& options_;
  std::optional<Failure> failure_;
  EnginePtr engine_;
  std::vector<DeviceTensor> tensors_;
  std::vector<Output> outputs_;
};

}  // namespace

llvm::Expected<RunResult> run_operator(const RunInputs& inputs, const RunOptions& options) {
  Session session(inputs, options);
  const auto start = std::chrono::steady_clock::now();
  const mhcjit_operator* forward_op = session.prepare(MHCJIT_PRE_FORWARD);
  const mhcjit_operator* backward_op = options.backward ? session.prepare(MHCJIT_PRE_BACKWARD) : nullptr;
  const std::chrono::duration<double, std::milli> prepare_time = std::chrono::steady_clock::now() - start;

  const std::int64_t n = inputs.n;
  mhcjit_pre_forward_args forward = {};
  forward.x = session.upload(inputs.x);
  forward.phi = session.upload_floats(inputs.phi);
  forward.alpha = session.upload_floats(inputs.alpha);
  forward.bias = session.upload_floats(inputs.bias);
  forward.gamma = session.upload_floats(inputs.gamma);
  forward.T = inputs.T;
  forward.norm_eps = options.norm_eps;
  forward.hc_eps = options.hc_eps;
  forward.post_mult = options.post_mult;
  forward.h_in = session.output("h_in", inputs.dtype, inputs.per_token({inputs.d}));
  forward.h_post = session.output_floats("h_post", inputs.per_token({n}));
  forward.h_res = session.output_floats("h_res", inputs.per_token({n, n}));
  forward.inv_rms = session.output_floats("inv_rms", inputs.per_token({}));
  forward.h_mix = session.output_floats("h_mix", inputs.per_token({inputs.rows()}));
  forward.h_pre = session.output_floats("h_pre", inputs.per_token({n}));
  forward.workspace_bytes = session.workspace_bytes(forward_op);
  forward.workspace = session.allocate(forward.workspace_bytes);
  session.call(mhcjit_pre_forward, forward_op, forward);

  if (options.backward) {
    mhcjit_pre_backward_args backward = {};
    backward.x = forward.x;
    backward.phi = forward.phi;
    backward.alpha = forward.alpha;
    backward.gamma = forward.gamma;
    backward.inv_rms = forward.inv_rms;
    backward.h_mix = forward.h_mix;
    backward.h_pre = forward.h_pre;
    backward.h_post = forward.h_post;
    backward.dh_in = session.upload(inputs.dh_in);
    backward.dh_post = session.upload_floats(inputs.dh_post);
    backward.dh_res = session.upload_floats(inputs.dh_res);
    backward.T = inputs.T;
    backward.hc_eps = options.hc_eps;
    backward.post_mult = options.post_mult;
    backward.dx = session.output("dx", options.fp32_dx ? MHCJIT_FP32 : inputs.dtype, inputs.per_token({n, inputs.d}));
    backward.dphi = session.output_floats("dphi", {inputs.rows(), inputs.columns()});
    if (inputs.has_gamma()) backward.dgamma = session.output_floats("dgamma", {n, inputs.d});
    backward.dalpha = session.output_floats("dalpha", {3});
    backward.dbias = session.output_floats("dbias", {inputs.rows()});
    backward.workspace_bytes = session.workspace_bytes(backward_op);
    backward.workspace = session.allocate(backward.workspace_bytes);
    session.call(mhcjit_pre_backward, backward_op, backward);
  }
  llvm::Expected<RunResult> result = session.finish();
  if (result) result->prepare_ms = prepare_time.count();
  return result;
}

}  // namespace mhcjit::tools
