#include "runtime/cpu/operators.h"

#include <algorithm>
#include <array>

#include "codegen/operators.h"
#include "runtime/cpu/pre_backward.h"
#include "runtime/cpu/pre_forward.h"

namespace mhcjit::runtime::cpu {
namespace {

const std::array<Implementation, 2> list = {{
    {&codegen::pre_forward, [](const codegen::Problem&, std::int64_t) { return std::size_t{0}; },
     [](const codegen::Problem& problem, const void* args, unsigned threads) {
       pre_forward(problem, *static_cast<const mhcjit_pre_forward_args*>(args), threads);
     }},
    {&codegen::pre_backward, pre_backward_workspace_bytes,
     [](const codegen::Problem& problem, const void* args, unsigned threads) {
       pre_backward(problem, *static_cast<const mhcjit_pre_backward_args*>(args), threads);
     }},
}};

}  // namespace

const Implementation* find_implementation(const codegen::Operator& op) {
  const auto found = std::ranges::find(list, &op, &Implementation::op);
  return found == list.end() ? nullptr : &*found;
}

}  // namespace mhcjit::runtime::cpu
