#include "tools/check.h"

#include <map>

#include "oracle/compare.h"
#include "oracle/pre.h"
#include "oracle/storage.h"

namespace mhcjit::tools {
namespace {

std::vector<double> values_of(const HostBuffer& buffer, mhcjit_dtype dtype) {
  const auto count = static_cast<std::int64_t>(buffer.size() / oracle::bytes_of(dtype));
  return oracle::from_storage(buffer.data(), count, dtype);
}

// Every output's reference, by name.
std::map<std::string, std::vector<double>> reference(const RunInputs& inputs, const RunOptions& options) {
  const oracle::Shape shape = {inputs.T, inputs.n, inputs.d, inputs.has_gamma()};
  const oracle::Inputs values = {values_of(inputs.x, inputs.dtype),
                                 values_of(inputs.phi, MHCJIT_FP32),
                                 values_of(inputs.alpha, MHCJIT_FP32),
                                 values_of(inputs.bias, MHCJIT_FP32),
                                 values_of(inputs.gamma, MHCJIT_FP32),
                                 options.norm_eps,
                                 options.hc_eps};
  oracle::Forward forward = oracle::pre_forward(shape, values);
  oracle::Backward backward;
  if (options.backward)
    backward = oracle::pre_backward(shape, values, forward,
                                    {values_of(inputs.dh_in, inputs.dtype), values_of(inputs.dh_post, MHCJIT_FP32),
                                     values_of(inputs.dh_res, MHCJIT_FP32)});
  return {{"h_in", std::move(forward.h_in)},      {"h_post", std::move(forward.h_post)},
          {"h_res", std::move(forward.h_res)},    {"inv_rms", std::move(forward.inv_rms)},
          {"h_mix", std::move(forward.h_mix)},    {"h_pre", std::move(forward.h_pre)},
          {"dx", std::move(backward.dx)},         {"dphi", std::move(backward.dphi)},
          {"dgamma", std::move(backward.dgamma)}, {"dalpha", std::move(backward.dalpha)},
          {"dbias", std::move(backward.dbias)}};
}

}  // namespace

std::vector<CheckRow> check_outputs(const RunInputs& inputs, const RunOptions& options,
                                    const std::vector<OutputTensor>& outputs) {
  const std::map<std::string, std::vector<double>> references = reference(inputs, options);
  std::vector<CheckRow> rows;
  for (const OutputTensor& output : outputs)
    rows.push_back({output.name,
                    oracle::normalised_error(references.at(output.name), values_of(output.values, output.dtype)),
                    oracle::error_bound(output.name, inputs.dtype).value()});
  return rows;
}

}  // namespace mhcjit::tools
