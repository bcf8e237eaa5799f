// What reaches the driver: for each stage the grid, block, shared memory, stream and arguments that codegen planned,
// and which stages a call needs. Nothing else may reach it: no allocation, no synchronisation.
#include <cstring>

#include "codegen/few_tokens.h"
#include "codegen/heuristic.h"
#include "codegen/workspace.h"
#include "templates/pre_args.cuh"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

codegen::KernelSpec spec_of(const mhcjit_problem& problem) {
  auto asked = codegen::from_public(problem, {9, 0, 'a'});
  EXPECT_TRUE(static_cast<bool>(asked));
  auto spec = codegen::choose_spec(*asked, codegen::KernelTemplate::portable);
  EXPECT_TRUE(static_cast<bool>(spec));
  return *spec;
}

void expect_planned(const fake::Launch& launch, const codegen::KernelSpec& spec, const codegen::StagePlan& plan,
                    std::int64_t T, void* stream) {
  const codegen::Grid grid = codegen::grid_of(spec, plan.stage, T);
  EXPECT_EQ(launch.kernel, plan.entry());
  EXPECT_EQ(launch.grid[0], grid.x) << plan.name;
  EXPECT_EQ(launch.grid[1], grid.y) << plan.name;
  EXPECT_EQ(launch.grid[2], 1u) << plan.name;
  EXPECT_EQ(launch.block[0], static_cast<unsigned>(plan.threads_per_block)) << plan.name;
  EXPECT_EQ(launch.block[1], 1u) << plan.name;
  EXPECT_EQ(launch.block[2], 1u) << plan.name;
  EXPECT_EQ(launch.dynamic_smem_bytes, static_cast<unsigned>(plan.dynamic_smem_bytes)) << plan.name;
  EXPECT_EQ(launch.stream, stream) << plan.name;
  EXPECT_EQ(launch.overlaps_previous, plan.overlaps_previous) << plan.name;
  EXPECT_EQ(driver().reserved_smem(plan.entry()), plan.dynamic_smem_bytes) << plan.name;
}

template <typename Args>
Args argument_of(const fake::Launch& launch) {
  Args args;
  EXPECT_EQ(launch.argument.size(), sizeof args);
  std::memcpy(&args, launch.argument.data(), sizeof args);
  return args;
}

std::vector<std::string> launched_kernels() {
  std::vector<std::string> names;
  for (const fake::Launch& launch : driver().launches())
    names.push_back(launch.kernel.substr(std::strlen("mhcjit_pre_")));
  return names;
}

class LaunchTest : public FakeGpuTest {
 protected:
  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x5770});
};

// What the library chooses has a kernel of its own for few tokens.
TEST_F(LaunchTest, TheNumberOfTokensChoosesTheKernel) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const codegen::KernelSpec spec =
      llvm::cantFail(codegen::choose_spec(llvm::cantFail(codegen::from_public(forward_problem, {9, 0, 'a'}))));
  ASSERT_GT(spec.few_max_tokens, 7);
  for (const std::int64_t T : {std::int64_t{1}, std::int64_t{7}, spec.few_max_tokens, spec.few_max_tokens + 1}) {
    const ForwardCall call(forward_problem, T, workspace_bytes(op, T));
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const fake::Launch launch = driver().launches().back();
    const bool few = T <= spec.few_max_tokens;
    EXPECT_EQ(launch.kernel, few ? "mhcjit_pre_forward_few_tokens" : "mhcjit_pre_forward_one_pass") << T;
    EXPECT_EQ(launch.cluster_size, static_cast<unsigned>(few ? spec.few_cluster_size : spec.cluster_size)) << T;
    EXPECT_EQ(launch.block[0], static_cast<unsigned>(few ? codegen::few_tokens_threads(spec) : spec.threads_per_block));
  }
  EXPECT_EQ(driver().launches().size(), 4u);
}

TEST_F(LaunchTest, ForwardLaunchesEveryStageAsPlanned) {
  const EnginePtr engine = make_engine("portable");
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const codegen::KernelSpec spec = spec_of(forward_problem);
  const auto plans = codegen::stages(spec);
  for (const std::int64_t T : {1, 7, 137}) {
    const ForwardCall call(forward_problem, T, workspace_bytes(op, T));
    const std::size_t before = driver().launches().size();
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const auto launches = driver().launches();
    ASSERT_EQ(launches.size(), before + plans.size());
    for (std::size_t i = 0; i < plans.size(); ++i) {
      expect_planned(launches[before + i], spec, plans[i], T, stream);
      const auto args = argument_of<PreForwardArgs>(launches[before + i]);
      EXPECT_EQ(args.x, call.args.x);
      EXPECT_EQ(args.phi, call.args.phi);
      EXPECT_EQ(args.alpha, call.args.alpha);
      EXPECT_EQ(args.bias, call.args.bias);
      EXPECT_EQ(args.gamma, call.args.gamma);
      EXPECT_EQ(args.h_in, call.args.h_in);
      EXPECT_EQ(args.h_post, call.args.h_post);
      EXPECT_EQ(args.h_res, call.args.h_res);
      EXPECT_EQ(args.inv_rms, call.args.inv_rms);
      EXPECT_EQ(args.h_mix, call.args.h_mix);
      EXPECT_EQ(args.h_pre, call.args.h_pre);
      const auto workspace = codegen::pre_forward_workspace(spec, T);
      EXPECT_EQ(args.partial_sums, call.args.workspace);
      EXPECT_EQ(reinterpret_cast<const char*>(args.packed_phi),
                static_cast<const char*>(call.args.workspace) + workspace.packed_phi);
      EXPECT_EQ(args.tokens, T);
      EXPECT_EQ(args.norm_eps, call.args.norm_eps);
      EXPECT_EQ(args.hc_eps, call.args.hc_eps);
      EXPECT_EQ(args.post_mult, call.args.post_mult);
    }
  }
}

// Only the first kernel follows what was enqueued before the call.
TEST_F(LaunchTest, ACallOverlapsThePreviousKernelWhenItIsAskedTo) {
  for (const char* kernel_template : {"", "portable"}) {
    const EnginePtr engine = make_engine(kernel_template);
    const mhcjit_operator* op = prepare(engine, forward_problem);
    for (const std::int64_t T : {3, 5000}) {
      ForwardCall call(forward_problem, T, workspace_bytes(op, T));
      for (const int overlap : {0, 1}) {
        call.args.overlap_previous = overlap;
        const std::size_t before = driver().launches().size();
        ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
        EXPECT_EQ(driver().launches()[before].overlaps_previous, overlap == 1) << kernel_template << " " << T;
      }
    }
  }
}

TEST_F(LaunchTest, BackwardLaunchesEveryStageAsPlanned) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const codegen::KernelSpec spec = spec_of(backward_problem);
  const auto plans = codegen::stages(spec);
  const std::int64_t T = 137;
  BackwardCall call(backward_problem, T, workspace_bytes(op, T));
  call.args.accumulate_dx = 1;
  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  const auto launches = driver().launches();
  ASSERT_EQ(launches.size(), plans.size());
  const auto workspace = codegen::pre_backward_workspace(spec, T);
  const auto region = [&](std::size_t offset) {
    return reinterpret_cast<const float*>(static_cast<const char*>(call.args.workspace) + offset);
  };
  for (std::size_t i = 0; i < plans.size(); ++i) {
    expect_planned(launches[i], spec, plans[i], T, stream);
    const auto args = argument_of<PreBackwardArgs>(launches[i]);
    EXPECT_EQ(args.x, call.args.x);
    EXPECT_EQ(args.phi, call.args.phi);
    EXPECT_EQ(args.alpha, call.args.alpha);
    EXPECT_EQ(args.gamma, call.args.gamma);
    EXPECT_EQ(args.inv_rms, call.args.inv_rms);
    EXPECT_EQ(args.h_mix, call.args.h_mix);
    EXPECT_EQ(args.h_pre, call.args.h_pre);
    EXPECT_EQ(args.h_post, call.args.h_post);
    EXPECT_EQ(args.dh_in, call.args.dh_in);
    EXPECT_EQ(args.dh_post, call.args.dh_post);
    EXPECT_EQ(args.dh_res, call.args.dh_res);
    EXPECT_EQ(args.dx, call.args.dx);
    EXPECT_EQ(args.dphi, call.args.dphi);
    EXPECT_EQ(args.dgamma, call.args.dgamma);
    EXPECT_EQ(args.dalpha, call.args.dalpha);
    EXPECT_EQ(args.dbias, call.args.dbias);
    EXPECT_EQ(args.dh_mix, region(workspace.dh_mix));
    EXPECT_EQ(args.x_coefficient, region(workspace.x_coefficient));
    EXPECT_EQ(args.bias_partials, region(workspace.bias_partials));
    EXPECT_EQ(args.phi_partials, region(workspace.phi_partials));
    EXPECT_EQ(args.tokens, T);
    EXPECT_EQ(args.tokens_per_split, codegen::tokens_per_split(spec, T));
    EXPECT_EQ(args.token_splits, codegen::token_splits(spec, T));
    EXPECT_EQ(args.bias_slots, codegen::bias_slots(spec, T));
    EXPECT_EQ(args.hc_eps, call.args.hc_eps);
    EXPECT_EQ(args.post_mult, call.args.post_mult);
    EXPECT_EQ(args.accumulate_dx, 1);
    EXPECT_EQ(args.accumulate_parameters, 0);
  }
}

TEST_F(LaunchTest, BackwardLaunchesOnlyWhatIsWanted) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, backward_problem);
  using Names = std::vector<std::string>;
  struct Case {
    bool dx, dphi, dgamma, dalpha, dbias;
    Names kernels;
  };
  for (const Case& wanted : {
           Case{true, false, false, false, false, {"backward_coefficients", "backward_dx"}},
           Case{false, true, false, false, false, {"backward_coefficients", "backward_phi_partials", "backward_phi"}},
           Case{false, false, true, false, false, {"backward_coefficients", "backward_phi_partials", "backward_phi"}},
           Case{false, false, false, true, false, {"backward_coefficients", "backward_bias"}},
           Case{false, false, false, false, true, {"backward_coefficients", "backward_bias"}},
           Case{false, false, false, false, false, {}},
       }) {
    driver().reset();
    driver().set_current_device(0);
    BackwardCall call(backward_problem, 5, workspace_bytes(op, 5));
    if (!wanted.dx) call.args.dx = nullptr;
    if (!wanted.dphi) call.args.dphi = nullptr;
    if (!wanted.dgamma) call.args.dgamma = nullptr;
    if (!wanted.dalpha) call.args.dalpha = nullptr;
    if (!wanted.dbias) call.args.dbias = nullptr;
    ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    EXPECT_EQ(launched_kernels(), wanted.kernels);
  }
}

TEST_F(LaunchTest, NoTokensLaunchNothingAndNeedNoTensors) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* forward = prepare(engine, forward_problem);
  EXPECT_EQ(workspace_bytes(forward, 0), 0u);
  mhcjit_pre_forward_args empty = {};
  EXPECT_EQ(mhcjit_pre_forward(forward, &empty, stream), MHCJIT_SUCCESS) << mhcjit_last_error();

  const mhcjit_operator* backward = prepare(engine, backward_problem);
  EXPECT_EQ(workspace_bytes(backward, 0), 0u);
  BackwardCall call(backward_problem, 0, 0);
  call.args.accumulate_parameters = 1;
  EXPECT_EQ(mhcjit_pre_backward(backward, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(driver().launches().empty());
  EXPECT_TRUE(driver().memsets().empty());
  EXPECT_TRUE(call.unchanged());
}

// The sum over no tokens is zero, on the stream, and not a word more.
TEST_F(LaunchTest, NoTokensMakeOverwrittenParameterGradientsZero) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, backward_problem);
  BackwardCall call(backward_problem, 0, 0);
  call.args.dalpha = nullptr;
  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  const auto memsets = driver().memsets();
  ASSERT_EQ(memsets.size(), 3u);
  EXPECT_EQ(memsets[0].to, call.args.dphi);
  EXPECT_EQ(memsets[0].words, 24u * 4 * 256);
  EXPECT_EQ(memsets[1].to, call.args.dgamma);
  EXPECT_EQ(memsets[1].words, 4u * 256);
  EXPECT_EQ(memsets[2].to, call.args.dbias);
  EXPECT_EQ(memsets[2].words, 24u);
  for (const fake::Memset& memset : memsets) EXPECT_EQ(memset.stream, stream);
  EXPECT_EQ(call.args.dphi[24 * 4 * 256 - 1], 0.0f);
  EXPECT_TRUE(driver().launches().empty());
}

TEST_F(LaunchTest, WorksInsideACapture) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  driver().begin_capture(stream);
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(driver().end_capture(stream));
}

TEST_F(LaunchTest, TakesManagedMemoryAndWhereTheDeviceReadsItHostMemory) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  ForwardCall call(forward_problem, 1, workspace_bytes(op, 1));
  alignas(16) static float alpha[3];
  call.args.alpha = alpha;
  driver().add_allocation(alpha, sizeof alpha, 1, /*managed=*/true);
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();

  driver().pageable_memory_access = true;
  const EnginePtr coherent = make_engine();
  const mhcjit_operator* coherent_op = prepare(coherent, forward_problem);
  alignas(16) static float bias[24];
  call.args.bias = bias;
  EXPECT_EQ(mhcjit_pre_forward(coherent_op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
}

}  // namespace
}  // namespace mhcjit::test
