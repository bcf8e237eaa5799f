// Checks what examples/embed printed against the float64 oracle: a library that installs, links and runs but computes
// something else must not pass. Each line after the first is a tensor's name and three of its values.
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "oracle/outputs.h"
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

struct Expected {
  Shape shape = {.T = 64, .n = 4, .D = 256, .has_gamma = false};
  Forward forward;
  Backward backward;
};

Expected expected_outputs() {
  Expected expected;
  const Shape& shape = expected.shape;
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
  expected.forward = pre_forward(shape, inputs);
  expected.backward = pre_backward(shape, inputs, expected.forward, gradients);
  return expected;
}

// The values of `tensor` that embed prints.
std::vector<double> shown(std::span<const double> tensor) {
  return {tensor.front(), tensor[tensor.size() / 2], tensor.back()};
}

constexpr const char* saved_only[] = {"inv_rms", "h_mix", "h_pre"};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_embed OUTPUT_OF_EMBED\n");
    return 2;
  }
  const Expected expected = expected_outputs();
  std::map<std::string, Reference> missing;
  for (const auto& outputs :
       {outputs_of(expected.shape, expected.forward), outputs_of(expected.shape, expected.backward)})
    for (const Reference& output : outputs) missing.emplace(output.name, output);
  for (const char* name : saved_only) missing.erase(name);
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
    const auto tensor = missing.extract(name);
    if (tensor.empty()) {
      std::fprintf(stderr, "'%s' is not a tensor, or is printed twice\n", line.c_str());
      return 1;
    }
    Reference& output = tensor.mapped();
    const std::vector<double> wanted = shown(output.values);
    output.values = wanted;
    // Each of the three is of another token.
    if (output.row_size > 0) output.row_size = 1, output.least_norm = 0.0;
    const Comparison comparison = compare(output, values, MHCJIT_FP32);
    std::printf("%-7s %s\n", name.c_str(), to_string(comparison).c_str());
    ok &= comparison.ok();
  }
  for (const auto& [name, output] : missing) std::fprintf(stderr, "%s is missing\n", name.c_str());
  return ok && missing.empty() ? 0 : 1;
}
