#include "tools/check.h"

#include <algorithm>

#include "oracle/outputs.h"
#include "oracle/storage.h"

namespace mhcjit::tools {
namespace {

std::vector<double> values_of(const HostBuffer& buffer, mhcjit_dtype dtype) {
  const auto count = static_cast<std::int64_t>(buffer.size() / oracle::bytes_of(dtype));
  return oracle::from_storage(buffer.data(), count, dtype);
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
                                 options.hc_eps};
  const oracle::Forward forward = oracle::pre_forward(shape, values);
  std::vector<oracle::Reference> references = oracle::outputs_of(shape, forward);
  oracle::Backward backward;
  if (options.backward) {
    backward = oracle::pre_backward(shape, values, forward,
                                    {values_of(inputs.dh_in, inputs.dtype), values_of(inputs.dh_post, MHCJIT_FP32),
                                     values_of(inputs.dh_res, MHCJIT_FP32)});
    std::ranges::copy(oracle::outputs_of(shape, backward), std::back_inserter(references));
  }
  std::vector<CheckRow> rows;
  for (const oracle::Reference& reference : references) {
    const auto output = std::ranges::find(outputs, reference.name, &OutputTensor::name);
    rows.push_back({output->name, oracle::compare(reference, values_of(output->values, output->dtype), inputs.dtype)});
  }
  return rows;
}

}  // namespace mhcjit::tools
