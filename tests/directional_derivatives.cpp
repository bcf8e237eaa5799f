#include "tests/directional_derivatives.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "oracle/compare.h"
#include "oracle/random_inputs.h"

namespace mhcjit::test {
namespace {

constexpr int directions = 3;
// Relative to the size of an element; a difference in float64 is then good to about 1e-9.
constexpr double step = 1e-5;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double root_mean_square(const std::vector<double>& values) {
  return std::sqrt(dot(values, values) / static_cast<double>(values.size()));
}

double loss(const oracle::Shape& shape, const oracle::Inputs& inputs, const oracle::OutputGradients& gradients) {
  const oracle::Forward forward = oracle::pre_forward(shape, inputs);
  return dot(gradients.dh_in, forward.h_in) + dot(gradients.dh_post, forward.h_post) +
         dot(gradients.dh_res, forward.h_res);
}

std::vector<double> normal(std::size_t count, std::uint64_t seed) {
  oracle::RandomOptions options;
  options.shape = {.T = 1, .n = 1, .D = static_cast<std::int64_t>(count)};
  options.dtype = MHCJIT_FP32;
  options.seed = seed;
  return oracle::random_inputs(options).x;
}

// The error of the gradient is at most its own bound and, since it is a sum of products with them, that of each of the
// four tensors that forward saved.
double relative_bound(std::string_view gradient, oracle::DTypes dtypes) {
  double bound = oracle::error_bound(gradient, dtypes).value();
  for (const std::string_view saved : {"inv_rms", "h_mix", "h_pre", "h_post"})
    bound += oracle::error_bound(saved, dtypes).value();
  return bound;
}

// The size of what the gradient's error is relative to. dalpha's three sums may cancel: of n terms a token each is then
// as wrong as a sum that does not.
double size_of(std::string_view gradient, const std::vector<double>& values, const oracle::Shape& shape,
               const oracle::Backward& expected) {
  const double size = std::sqrt(dot(values, values));
  if (gradient != "dalpha") return size;
  return std::max(size, expected.dalpha_terms / std::sqrt(static_cast<double>(shape.T) * shape.n));
}

}  // namespace

std::string wrong_derivatives(const oracle::Shape& shape, const oracle::Inputs& inputs,
                              const oracle::OutputGradients& output_gradients, oracle::DTypes dtypes,
                              const GradientValues& gradient) {
  struct Pair {
    const char* gradient;
    std::vector<double> oracle::Inputs::* tensor;
  };
  const oracle::Backward backward =
      oracle::pre_backward(shape, inputs, oracle::pre_forward(shape, inputs), output_gradients);
  std::string wrong;
  std::uint64_t seed = 1000;
  for (const auto& [name, tensor] :
       {Pair{"dx", &oracle::Inputs::x}, Pair{"dphi", &oracle::Inputs::phi}, Pair{"dgamma", &oracle::Inputs::gamma},
        Pair{"dalpha", &oracle::Inputs::alpha}, Pair{"dbias", &oracle::Inputs::bias}}) {
    const std::vector<double>& at = inputs.*tensor;
    if (at.empty()) continue;
    const std::vector<double> values = gradient(name);
    const double size = root_mean_square(at);
    // Along a normal direction the error of the sum is normal, with the size of the tensor's error; four deviations.
    const double tolerance = 4.0 * relative_bound(name, dtypes) * size_of(name, values, shape, backward) * size;
    for (int direction = 0; direction < directions; ++direction) {
      const std::vector<double> along = normal(at.size(), seed++);
      const auto loss_at = [&](double distance) {
        oracle::Inputs moved = inputs;
        for (std::size_t i = 0; i < at.size(); ++i) (moved.*tensor)[i] += distance * size * along[i];
        return loss(shape, moved, output_gradients);
      };
      const double expected = (loss_at(step) - loss_at(-step)) / (2.0 * step);
      const double found = size * dot(values, along);
      if (std::abs(found - expected) <= tolerance) continue;
      wrong += fmt::format("{} along direction {}: {:.7g}, by differences {:.7g}, tolerance {:.2g}\n", name, direction,
                           found, expected, tolerance);
    }
  }
  return wrong;
}

}  // namespace mhcjit::test
