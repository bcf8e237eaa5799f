#include "tools/check.h"

#include <algorithm>

#include "oracle/outputs.h"
#include "oracle/storage.h"
#include "oracle/tensors.h"

namespace mhcjit::tools {
namespace {

std::vector<double> values_of(const HostBuffer& buffer, mhcjit_dtype dtype) {
  const auto count = static_cast<std::int64_t>(buffer.size() / oracle::bytes_of(dtype));
  return oracle::from_storage(buffer.data(), count, dtype);
}

std::vector<double> values_of(const OutputTensor& output) { return values_of(output.values, output.dtype); }

const OutputTensor& find(const std::vector<OutputTensor>& outputs, std::string_view name) {
  return *std::ranges::find(outputs, name, &OutputTensor::name);
}

}  // namespace

std::vector<CheckRow> check_outputs(const RunInputs& inputs, const RunOptions& options,
                                    const std::vector<OutputTensor>& outputs) {
  const oracle::Shape shape = {inputs.T, inputs.n, inputs.d, inputs.has_gamma()};
  const oracle::Inputs values = {values_of(inputs.x, inputs.dtype),
                                 values_of(inputs.phi, MHCJIT_FP32),
                                 values_of(inputs.alpha, MHCJIT_FP32),
                                 values_of(inputs.bias, MHCJIT_FP32),
                                 values_of(inputs.gamma, MHCJIT_FP32),
                                 options.norm_eps,
                                 options.hc_eps,
                                 options.post_mult};
  const oracle::Forward forward = oracle::pre_forward(shape, values);
  std::vector<oracle::Reference> references = oracle::outputs_of(shape, forward);
  oracle::Backward backward;
  if (options.backward) {
    // Backward is a function of what forward saved, as it was saved: where h_post is 2, the logit behind it is lost.
    const oracle::Forward saved =
        oracle::saved_by_forward([&](const char* tensor) { return values_of(find(outputs, tensor)); });
    backward = oracle::pre_backward(shape, values, saved,
                                    {values_of(inputs.dh_in, inputs.dtype), values_of(inputs.dh_post, MHCJIT_FP32),
                                     values_of(inputs.dh_res, MHCJIT_FP32)});
    std::ranges::copy(oracle::outputs_of(shape, backward), std::back_inserter(references));
  }
  std::vector<CheckRow> rows;
  for (const oracle::Reference& reference : references) {
    const OutputTensor& output = find(outputs, reference.name);
    rows.push_back({output.name, oracle::compare(reference, values_of(output), {inputs.dtype, options.fp32_dx})});
  }
  return rows;
}

}  // namespace mhcjit::tools
