#include "bench/operators.h"

#include <algorithm>
#include <deque>

#include "calls.h"
#include "fast_random.h"
#include "oracle/compare.h"

namespace mhcjit::gpu {
namespace {

constexpr std::size_t gibibyte = std::size_t{1} << 30;
constexpr int max_input_sets = 64;
constexpr std::int64_t sampled_tokens = 32;

Case case_of(const BenchShape& shape) { return {{{shape.T, 4, shape.D, false}, MHCJIT_BF16, 41}}; }

TokenTensor x_of(const BenchShape& shape) { return {4 * shape.D, MHCJIT_BF16, 42, 1.0}; }
TokenTensor dh_in_of(const BenchShape& shape) { return {shape.D, MHCJIT_BF16, 43, 1.0}; }
TokenTensor dh_post_of(const BenchShape&) { return {4, MHCJIT_FP32, 44, 1.0}; }
TokenTensor dh_res_of(const BenchShape&) { return {16, MHCJIT_FP32, 45, 1.0}; }

oracle::Inputs parameters_of(const Case& item) {
  oracle::RandomOptions no_tokens = item.random;
  no_tokens.shape.T = 0;
  return oracle::random_inputs(no_tokens);
}

void copy(const Gpu& gpu, const DeviceBuffer& from, const DeviceBuffer& to, CUstream stream) {
  gpu.driver.check(gpu.driver.cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(to.as()),
                                                reinterpret_cast<CUdeviceptr>(from.as()), from.size(), stream),
                   "cuMemcpyDtoDAsync");
}

// Tensors for as many calls as it takes to leave nothing in the L2 cache. All have the same values.
struct InputSets {
  InputSets(const Gpu& gpu, const BenchShape& shape) : item(case_of(shape)), parameters(parameters_of(item)) {
    const auto* forward_op = prepare(problem_of(item, MHCJIT_PRE_FORWARD));
    const auto* backward_op = prepare(problem_of(item, MHCJIT_PRE_BACKWARD));
    BackwardOptions options;
    options.gradients_by_caller = true;
    std::size_t x_bytes = 0;
    do {
      const ForwardCall& added = forward.emplace_back(gpu, item, forward_op, parameters);
      const BackwardCall& slopes =
          backward.emplace_back(added, gpu, item, backward_op, oracle::OutputGradients{}, options);
      if (forward.size() == 1) {
        upload_tokens(x_of(shape), shape.T, added.buffer("x"));
        upload_tokens(dh_in_of(shape), shape.T, slopes.buffer("dh_in"));
        upload_tokens(dh_post_of(shape), shape.T, slopes.buffer("dh_post"));
        upload_tokens(dh_res_of(shape), shape.T, slopes.buffer("dh_res"));
      } else {
        copy(gpu, forward[0].buffer("x"), added.buffer("x"), nullptr);
        for (const char* tensor : {"dh_in", "dh_post", "dh_res"})
          copy(gpu, backward[0].buffer(tensor), slopes.buffer(tensor), nullptr);
      }
      x_bytes += added.buffer("x").size();
    } while (forward.size() < 2 ||
             (x_bytes < 4 * static_cast<std::size_t>(gpu.l2_bytes) && forward.size() < max_input_sets));
    // Backward reads what forward saves.
    for (const ForwardCall& call : forward) require(call.run(), "mhcjit_pre_forward");
    gpu.synchronize();
  }

  Case item;
  oracle::Inputs parameters;
  std::deque<ForwardCall> forward;
  std::deque<BackwardCall> backward;
};

template <typename AnyCall>
void measure(const Gpu& gpu, const std::deque<AnyCall>& calls, double copy_rate, double seconds,
             OperatorResult& result) {
  const auto on_set = [&](std::size_t set, CUstream stream) { require(calls[set].run(stream), result.op.c_str()); };
  result.input_sets = static_cast<int>(calls.size());
  result.floor_us = static_cast<double>(result.bytes) / copy_rate * 1e-3;
  const Enqueue rotating = [&](CUstream stream, int i) { on_set(static_cast<std::size_t>(i) % calls.size(), stream); };
  result.stream = time_launches(gpu, rotating, seconds);
  result.graph = time_graph(gpu, rotating, seconds);
  result.warm = time_launches(gpu, [&](CUstream stream, int) { on_set(0, stream); }, seconds / 4);
}

void add_error(OperatorResult& result, const char* tensor, const std::vector<double>& reference,
               const std::vector<double>& value) {
  const double error = oracle::normalised_error(reference, value);
  result.errors[tensor] = error;
  result.errors_within_bounds &= error <= oracle::error_bound(tensor, MHCJIT_BF16).value();
}

// Tokens spread over all of T, the first and the last among them.
std::vector<std::int64_t> sample_of(std::int64_t T) {
  std::vector<std::int64_t> tokens;
  const std::int64_t count = std::min(T, sampled_tokens);
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(count == 1 ? 0 : i * (T - 1) / (count - 1));
  return tokens;
}

}  // namespace

double copy_gigabytes_per_second(const Gpu& gpu, double seconds) {
  const DeviceBuffer from(gpu, gibibyte, 16), to(gpu, gibibyte, 16);
  const Timing timing = time_launches(gpu, [&](CUstream stream, int) { copy(gpu, from, to, stream); }, seconds);
  return 2.0 * static_cast<double>(gibibyte) / timing.median_us * 1e-3;
}

std::vector<OperatorResult> bench_operators(const Gpu& gpu, const BenchShape& shape, double copy_rate, double seconds) {
  const InputSets sets(gpu, shape);
  OperatorResult forward{"pre_forward", shape};
  OperatorResult backward{"pre_backward", shape};
  forward.bytes = sets.forward[0].tensor_bytes();
  backward.bytes = sets.backward[0].tensor_bytes();
  for (const char* tensor : {"x", "phi", "alpha", "inv_rms", "h_mix", "h_pre", "h_post"})
    backward.bytes += sets.forward[0].buffer(tensor).size();
  measure(gpu, sets.forward, copy_rate, seconds, forward);
  measure(gpu, sets.backward, copy_rate, seconds, backward);

  // What the timed launches wrote last.
  const std::vector<std::int64_t> tokens = sample_of(shape.T);
  oracle::Shape sample = sets.item.shape();
  sample.T = static_cast<std::int64_t>(tokens.size());
  oracle::Inputs inputs = sets.parameters;
  inputs.x = values_of(x_of(shape), tokens);
  const oracle::Forward expected = oracle::pre_forward(sample, inputs);
  add_error(forward, "h_in", expected.h_in, sets.forward[0].rows_of("h_in", tokens));
  add_error(forward, "h_mix", expected.h_mix, sets.forward[0].rows_of("h_mix", tokens));
  add_error(forward, "h_res", expected.h_res, sets.forward[0].rows_of("h_res", tokens));
  const oracle::Backward slopes = oracle::pre_backward(
      sample, inputs, expected,
      {values_of(dh_in_of(shape), tokens), values_of(dh_post_of(shape), tokens), values_of(dh_res_of(shape), tokens)});
  add_error(backward, "dx", slopes.dx, sets.backward[0].rows_of("dx", tokens));
  return {forward, backward};
}

}  // namespace mhcjit::gpu
