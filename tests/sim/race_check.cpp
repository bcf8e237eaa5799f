// race_check PROBLEM TOKENS [PROBLEM TOKENS...] [--delete FILE:LINE...]: runs every operator that this program has of
// the problem on that many tokens, with a thread for each CUDA thread, and lists where the kernels met, arrived or
// waited, a line each.
// Built with ThreadSanitizer, which ends the process with exit code 66 when it sees a race. Exit code 67: a fault or a
// dead lock; 1: the results are wrong; 2: usage. With --delete the kernels run as if nothing stood at those places, and
// results are not looked at.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "operator_run.h"
#include "oracle/outputs.h"
#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "threads.h"

namespace {

using namespace mhcjit;

bool is_right(const sim::Operator& op, const sim::Outcome& outcome, const std::vector<oracle::Reference>& references) {
  bool right = true;
  const codegen::Problem& problem = op.problem();
  for (const oracle::Reference& reference : references) {
    const oracle::Comparison comparison =
        oracle::compare(reference, sim::values_of(outcome, reference.name, problem), sim::public_dtype(problem.dtype));
    if (comparison.ok()) continue;
    fmt::print(stderr, "{}: {}\n", reference.name, to_string(comparison));
    right = false;
  }
  return right;
}

// One thread: the oracle is not what is checked for races.
constexpr int oracle_threads = 1;

bool run_forward(const sim::Operator& op, const oracle::RandomOptions& options) {
  const oracle::Inputs inputs = oracle::random_inputs(options);
  const oracle::Forward forward = oracle::pre_forward(options.shape, inputs, oracle_threads);
  const sim::Outcome outcome = sim::run_forward(op, options.shape.T, inputs);
  fmt::print(stderr, "{}", outcome.fault);
  return outcome.fault.empty() && is_right(op, outcome, oracle::outputs_of(options.shape, forward));
}

bool run_backward(const sim::Operator& op, const oracle::RandomOptions& options) {
  const oracle::Inputs inputs = oracle::random_inputs(options);
  const oracle::OutputGradients gradients = oracle::random_output_gradients(options);
  const oracle::Forward forward = oracle::pre_forward(options.shape, inputs, oracle_threads);
  const oracle::Backward backward = oracle::pre_backward(options.shape, inputs, forward, gradients, oracle_threads);
  // Tensors that stand at multiples of 16 bytes are copied in bulk, others by threads; dx is added to as well.
  bool right = true;
  for (const bool accumulates : {false, true}) {
    sim::RunOptions run_options = {.least_alignment = accumulates ? 16u : 1u};
    if (accumulates) {
      run_options.flags = {"accumulate_dx"};
      run_options.previous["dx"] =
          oracle::to_storage(std::vector<double>(backward.dx.size()), sim::dtype_of(op.problem(), "dx"));
    }
    const sim::Outcome outcome = sim::run_backward(op, options.shape.T, inputs, forward, gradients, run_options);
    fmt::print(stderr, "{}", outcome.fault);
    right = right && outcome.fault.empty() && is_right(op, outcome, oracle::outputs_of(options.shape, backward));
  }
  return right;
}

struct Check {
  const codegen::Operator* op;
  bool (*run)(const sim::Operator&, const oracle::RandomOptions&);
};
constexpr Check checks[] = {{&codegen::pre_forward, run_forward}, {&codegen::pre_backward, run_backward}};

bool run_all(std::string_view problem, std::int64_t tokens) {
  bool right = true;
  for (const sim::Unit* unit : sim::units()) {
    if (unit->problem != problem) continue;
    const Check& check = *std::ranges::find(checks, unit->op, [](const Check& one) { return one.op->name; });
    sim::Operator op = sim::find_operator(problem, *check.op);
    // The blocks of one group: more threads than that would wait seconds for a processor.
    for (const codegen::Kernel& kernel : op.plan->kernels())
      if (kernel.is_cooperative) op.device.multiprocessors = kernel.min_blocks;
    const oracle::RandomOptions options = {.shape = sim::shape_of(op.problem(), tokens),
                                           .dtype = sim::public_dtype(op.problem().dtype)};
    right = check.run(op, options) && right;
  }
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  const auto option = std::ranges::find(arguments, "--delete");
  const std::span problems(arguments.begin(), option);
  const bool deletes = option != arguments.end();
  if (problems.empty() || problems.size() % 2 != 0) {
    fmt::print(stderr, "usage: {} PROBLEM TOKENS [PROBLEM TOKENS...] [--delete FILE:LINE...]\n", argv[0]);
    return 2;
  }
  if (deletes)
    for (auto place = option + 1; place != arguments.end(); ++place) mhcjit::sim::delete_barrier(std::string(*place));
  bool right = true;
  for (std::size_t i = 0; i < problems.size(); i += 2)
    right = run_all(problems[i], std::strtoll(problems[i + 1].data(), nullptr, 10)) && right;
  for (const std::string& name : mhcjit::sim::barriers_reached()) fmt::print("{}\n", name);
  return right || deletes ? 0 : 1;
}
