// pre_backward: its tensors, as mhcjit/pre_backward.h describes them, and its families.
#include <array>
#include <cstddef>

#include "codegen/operators.h"
#include "codegen/pre_backward/families.h"
#include "templates/pre_backward/args.cuh"

namespace mhcjit::codegen {
namespace {

using Args = mhcjit_pre_backward_args;

// A member's offset in the public struct, and in the kernels' struct.
#define AT(member) offsetof(Args, member), offsetof(PreBackwardArgs, member)

constexpr std::string_view parameters = "accumulate_parameters";

constexpr std::array<Tensor, 16> tensors = {{
    {"x", "T n D", Role::input, true, AT(x)},
    {"phi", "M n D", Role::input, false, AT(phi)},
    {"alpha", "3", Role::input, false, AT(alpha)},
    {"gamma", "n D", Role::input, false, AT(gamma), "", &gamma_option},
    {"inv_rms", "T", Role::input, false, AT(inv_rms)},
    {"h_mix", "T M", Role::input, false, AT(h_mix)},
    {"h_pre", "T n", Role::input, false, AT(h_pre)},
    {"h_post", "T n", Role::input, false, AT(h_post)},
    {"dh_in", "T D", Role::optional_input, true, AT(dh_in)},
    {"dh_post", "T n", Role::optional_input, false, AT(dh_post)},
    {"dh_res", "T n n", Role::optional_input, false, AT(dh_res)},
    {"dx", "T n D", Role::optional_output, true, AT(dx), "accumulate_dx", nullptr, &Problem::has_fp32_dx},
    {"dphi", "M n D", Role::optional_output, false, AT(dphi), parameters},
    {"dgamma", "n D", Role::optional_output, false, AT(dgamma), parameters, &gamma_option},
    {"dalpha", "3", Role::optional_output, false, AT(dalpha), parameters},
    {"dbias", "M", Role::optional_output, false, AT(dbias), parameters},
}};

constexpr std::array<Scalar, 6> scalars = {{
    {"hc_eps", ScalarKind::epsilon, AT(hc_eps)},
    {"post_mult", ScalarKind::factor, AT(post_mult)},
    {"accumulate_dx", ScalarKind::flag, AT(accumulate_dx)},
    {"accumulate_parameters", ScalarKind::flag, AT(accumulate_parameters)},
    {"overlap_previous", ScalarKind::flag, offsetof(Args, overlap_previous)},
    {"reserved", ScalarKind::reserved, offsetof(Args, reserved)},
}};

constexpr std::array<const Family*, 2> families = {&pre_backward_one_pass, &pre_backward_portable};

#undef AT

}  // namespace

constinit const Operator pre_backward = {
    .name = "pre_backward",
    .id = MHCJIT_PRE_BACKWARD,
    .tensors = tensors,
    .scalars = scalars,
    .arguments = {sizeof(Args), offsetof(Args, T), offsetof(Args, workspace), offsetof(Args, workspace_bytes),
                  sizeof(PreBackwardArgs), offsetof(PreBackwardArgs, tokens)},
    .kernel_header = "pre_backward/args.cuh",
    .kernel_arguments = "PreBackwardArgs",
    .families = families,
};

}  // namespace mhcjit::codegen
