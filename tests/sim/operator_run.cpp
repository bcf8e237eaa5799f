#include "operator_run.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "codegen/workspace.h"

#include "oracle/storage.h"
#include "oracle/tensors.h"
#include "problems.h"
#include "runtime/arguments.h"
#include "runtime/kernel_arguments.h"
#include "simulator.h"
#include "support/error.h"
#include "tensor_map.h"
#include "tests/guarded_buffer.h"

namespace mhcjit::sim {
namespace {

// The buffers of one call.
template <typename Args>
class Buffers {
 public:
  Buffers(const codegen::Problem& problem, const RunOptions& options) : problem_(problem), options_(options) {}

  // Points `args` at all tensors and the workspace: NULL for an input without values and an output that is not wanted.
  void fill(Args& args, const oracle::Values& values, std::size_t workspace_bytes) {
    oracle::visit_tensors(shape_of(problem_, args.T), args, [&](const oracle::Tensor& tensor, auto& pointer) {
      oracle::point(pointer, tensor.use == oracle::Use::input ? input(tensor, values) : output(tensor));
    });
    workspace_.emplace_back(workspace_bytes);
    args.workspace = workspace_.back().data();
    args.workspace_bytes = workspace_bytes;
  }

  Outcome outcome(std::string fault) const {
    Outcome outcome = {.outputs = {}, .fault = std::move(fault)};
    const auto blame = [&](const std::string& text) {
      if (outcome.fault.empty()) outcome.fault = text;
    };
    for (const auto& [name, input] : inputs_) {
      if (!input.buffer.intact()) blame(fmt::format("wrote outside {}", name));
      if (!std::ranges::equal(input.buffer.content(), input.content)) blame(fmt::format("wrote into {}", name));
    }
    for (const auto& [name, buffer] : outputs_) {
      if (!buffer.intact()) blame(fmt::format("wrote outside {}", name));
      outcome.outputs[name].assign(buffer.content().begin(), buffer.content().end());
    }
    for (const test::GuardedBuffer& buffer : workspace_)
      if (!buffer.intact()) blame("wrote outside the workspace");
    return outcome;
  }

 private:
  struct Input {
    test::GuardedBuffer buffer;
    std::vector<std::byte> content;
  };

  const void* input(const oracle::Tensor& tensor, const oracle::Values& all_values) {
    const std::span<const double> values = all_values.at(tensor.name);
    if (values.empty()) return nullptr;
    const std::vector<std::byte> content = oracle::to_storage(values, dtype_of(tensor));
    const auto [entry, added] =
        inputs_.try_emplace(tensor.name, Input{test::GuardedBuffer(content, alignment(tensor.name)), content});
    return entry->second.buffer.data();
  }

  const void* output(const oracle::Tensor& tensor) {
    if (options_.unwanted.contains(tensor.name)) return nullptr;
    const bool accumulates =
        std::string_view(tensor.name) == "dx" ? options_.accumulate_dx : options_.accumulate_parameters;
    const std::size_t bytes = tensor.count * oracle::bytes_of(dtype_of(tensor));
    const auto entry =
        accumulates ? outputs_.try_emplace(tensor.name, options_.previous.at(tensor.name), alignment(tensor.name)).first
                    : outputs_.try_emplace(tensor.name, bytes, alignment(tensor.name)).first;
    return entry->second.data();
  }

  mhcjit_dtype dtype_of(const oracle::Tensor& tensor) const {
    return oracle::dtype_of(tensor.name, public_dtype(problem_));
  }

  std::size_t alignment(std::string_view name) const {
    const runtime::TensorArguments tensors = runtime::tensor_arguments(problem_, Args{});
    return std::ranges::find(tensors, name, &runtime::TensorArgument::name)->alignment;
  }

  const codegen::Problem& problem_;
  const RunOptions& options_;
  std::map<std::string, Input> inputs_;
  std::map<std::string, test::GuardedBuffer> outputs_;
  std::vector<test::GuardedBuffer> workspace_;
};

// What the runtime encodes of x for the same launch.
template <typename Args>
TensorShape shape_of_x(const codegen::Problem& problem, const codegen::TensorBox& box, const Args& args) {
  const auto n = static_cast<std::uint32_t>(problem.n);
  const auto d = static_cast<std::uint64_t>(problem.d);
  const auto element_bytes = static_cast<std::uint32_t>(codegen::bytes_of(problem.dtype));
  return {.base = args.x,
          .sizes = {d, static_cast<std::uint64_t>(args.T), n},
          .strides = {n * d * element_bytes, d * element_bytes},
          .box = {static_cast<std::uint32_t>(box.columns), static_cast<std::uint32_t>(box.tokens),
                  static_cast<std::uint32_t>(box.streams)},
          .element_bytes = element_bytes,
          .swizzle_bytes = static_cast<std::uint32_t>(box.columns) * element_bytes};
}

// On a device with few multiprocessors: what steps through the tokens steps often, and groups of few tokens are as full
// as they can be.
codegen::Grid small_grid(const codegen::KernelSpec& spec, const codegen::StagePlan& stage, std::int64_t tokens) {
  constexpr std::uint32_t tokens_of_group = 16;  // in pre_forward_few_tokens.cuh
  codegen::Grid grid = codegen::grid_of(spec, stage.stage, tokens);
  const std::uint32_t cluster_size = grid.cluster_size;
  const auto groups = (static_cast<std::uint32_t>(tokens) + tokens_of_group - 1) / tokens_of_group;
  if (stage.is_persistent) grid.x = std::min(grid.x, clusters_at_once * cluster_size);
  if (stage.stage == codegen::Stage::few_tokens) grid.x = std::min(grid.x, groups * cluster_size);
  return grid;
}

// Returns the first fault.
template <typename Args>
std::string launch(const Operator& op, const Args& args, std::uint64_t seed) {
  const std::string name = codegen::to_string(op.spec.problem);
  const runtime::Call call = {name, op.spec.problem, codegen::workspace_bytes(op.spec, args.T)};
  if (auto error = runtime::check_arguments(call, args, runtime::tensor_arguments(op.spec.problem, args)))
    return take_failure(std::move(error)).text;

  const auto kernel_args = runtime::kernel_arguments(op.spec, args);
  for (const codegen::StagePlan& stage : codegen::stages(op.spec)) {
    if (!stage.serves(args.T) || !runtime::is_needed(stage.stage, args)) continue;
    const auto entry = std::ranges::find(op.unit->entries, stage.entry(), &Entry::name);
    const codegen::Grid grid = small_grid(op.spec, stage, args.T);
    const Launch launch = {.kernel = stage.name,
                           .grid_x = grid.x,
                           .grid_y = grid.y,
                           .threads_per_block = stage.threads_per_block,
                           .shared_bytes = static_cast<std::size_t>(stage.dynamic_smem_bytes),
                           .seed = seed,
                           .cluster_size = std::max(1, static_cast<int>(grid.cluster_size))};
    alignas(64) std::array<std::byte, tensor_map_bytes> map = {};
    if (stage.takes_tensor_map()) {
      std::string refused = encode(shape_of_x(op.spec.problem, stage.box, args), map.data());
      if (!refused.empty()) return refused;
    }
    const std::string fault = run(launch, [&] { entry->call(&kernel_args, map.data()); });
    if (!fault.empty()) return fault;
  }
  return "";
}

}  // namespace

Operator find_operator(std::string_view problem, codegen::Op op) {
  const auto unit = std::ranges::find_if(units(), [&](const Unit* candidate) {
    return candidate->problem == problem && candidate->op == codegen::to_string(op);
  });
  return {llvm::cantFail(parse_spec(problem, op)), *unit};
}

oracle::Shape shape_of(const codegen::Problem& problem, std::int64_t tokens) {
  return {.T = tokens, .n = problem.n, .D = problem.d, .has_gamma = problem.has_gamma};
}

mhcjit_dtype public_dtype(const codegen::Problem& problem) { return static_cast<mhcjit_dtype>(problem.dtype); }

std::vector<double> values_of(const Outcome& outcome, std::string_view output, const codegen::Problem& problem) {
  const std::vector<std::byte>& bytes = outcome.outputs.at(std::string(output));
  const mhcjit_dtype dtype = oracle::dtype_of(output, public_dtype(problem));
  const std::size_t count = bytes.size() / oracle::bytes_of(dtype);
  return oracle::from_storage(bytes.data(), static_cast<std::int64_t>(count), dtype);
}

Outcome run_forward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs, const RunOptions& options) {
  Buffers<mhcjit_pre_forward_args> buffers(op.spec.problem, options);
  mhcjit_pre_forward_args args = {};
  args.T = tokens;
  args.norm_eps = static_cast<float>(inputs.norm_eps);
  args.hc_eps = static_cast<float>(inputs.hc_eps);
  args.post_mult = static_cast<float>(inputs.post_mult);
  buffers.fill(args, oracle::values_of(inputs), codegen::workspace_bytes(op.spec, tokens));
  return buffers.outcome(launch(op, args, options.seed));
}

Outcome run_backward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                     const oracle::Forward& forward, const oracle::OutputGradients& gradients,
                     const RunOptions& options) {
  Buffers<mhcjit_pre_backward_args> buffers(op.spec.problem, options);
  mhcjit_pre_backward_args args = {};
  args.T = tokens;
  args.hc_eps = static_cast<float>(inputs.hc_eps);
  args.accumulate_dx = options.accumulate_dx;
  args.accumulate_parameters = options.accumulate_parameters;
  args.post_mult = static_cast<float>(inputs.post_mult);
  buffers.fill(args, oracle::values_of(inputs, forward, gradients), codegen::workspace_bytes(op.spec, tokens));
  return buffers.outcome(launch(op, args, options.seed));
}

}  // namespace mhcjit::sim
