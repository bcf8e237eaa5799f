// Serving engines pad batches with rows of garbage: whatever stands in one token's inputs changes no bit of another
// token's outputs, in any template's kernels.
#include <fmt/format.h>

#include "gpu_test.h"
#include "oracle/garbage.h"
#include "oracle/storage.h"

namespace mhcjit::gpu {
namespace {

constexpr std::int64_t T = 300;

// Tiles of 16 tokens and of 8, row groups, each projection, each dtype.
std::vector<Case> cases() {
  std::vector<Case> list;
  const auto add = [&](int n, std::int64_t D, mhcjit_dtype dtype) {
    list.push_back({{{T, n, D, list.size() % 2 == 0}, dtype, 31 + list.size()}});
  };
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32}) add(4, 4096, dtype);
  add(4, 2560, MHCJIT_BF16);
  add(6, 2560, MHCJIT_BF16);
  add(8, 2048, MHCJIT_BF16);
  add(4, 5129, MHCJIT_BF16);
  return list;
}

void expect_others_unchanged(const Tensors& clean, const Tensors& outputs, const std::string& tensor) {
  EXPECT_EQ(oracle::changed_rows(clean.at(tensor), outputs.at(tensor), T), std::vector<std::int64_t>()) << tensor;
}

class Garbage : public GpuTest, public ::testing::WithParamInterface<const char*> {};

// A plan that does not fit a problem leaves it to the library's choice.
TEST_P(Garbage, InOneRowOfXChangesNoOther) {
  const EnginePtr engine = make_engine(GetParam());
  std::vector<mhcjit_problem> problems;
  for (const Case& item : cases()) problems.push_back(problem_of(item, MHCJIT_PRE_FORWARD));
  compile_all(engine.get(), gpu(), problems);
  for (const Case& item : cases()) {
    const mhcjit_operator* op = prepare(engine.get(), problem_of(item, MHCJIT_PRE_FORWARD));
    const auto run = [&](const oracle::Inputs& inputs) {
      const ForwardCall forward(gpu(), item, op, inputs);
      require(forward.run(), "mhcjit_pre_forward");
      return forward.outputs();
    };
    const oracle::Inputs inputs = oracle::random_inputs(item.random);
    const Tensors clean = run(inputs);
    for (const oracle::Garbage garbage : oracle::all_garbage) {
      SCOPED_TRACE(fmt::format("{} in {}", to_string(garbage), to_string(item)));
      oracle::Inputs spoilt = inputs;
      oracle::put_garbage(garbage, T, item.random.dtype, spoilt.x);
      const Tensors outputs = run(spoilt);
      for (const auto& [tensor, bytes] : clean) expect_others_unchanged(clean, outputs, tensor);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Garbage,
                         ::testing::Values("one_pass", "one_pass tokens_per_tile=16", "two_pass", "two_pass clusters=0",
                                           "few_tokens"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (c == ' ' || c == '=') c = '_';
                           return name;
                         });

class GarbageInBackward : public GpuTest {};

TEST_F(GarbageInBackward, InOneRowChangesNoOtherOfDx) {
  std::vector<mhcjit_problem> problems;
  for (const Case& item : cases())
    for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) problems.push_back(problem_of(item, op));
  compile_all(gpu(), problems);
  for (const Case& item : cases()) {
    const oracle::Inputs inputs = oracle::random_inputs(item.random);
    const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
    const mhcjit_operator* op = prepare(problem_of(item, MHCJIT_PRE_BACKWARD));
    const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
    require(forward.run(), "mhcjit_pre_forward");
    const BackwardCall backward(forward, gpu(), item, op, gradients);
    require(backward.run(), "mhcjit_pre_backward");
    const Tensors clean = backward.outputs();
    const Tensors saved = forward.outputs();
    for (const oracle::Garbage garbage : oracle::all_garbage) {
      SCOPED_TRACE(fmt::format("{} in {}", to_string(garbage), to_string(item)));
      const auto put = [&](mhcjit_dtype dtype, std::vector<double> tensor) {
        oracle::put_garbage(garbage, T, dtype, tensor);
        return tensor;
      };
      forward.buffer("x").upload(oracle::to_storage(put(item.random.dtype, inputs.x), item.random.dtype));
      for (const char* tensor : {"inv_rms", "h_mix", "h_pre", "h_post"}) {
        const std::vector<std::byte>& bytes = saved.at(tensor);
        const auto count = static_cast<std::int64_t>(bytes.size() / oracle::bytes_of(MHCJIT_FP32));
        const std::vector<double> values = oracle::from_storage(bytes.data(), count, MHCJIT_FP32);
        forward.buffer(tensor).upload(oracle::to_storage(put(MHCJIT_FP32, values), MHCJIT_FP32));
      }
      const BackwardCall spoilt(forward, gpu(), item, op,
                                {put(item.random.dtype, gradients.dh_in), put(MHCJIT_FP32, gradients.dh_post),
                                 put(MHCJIT_FP32, gradients.dh_res)});
      require(spoilt.run(), "mhcjit_pre_backward");
      expect_others_unchanged(clean, spoilt.outputs(), "dx");
    }
  }
}

}  // namespace
}  // namespace mhcjit::gpu
