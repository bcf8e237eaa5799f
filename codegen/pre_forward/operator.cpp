// pre_forward: its tensors, as mhcjit/pre_forward.h describes them, and its families.
#include <array>
#include <cstddef>

#include "codegen/operators.h"
#include "codegen/pre_forward/families.h"
#include "support/error.h"
#include "templates/pre_forward/args.cuh"

namespace mhcjit::codegen {
namespace {

using Args = mhcjit_pre_forward_args;

// A member's offset in the public struct, and in the kernels' struct.
#define AT(member) offsetof(Args, member), offsetof(PreForwardArgs, member)

constexpr std::array<Tensor, 11> tensors = {{
    {"x", "T n D", Role::input, true, AT(x)},
    {"phi", "M n D", Role::input, false, AT(phi)},
    {"alpha", "3", Role::input, false, AT(alpha)},
    {"bias", "M", Role::input, false, AT(bias)},
    {"gamma", "n D", Role::input, false, AT(gamma), "", &gamma_option},
    {"h_in", "T D", Role::output, true, AT(h_in)},
    {"h_post", "T n", Role::output, false, AT(h_post)},
    {"h_res", "T n n", Role::output, false, AT(h_res)},
    {"inv_rms", "T", Role::optional_output, false, AT(inv_rms)},
    {"h_mix", "T M", Role::optional_output, false, AT(h_mix)},
    {"h_pre", "T n", Role::optional_output, false, AT(h_pre)},
}};

constexpr std::array<Scalar, 4> scalars = {{
    {"norm_eps", ScalarKind::epsilon, AT(norm_eps)},
    {"hc_eps", ScalarKind::epsilon, AT(hc_eps)},
    {"post_mult", ScalarKind::factor, AT(post_mult)},
    {"overlap_previous", ScalarKind::flag, offsetof(Args, overlap_previous)},
}};

constexpr std::array<const Family*, 3> families = {&pre_forward_one_pass, &pre_forward_few_tokens,
                                                   &pre_forward_two_pass};

#undef AT

}  // namespace

constinit const Operator pre_forward = {
    .name = "pre_forward",
    .id = MHCJIT_PRE_FORWARD,
    .tensors = tensors,
    .scalars = scalars,
    .arguments = {sizeof(Args), offsetof(Args, T), offsetof(Args, workspace), offsetof(Args, workspace_bytes),
                  sizeof(PreForwardArgs), offsetof(PreForwardArgs, tokens)},
    .kernel_header = "pre_forward/args.cuh",
    .kernel_arguments = "PreForwardArgs",
    .families = families,
};

double floor_clocks(const Problem& problem, std::int64_t tokens, const Device& device) {
  const double columns = static_cast<double>(problem.columns());
  const double x_bytes = static_cast<double>(tokens) * columns * bytes_of(problem.dtype);
  const double phi_bytes = 4.0 * problem.rows() * columns;
  return (x_bytes * (1.0 + 1.0 / problem.n) + phi_bytes) / device.bytes_per_clock;
}

}  // namespace mhcjit::codegen
