#include "codegen/heuristic.h"

#include "codegen/few_tokens.h"
#include "codegen/one_pass.h"
#include "codegen/portable_forward.h"
#include "support/error.h"

namespace mhcjit::codegen {

namespace {

double backward_cost(const KernelSpec& spec) {
  // Each block of rows reads x again, mostly from the L2 cache: about as long as six multiply-adds an element.
  constexpr double reread = 6.0;
  // A value of phi read from shared memory serves the tokens of a warp; a value of x converted from its storage type
  // serves the rows of a thread: about two instructions for each.
  constexpr double conversion = 2.0;
  const double multiply_adds = spec.padded_rows() * (1.0 + conversion / spec.rows_per_thread);
  return multiply_adds + reread * spec.row_blocks;
}

}  // namespace

double estimated_cost(const KernelSpec& spec) {
  switch (spec.kernel_template) {
    case KernelTemplate::two_pass: return portable_forward_cost(spec);
    case KernelTemplate::portable:
      return spec.problem.op == Op::pre_forward ? portable_forward_cost(spec) : backward_cost(spec);
    case KernelTemplate::one_pass: return one_pass_cost(spec);
    case KernelTemplate::few_tokens: return few_tokens_cost(spec);
  }
  return 0.0;
}

namespace {

// The legal candidate of least cost, or no value and the reason why the last one was rejected.
std::optional<KernelSpec> best_of(const Problem& problem, KernelTemplate kernel_template, std::string& reason) {
  std::optional<KernelSpec> best;
  for (const Candidate& candidate : candidates(problem, kernel_template)) {
    if (!candidate.legal())
      reason = candidate.rejected;
    else if (!best || estimated_cost(candidate.spec) < estimated_cost(*best))
      best = candidate.spec;
  }
  return best;
}

}  // namespace

llvm::Expected<KernelSpec> choose_spec(const Problem& problem, std::optional<KernelTemplate> wanted) {
  if (auto error = check(problem)) return error;
  std::string reason;
  if (wanted) {
    auto best = best_of(problem, *wanted, reason);
    if (best) return *best;
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: no kernel of template {} fits: {}", to_string(problem),
                      to_string(*wanted), reason);
  }
  // Where several fit, their costs are in one unit. The portable one always fits.
  std::optional<KernelSpec> best = best_of(problem, KernelTemplate::two_pass, reason);
  const std::optional<KernelSpec> one_pass = best_of(problem, KernelTemplate::one_pass, reason);
  if (one_pass && (!best || estimated_cost(*one_pass) < estimated_cost(*best))) best = one_pass;
  if (best) add_few_tokens(*best);
  // A problem has three kernels at most, which the portable ones of pre_forward are by themselves. What few tokens gain
  // by a kernel of their own is more than many may lose by the others'.
  if (best && best->few_max_tokens > 0) return *best;
  const std::optional<KernelSpec> portable = best_of(problem, KernelTemplate::portable, reason);
  return best && estimated_cost(*best) < estimated_cost(*portable) ? *best : *portable;
}

}  // namespace mhcjit::codegen
