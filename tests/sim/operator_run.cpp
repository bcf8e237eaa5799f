#include "operator_run.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "codegen/workspace.h"
#include "guarded_buffer.h"
#include "oracle/storage.h"
#include "problems.h"
#include "runtime/arguments.h"
#include "runtime/kernel_arguments.h"
#include "simulator.h"
#include "support/error.h"
#include "tensor_map.h"

namespace mhcjit::sim {
namespace {

// The buffers of one call.
template <typename Args>
class Buffers {
 public:
  Buffers(const codegen::Problem& problem, const RunOptions& options) : problem_(problem), options_(options) {}

  // NULL for an empty tensor.
  template <typename T>
  const T* input(const std::string& name, const std::vector<double>& values) {
    if (values.empty()) return nullptr;
    const std::vector<std::byte> content = oracle::to_storage(values, dtype_of(name, problem_));
    const auto [entry, added] = inputs_.try_emplace(name, Input{GuardedBuffer(content, alignment(name)), content});
    return entry->second.buffer.template as<T>();
  }

  template <typename T>
  T* output(const std::string& name, std::int64_t count, bool accumulate = false) {
    if (count == 0 || options_.unwanted.contains(name)) return nullptr;
    const std::size_t bytes = count * oracle::bytes_of(dtype_of(name, problem_));
    const auto entry = accumulate ? outputs_.try_emplace(name, options_.previous.at(name), alignment(name)).first
                                  : outputs_.try_emplace(name, bytes, alignment(name)).first;
    return entry->second.template as<T>();
  }

  void add_workspace(Args& args, std::size_t bytes) {
    workspace_.emplace_back(bytes);
    args.workspace = workspace_.back().data();
    args.workspace_bytes = bytes;
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
    for (const GuardedBuffer& buffer : workspace_)
      if (!buffer.intact()) blame("wrote outside the workspace");
    return outcome;
  }

 private:
  struct Input {
    GuardedBuffer buffer;
    std::vector<std::byte> content;
  };

  std::size_t alignment(std::string_view name) const {
    const runtime::TensorArguments tensors = runtime::tensor_arguments(problem_, Args{});
    return std::ranges::find(tensors, name, &runtime::TensorArgument::name)->alignment;
  }

  const codegen::Problem& problem_;
  const RunOptions& options_;
  std::map<std::string, Input> inputs_;
  std::map<std::string, GuardedBuffer> outputs_;
  std::vector<GuardedBuffer> workspace_;
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

mhcjit_dtype dtype_of(std::string_view tensor, const codegen::Problem& problem) {
  const bool is_element = tensor == "x" || tensor == "h_in" || tensor == "dh_in" || tensor == "dx";
  return is_element ? public_dtype(problem) : MHCJIT_FP32;
}

Outcome run_forward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs, const RunOptions& options) {
  const codegen::Problem& problem = op.spec.problem;
  Buffers<mhcjit_pre_forward_args> buffers(problem, options);
  mhcjit_pre_forward_args args = {
      .x = buffers.input<void>("x", inputs.x),
      .phi = buffers.input<float>("phi", inputs.phi),
      .alpha = buffers.input<float>("alpha", inputs.alpha),
      .bias = buffers.input<float>("bias", inputs.bias),
      .gamma = buffers.input<float>("gamma", inputs.gamma),
      .T = tokens,
      .norm_eps = static_cast<float>(inputs.norm_eps),
      .hc_eps = static_cast<float>(inputs.hc_eps),
      .h_in = buffers.output<void>("h_in", tokens * problem.d),
      .h_post = buffers.output<float>("h_post", tokens * problem.n),
      .h_res = buffers.output<float>("h_res", tokens * problem.n * problem.n),
      .inv_rms = buffers.output<float>("inv_rms", tokens),
      .h_mix = buffers.output<float>("h_mix", tokens * problem.rows()),
      .h_pre = buffers.output<float>("h_pre", tokens * problem.n),
      .workspace = nullptr,
      .workspace_bytes = 0,
      .overlap_previous = 0,
  };
  buffers.add_workspace(args, codegen::workspace_bytes(op.spec, tokens));
  return buffers.outcome(launch(op, args, options.seed));
}

Outcome run_backward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                     const oracle::Forward& forward, const oracle::OutputGradients& gradients,
                     const RunOptions& options) {
  const codegen::Problem& problem = op.spec.problem;
  const std::int64_t columns = problem.columns();
  const bool add = options.accumulate_parameters;
  Buffers<mhcjit_pre_backward_args> buffers(problem, options);
  mhcjit_pre_backward_args args = {
      .x = buffers.input<void>("x", inputs.x),
      .phi = buffers.input<float>("phi", inputs.phi),
      .alpha = buffers.input<float>("alpha", inputs.alpha),
      .gamma = buffers.input<float>("gamma", inputs.gamma),
      .inv_rms = buffers.input<float>("inv_rms", forward.inv_rms),
      .h_mix = buffers.input<float>("h_mix", forward.h_mix),
      .h_pre = buffers.input<float>("h_pre", forward.h_pre),
      .h_post = buffers.input<float>("h_post", forward.h_post),
      .dh_in = buffers.input<void>("dh_in", gradients.dh_in),
      .dh_post = buffers.input<float>("dh_post", gradients.dh_post),
      .dh_res = buffers.input<float>("dh_res", gradients.dh_res),
      .T = tokens,
      .hc_eps = static_cast<float>(inputs.hc_eps),
      .accumulate_dx = options.accumulate_dx,
      .accumulate_parameters = add,
      .dx = buffers.output<void>("dx", tokens * columns, options.accumulate_dx),
      .dphi = buffers.output<float>("dphi", problem.rows() * columns, add),
      .dgamma = buffers.output<float>("dgamma", problem.has_gamma ? columns : 0, add),
      .dalpha = buffers.output<float>("dalpha", 3, add),
      .dbias = buffers.output<float>("dbias", problem.rows(), add),
      .workspace = nullptr,
      .workspace_bytes = 0,
  };
  buffers.add_workspace(args, codegen::workspace_bytes(op.spec, tokens));
  return buffers.outcome(launch(op, args, options.seed));
}

}  // namespace mhcjit::sim
