// Whole operators in the simulator: the launches that a device would get, on guarded buffers.
//
// Kernels, grids, arguments, workspace and tensor maps come from the plan and the operator's table, as on a device.
// Every tensor has its documented alignment and no more, unless more is asked for; outputs and the workspace hold NaN
// before the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/operators.h"
#include "codegen/plan.h"
#include "oracle/tensors.h"
#include "unit.h"

namespace mhcjit::sim {

using Tensors = std::map<std::string, std::vector<std::byte>, std::less<>>;
using Names = std::set<std::string, std::less<>>;

struct Outcome {
  Tensors outputs;    // by name, those that were wanted
  std::string fault;  // "" or what went wrong: in the simulator, outside a buffer, to an input
};

struct RunOptions {
  std::uint64_t seed = 1;
  Names unwanted = {};              // outputs that are passed as NULL
  Names flags = {};                 // that are 1: "accumulate_dx"
  Tensors previous = {};            // what the outputs that are accumulated into hold before
  std::size_t least_alignment = 1;  // of every tensor, up to 64: an allocator gives more than is documented
};

// A plan of a problem with its kernels, and what it is simulated on: a device with few multiprocessors.
struct Operator {
  codegen::PlanPtr plan;
  const Unit* unit;
  codegen::Device device;

  const codegen::Problem& problem() const { return plan->problem(); }
};

// `problem` is one of those this program was built with.
Operator find_operator(std::string_view problem, const codegen::Operator& op);

oracle::Shape shape_of(const codegen::Problem& problem, std::int64_t tokens);
mhcjit_dtype public_dtype(codegen::DType dtype);
mhcjit_dtype dtype_of(const codegen::Problem& problem, std::string_view tensor);
std::vector<double> values_of(const Outcome& outcome, std::string_view output, const codegen::Problem& problem);

// The arguments of a call, by name.
struct Call {
  std::int64_t tokens = 0;
  oracle::Values inputs;                       // an empty one is passed as NULL
  std::map<std::string_view, double> scalars;  // at least those of the operator that are no flags
};

Outcome run(const Operator& op, const Call& call, const RunOptions& options = {});

Outcome run_forward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                    const RunOptions& options = {});

// `forward` holds what is exact in fp32.
Outcome run_backward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                     const oracle::Forward& forward, const oracle::OutputGradients& gradients,
                     const RunOptions& options = {});

}  // namespace mhcjit::sim
