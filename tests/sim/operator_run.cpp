#include "operator_run.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "oracle/storage.h"
#include "problems.h"
#include "runtime/arguments.h"
#include "simulator.h"
#include "support/error.h"
#include "tensor_map.h"
#include "tests/guarded_buffer.h"

namespace mhcjit::sim {
namespace {

using Tensor = runtime::ArgumentTable::Tensor;

// The public argument struct of one call, and the buffers that it points at.
class Arguments {
 public:
  Arguments(const runtime::ArgumentTable& table, const Operator& op, const Call& call, const RunOptions& options)
      : problem_(op.problem()),
        tokens_(call.tokens),
        options_(options),
        bytes_(table.op().arguments.bytes),
        workspace_(op.plan->workspace_bytes(call.tokens)) {
    const codegen::ArgumentLayout& layout = table.op().arguments;
    put(layout.tokens, call.tokens);
    for (const codegen::Scalar& scalar : table.op().scalars) {
      if (scalar.is_float())
        put(scalar.offset, static_cast<float>(call.scalars.at(scalar.name)));
      else
        put(scalar.offset, std::int32_t{options.flags.contains(scalar.name)});
    }
    for (const Tensor& tensor : table.tensors()) {
      if (!tensor.exists) continue;
      const codegen::Tensor& declared = *tensor.declared;
      put(declared.offset, declared.is_output() ? output(tensor) : input(tensor, call.inputs.at(declared.name)));
    }
    put(layout.workspace, workspace_.data());
    put(layout.workspace_bytes, workspace_.content().size());
  }

  const void* data() const { return bytes_.data(); }
  void* workspace() const { return workspace_.data(); }

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
      outcome.outputs[std::string(name)].assign(buffer.content().begin(), buffer.content().end());
    }
    if (!workspace_.intact()) blame("wrote outside the workspace");
    return outcome;
  }

 private:
  struct Input {
    test::GuardedBuffer buffer;
    std::vector<std::byte> content;
  };

  template <typename T>
  void put(std::size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }

  void* input(const Tensor& tensor, std::span<const double> values) {
    if (values.empty()) return nullptr;
    const std::vector<std::byte> content = oracle::to_storage(values, public_dtype(tensor.declared->dtype(problem_)));
    const auto [entry, added] =
        inputs_.try_emplace(tensor.declared->name, Input{test::GuardedBuffer(content, alignment_of(tensor)), content});
    return entry->second.buffer.data();
  }

  void* output(const Tensor& tensor) {
    const codegen::Tensor& declared = *tensor.declared;
    if (options_.unwanted.contains(declared.name)) return nullptr;
    const std::size_t bytes =
        codegen::elements(declared, problem_, tokens_) * codegen::bytes_of(declared.dtype(problem_));
    const auto entry =
        options_.flags.contains(declared.accumulate_flag)
            ? outputs_.try_emplace(declared.name, options_.previous.find(declared.name)->second, alignment_of(tensor))
            : outputs_.try_emplace(declared.name, bytes, alignment_of(tensor));
    return entry.first->second.data();
  }

  std::size_t alignment_of(const Tensor& tensor) const {
    return std::max(static_cast<std::size_t>(tensor.alignment), options_.least_alignment);
  }

  const codegen::Problem& problem_;
  const std::int64_t tokens_;
  const RunOptions& options_;
  std::vector<std::byte> bytes_;
  std::map<std::string_view, Input> inputs_;
  std::map<std::string_view, test::GuardedBuffer> outputs_;
  test::GuardedBuffer workspace_;
};

// What the runtime encodes for the same launch.
TensorShape shape_of(const codegen::Problem& problem, const codegen::TensorMap& map, const void* base,
                     std::int64_t tokens) {
  const auto streams = static_cast<std::uint64_t>(map.has_streams ? problem.n : 1);
  const codegen::DType dtype = map.has_x_dtype ? problem.dtype : codegen::DType::fp32;
  const auto element_bytes = static_cast<std::uint32_t>(codegen::bytes_of(dtype));
  const std::uint64_t row_bytes = static_cast<std::uint64_t>(problem.d) * element_bytes;
  return {.base = base,
          .sizes = {static_cast<std::uint64_t>(problem.d), static_cast<std::uint64_t>(tokens), streams},
          .strides = {streams * row_bytes, row_bytes},
          .box = {static_cast<std::uint32_t>(map.columns), static_cast<std::uint32_t>(map.tokens),
                  static_cast<std::uint32_t>(map.streams)},
          .dtype = public_dtype(dtype),
          .swizzle_bytes = static_cast<std::uint32_t>(map.columns) * element_bytes};
}

const Tensor& tensor_of(const runtime::ArgumentTable& table, std::string_view name) {
  return *std::ranges::find_if(table.tensors(), [&](const Tensor& tensor) { return tensor.declared->name == name; });
}

// Whether an output that the kernel contributes to was passed.
bool is_needed(const codegen::Kernel& kernel, const runtime::ArgumentTable& table, const void* args) {
  return std::ranges::any_of(table.tensors(), [&](const Tensor& tensor) {
    const codegen::Tensor& declared = *tensor.declared;
    const bool is_made = kernel.makes.empty() || std::ranges::find(kernel.makes, declared.name) != kernel.makes.end();
    return declared.is_output() && is_made && tensor.pointer(args) != nullptr;
  });
}

codegen::Grid grid_of(const Operator& op, std::size_t kernel, std::int64_t tokens) {
  codegen::Grid grid = op.plan->grid(kernel, tokens, op.device);
  if (op.plan->kernels()[kernel].is_persistent)
    grid.x = std::min(grid.x, op.device.clusters_at_once[grid.cluster_size] * grid.cluster_size);
  return grid;
}

// Returns the first fault.
std::string launch(const Operator& op, const runtime::ArgumentTable& table, const Arguments& arguments,
                   std::uint64_t seed) {
  const void* args = arguments.data();
  const std::int64_t tokens = table.tokens(args);
  if (auto error = table.check(to_string(op.problem()), args, op.plan->workspace_bytes(tokens)))
    return take_failure(std::move(error)).text;

  alignas(16) std::byte kernel_args[codegen::max_kernel_argument_bytes];
  alignas(16) std::byte work[codegen::max_work_bytes];
  table.fill_kernel_arguments(args, kernel_args);
  op.plan->fill_work(tokens, arguments.workspace(), work);
  std::memset(arguments.workspace(), 0, op.plan->zeroed_bytes(tokens));

  const std::vector<codegen::Kernel>& kernels = op.plan->kernels();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const codegen::Kernel& kernel = kernels[i];
    if (!is_needed(kernel, table, args)) continue;
    struct alignas(64) Map {
      std::byte bytes[tensor_map_bytes];
    };
    std::array<Map, codegen::max_tensor_maps> maps;
    std::vector<const void*> parameters = {kernel_args};
    if (!kernel.work.empty()) parameters.push_back(work);
    for (std::size_t m = 0; m < kernel.maps.size(); ++m) {
      const codegen::TensorMap& map = kernel.maps[m];
      const void* base = tensor_of(table, map.tensor).pointer(args);
      parameters.push_back(maps[m].bytes);
      if (base == nullptr) continue;
      const std::string refused = encode(shape_of(op.problem(), map, base, tokens), maps[m].bytes);
      if (!refused.empty()) return fmt::format("{}: tensor map of {}: {}", kernel.name, map.tensor, refused);
    }
    const auto entry = std::ranges::find(op.unit->entries, kernel.entry(), &Entry::name);
    const codegen::Grid grid = grid_of(op, i, tokens);
    const Launch launch = {.kernel = kernel.name,
                           .grid_x = grid.x,
                           .grid_y = grid.y,
                           .threads_per_block = kernel.threads_per_block,
                           .shared_bytes = entry->shared_bytes,
                           .seed = seed,
                           .cluster_size = std::max(1, static_cast<int>(grid.cluster_size)),
                           .is_cooperative = kernel.is_cooperative};
    const std::string fault = run(launch, [&] { entry->call(parameters.data()); });
    if (!fault.empty()) return fault;
  }
  return "";
}

// What steps through the tokens runs in two clusters or groups of blocks, each of which steps often; groups of few
// tokens are as full as they can be.
codegen::Device small_device(const codegen::Plan& plan) {
  codegen::Device device = codegen::device_of(plan.problem().architecture);
  const bool steps = std::ranges::any_of(plan.kernels(), &codegen::Kernel::is_persistent);
  device.clusters_at_once.fill(steps ? 2 : 1);
  for (const codegen::Kernel& kernel : plan.kernels())
    if (kernel.is_cooperative) device.multiprocessors = 2 * kernel.min_blocks;
  return device;
}

}  // namespace

Operator find_operator(std::string_view problem, const codegen::Operator& op) {
  const auto unit = std::ranges::find_if(
      units(), [&](const Unit* candidate) { return candidate->problem == problem && candidate->op == op.name; });
  codegen::PlanPtr plan = llvm::cantFail(parse_plan(problem, op));
  const codegen::Device device = small_device(*plan);
  return {std::move(plan), *unit, device};
}

oracle::Shape shape_of(const codegen::Problem& problem, std::int64_t tokens) {
  return {.T = tokens, .n = problem.n, .D = problem.d, .has_gamma = problem.has_gamma};
}

mhcjit_dtype public_dtype(codegen::DType dtype) { return static_cast<mhcjit_dtype>(dtype); }

mhcjit_dtype dtype_of(const codegen::Problem& problem, std::string_view tensor) {
  return public_dtype(problem.op->find_tensor(tensor)->dtype(problem));
}

std::vector<double> values_of(const Outcome& outcome, std::string_view output, const codegen::Problem& problem) {
  const std::vector<std::byte>& bytes = outcome.outputs.find(output)->second;
  const mhcjit_dtype dtype = dtype_of(problem, output);
  const std::size_t count = bytes.size() / oracle::bytes_of(dtype);
  return oracle::from_storage(bytes.data(), static_cast<std::int64_t>(count), dtype);
}

Outcome run(const Operator& op, const Call& call, const RunOptions& options) {
  const runtime::ArgumentTable table(op.problem());
  const Arguments arguments(table, op, call, options);
  return arguments.outcome(launch(op, table, arguments, options.seed));
}

Outcome run_forward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs, const RunOptions& options) {
  return run(op,
             {.tokens = tokens,
              .inputs = oracle::values_of(inputs),
              .scalars = {{"norm_eps", inputs.norm_eps}, {"hc_eps", inputs.hc_eps}, {"post_mult", inputs.post_mult}}},
             options);
}

Outcome run_backward(const Operator& op, std::int64_t tokens, const oracle::Inputs& inputs,
                     const oracle::Forward& forward, const oracle::OutputGradients& gradients,
                     const RunOptions& options) {
  return run(op,
             {.tokens = tokens,
              .inputs = oracle::values_of(inputs, forward, gradients),
              .scalars = {{"hc_eps", inputs.hc_eps}, {"post_mult", inputs.post_mult}}},
             options);
}

}  // namespace mhcjit::sim
