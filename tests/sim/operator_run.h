// Whole operators in the simulator: the launches that a device would get, on guarded buffers.
//
// Stages, grids, arguments and workspace come from the code that launches on a device. Every tensor has its documented
// alignment and no more; outputs and the workspace hold NaN before the run.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/kernel_spec.h"
#include "oracle/pre.h"
#include "unit.h"

namespace mhcjit::sim {

using Tensors = std::map<std::string, std::vector<std::byte>>;

struct Outcome {
  Tensors outputs;    // by name, those that were wanted
  std::string fault;  // "" or what went wrong: in the simulator, outside a buffer, to an input
};

struct RunOptions {
  std::uint64_t seed = 1;
  std::set<std::string> unwanted = {};  // outputs that are passed as NULL
  // pre_backward
  bool accumulate_dx = false;
  bool accumulate_parameters = false;
  Tensors previous = {};  // what the outputs that are accumulated into hold before
};

// How many clusters of a persistent kernel the simulated device runs.
inline constexpr std::uint32_t clusters_at_once = 2;

// A problem with its spec and its kernels.
struct Operator {
  codegen::KernelSpec spec;
  const Unit* unit;
};

// The spec is the one that would be compiled for a device. `problem` is one of those this program was built with.
Operator find_operator(std::string_view problem, codegen::Op op);

oracle::Shape shape_of(const codegen::Problem& problem, std::int64_t tokens);
mhcjit_dtype public_dtype(const codegen::Problem& problem);
std::vector<double> values_of(const Outcome& outcome, std::string_view output, const codegen::Problem& problem);

Outcome run_forward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                    const RunOptions& options = {});

// `forward` holds what is exact in fp32. An empty gradient is passed as NULL.
Outcome run_backward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                     const oracle::Forward& forward, const oracle::OutputGradients& gradients,
                     const RunOptions& options = {});

}  // namespace mhcjit::sim
