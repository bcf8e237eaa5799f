// Checks what examples/embed printed against the float64 oracle: a library that installs, links and runs but computes
// something else must not pass. Each line after the first is a tensor's name and three of its values.
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "oracle/compare.h"
#include "oracle/pre.h"

namespace {

using namespace mhcjit::oracle;

// The inputs of examples/embed.cpp: the same generator, in the same order.
std::vector<double> random_values(std::size_t size, float largest) {
  static std::mt19937 generator(20251224);
  std::vector<double> values(size);
  for (double& value : values) value = largest * (static_cast<float>(generator() >> 8) * 0x1p-23F - 1.0F);
  return values;
}

std::map<std::string, std::vector<double>> expected_tensors() {
  const Shape shape = {.T = 64, .n = 4, .D = 256, .has_gamma = false};
  const auto T = static_cast<std::size_t>(shape.T), D = static_cast<std::size_t>(shape.D);
  const auto n = static_cast<std::size_t>(shape.n), M = static_cast<std::size_t>(shape.rows());
  Inputs inputs;
  inputs.x = random_values(T * n * D, 2);
  inputs.phi = random_values(M * n * D, 0.05F);
  inputs.bias = random_values(M, 0.2F);
  inputs.alpha = {1.1F, 0.9F, 1.05F};
  OutputGradients gradients;
  gradients.dh_in = random_values(T * D, 1);
  gradients.dh_post = random_values(T * n, 1);
  gradients.dh_res = random_values(T * n * n, 1);
  const Forward forward = pre_forward(shape, inputs);
  const Backward backward = pre_backward(shape, inputs, forward, gradients);
  return {{"h_in", forward.h_in},  {"h_post", forward.h_post},  {"h_res", forward.h_res}, {"dx", backward.dx},
          {"dphi", backward.dphi}, {"dalpha", backward.dalpha}, {"dbias", backward.dbias}};
}

// The values of `tensor` that embed prints.
std::vector<double> shown(const std::vector<double>& tensor) {
  return {tensor.front(), tensor[tensor.size() / 2], tensor.back()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_embed OUTPUT_OF_EMBED\n");
    return 2;
  }
  auto expected = expected_tensors();
  std::ifstream file(argv[1]);
  std::string line;
  std::getline(file, line);
  bool ok = true;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    std::vector<double> values;
    for (double value = 0; words >> value;) values.push_back(value);
    const auto tensor = expected.extract(name);
    if (tensor.empty()) {
      std::fprintf(stderr, "'%s' is not a tensor, or is printed twice\n", line.c_str());
      return 1;
    }
    const double error = normalised_error(shown(tensor.mapped()), values);
    const double bound = error_bound(name, MHCJIT_FP32).value();
    std::printf("%-7s error %.2g, bound %.2g\n", name.c_str(), error, bound);
    ok &= error <= bound;
  }
  for (const auto& [name, values] : expected) std::fprintf(stderr, "%s is missing\n", name.c_str());
  return ok && expected.empty() ? 0 : 1;
}
