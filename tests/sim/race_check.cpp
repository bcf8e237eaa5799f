// race_check [--delete FILE:LINE]: runs forward and backward on one tiny problem with a thread for each CUDA thread,
// and lists the barriers that the kernels reached, a line each. Built with ThreadSanitizer, which ends the process
// with exit code 66 when it sees a race. Exit code 1: the results are wrong. With --delete the kernels run as if that
// barrier did not stand in them, and results are not looked at.
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

#include "operator_run.h"
#include "oracle/compare.h"
#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "threads.h"

namespace {

using namespace mhcjit;

constexpr std::int64_t tokens = 3;

bool is_close(const sim::Operator& op, const sim::Outcome& outcome, const std::string& name,
              const std::vector<double>& reference) {
  const codegen::Problem& problem = op.spec.problem;
  const std::vector<double> values = oracle::from_storage(
      outcome.outputs.at(name).data(), static_cast<std::int64_t>(reference.size()), sim::dtype_of(name, problem));
  const double error = oracle::normalised_error(reference, values);
  if (error <= *oracle::error_bound(name, sim::public_dtype(problem))) return true;
  fmt::print(stderr, "{}: error {}\n", name, error);
  return false;
}

bool run_both(std::string_view problem) {
  const sim::Operator forward_op = sim::find_operator(problem, codegen::Op::pre_forward);
  const sim::Operator backward_op = sim::find_operator(problem, codegen::Op::pre_backward);
  const oracle::RandomOptions options = {.shape = sim::shape_of(forward_op.spec.problem, tokens),
                                         .dtype = sim::public_dtype(forward_op.spec.problem)};
  const oracle::Inputs inputs = oracle::random_inputs(options);
  const oracle::OutputGradients gradients = oracle::random_output_gradients(options);
  // One thread: the oracle is not what is checked for races.
  const oracle::Forward forward = oracle::pre_forward(options.shape, inputs, 1);
  const oracle::Backward backward = oracle::pre_backward(options.shape, inputs, forward, gradients, 1);

  const sim::Outcome first = sim::run_forward(forward_op, tokens, inputs);
  const sim::Outcome second = sim::run_backward(backward_op, tokens, inputs, forward, gradients);
  fmt::print(stderr, "{}{}", first.fault, second.fault);
  return first.fault.empty() && second.fault.empty() && is_close(forward_op, first, "h_in", forward.h_in) &&
         is_close(forward_op, first, "h_res", forward.h_res) && is_close(backward_op, second, "dx", backward.dx) &&
         is_close(backward_op, second, "dphi", backward.dphi) &&
         is_close(backward_op, second, "dgamma", backward.dgamma) &&
         is_close(backward_op, second, "dalpha", backward.dalpha);
}

}  // namespace

int main(int argc, char** argv) {
  const bool deletes = argc == 3 && std::string_view(argv[1]) == "--delete";
  if (deletes) mhcjit::sim::delete_barrier(argv[2]);
  const bool right = run_both(mhcjit::sim::units().front()->problem);
  for (const std::string& name : mhcjit::sim::barriers_reached()) fmt::print("{}\n", name);
  return right || deletes ? 0 : 1;
}
