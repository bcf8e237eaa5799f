#include "oracle/random_inputs.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "oracle/storage.h"

namespace mhcjit::oracle {
namespace {

// The numbers are part of what a seed means.
enum class Stream : std::uint32_t { x = 1, phi, bias, gamma, dh_in, dh_post, dh_res };

// Close to N(0, 1): the sum of twelve uniform numbers less its mean (variance 1, excess kurtosis -0.1). Unlike
// std::normal_distribution, or anything that calls log and cos, whole numbers give the same bits everywhere.
class Normal {
 public:
  Normal(std::uint64_t seed, Stream stream) {
    std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                           static_cast<std::uint32_t>(stream)};
    engine_.seed(sequence);
  }

  double operator()() {
    std::int64_t sum = 0;
    for (int draw = 0; draw < 3; ++draw) {
      const std::uint64_t bits = engine_();
      for (int part = 0; part < 64; part += 16) sum += static_cast<std::int64_t>((bits >> part) & 0xffff);
    }
    constexpr std::int64_t mean = 12 * 0xffff / 2;
    return static_cast<double>(sum - mean) * 0x1p-16;
  }

 private:
  std::mt19937_64 engine_;
};

std::vector<double> draw(const RandomOptions& options, Stream stream, std::int64_t count, double mean, double deviation,
                         mhcjit_dtype dtype) {
  Normal normal(options.seed, stream);
  std::vector<double> values(static_cast<std::size_t>(count));
  for (double& value : values) {
    // Two statements, so that no compiler fuses the product and the sum into one rounding.
    const double scaled = round_to(deviation * normal(), MHCJIT_FP32);
    value = round_to(mean + scaled, dtype);
  }
  return values;
}

}  // namespace

Inputs random_inputs(const RandomOptions& options) {
  const Shape& shape = options.shape;
  const double phi_deviation = 1.0 / std::sqrt(static_cast<double>(shape.columns()));
  Inputs inputs;
  inputs.x = draw(options, Stream::x, shape.T * shape.columns(), 0.0, options.x_std, options.dtype);
  inputs.phi = draw(options, Stream::phi, shape.rows() * shape.columns(), 0.0, phi_deviation, MHCJIT_FP32);
  for (const double alpha : options.alpha) inputs.alpha.push_back(round_to(alpha, MHCJIT_FP32));
  inputs.bias = draw(options, Stream::bias, shape.rows(), 0.0, 0.1, MHCJIT_FP32);
  if (shape.has_gamma) inputs.gamma = draw(options, Stream::gamma, shape.columns(), 1.0, 0.1, MHCJIT_FP32);
  // As the fp32 run-time arguments that implementations take.
  inputs.norm_eps = round_to(inputs.norm_eps, MHCJIT_FP32);
  inputs.hc_eps = round_to(inputs.hc_eps, MHCJIT_FP32);
  inputs.post_mult = round_to(options.post_mult, MHCJIT_FP32);
  return inputs;
}

OutputGradients random_output_gradients(const RandomOptions& options) {
  const Shape& shape = options.shape;
  OutputGradients gradients;
  gradients.dh_in = draw(options, Stream::dh_in, shape.T * shape.D, 0.0, 1.0, options.dtype);
  gradients.dh_post = draw(options, Stream::dh_post, shape.T * shape.n, 0.0, 1.0, MHCJIT_FP32);
  gradients.dh_res = draw(options, Stream::dh_res, shape.T * shape.n * shape.n, 0.0, 1.0, MHCJIT_FP32);
  return gradients;
}

}  // namespace mhcjit::oracle
