// What reaches the driver: for each kernel the grid, block, shared memory, stream and parameters that codegen planned,
// and which kernels a call needs. Nothing else may reach it: no allocation, no synchronisation.
#include <algorithm>
#include <cstring>
#include <set>

#include "codegen/operators.h"
#include "runtime/gpu_operator.h"
#include "templates/pre_backward/args.cuh"
#include "templates/pre_backward/portable_work.cuh"
#include "templates/pre_forward/args.cuh"
#include "templates/pre_forward/two_pass_work.cuh"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

const codegen::Device& device() { return codegen::device_of({9, 0, 'a'}); }

template <typename Parameter>
Parameter parameter_of(const fake::Launch& launch, std::size_t number) {
  Parameter parameter = {};
  if (number < launch.parameters.size() && launch.parameters[number].size() == sizeof parameter)
    std::memcpy(static_cast<void*>(&parameter), launch.parameters[number].data(), sizeof parameter);
  else
    ADD_FAILURE() << launch.kernel << " has no parameter " << number << " of " << sizeof parameter << " bytes";
  return parameter;
}

fake::TensorMapContent map_of(const fake::Launch& launch, std::size_t number) {
  const auto map = parameter_of<CUtensorMap>(launch, number);
  fake::TensorMapContent content;
  std::memcpy(&content, &map, sizeof content);
  return content;
}

// But for a persistent kernel's grid, which the device limits.
void expect_planned(const fake::Launch& launch, const codegen::Plan& plan, std::size_t number, std::int64_t T,
                    void* stream) {
  const codegen::Kernel& kernel = plan.kernels()[number];
  const codegen::Grid grid = plan.grid(number, T, device());
  EXPECT_EQ(launch.kernel, kernel.entry());
  EXPECT_EQ(launch.grid[0], grid.x) << kernel.name;
  EXPECT_EQ(launch.grid[1], grid.y) << kernel.name;
  EXPECT_EQ(launch.grid[2], 1u) << kernel.name;
  EXPECT_EQ(launch.cluster_size, grid.cluster_size) << kernel.name;
  EXPECT_EQ(launch.block[0], static_cast<unsigned>(kernel.threads_per_block)) << kernel.name;
  EXPECT_EQ(launch.block[1], 1u) << kernel.name;
  EXPECT_EQ(launch.block[2], 1u) << kernel.name;
  EXPECT_EQ(launch.dynamic_smem_bytes, static_cast<unsigned>(kernel.dynamic_smem_bytes)) << kernel.name;
  EXPECT_EQ(launch.stream, stream) << kernel.name;
  EXPECT_EQ(launch.overlaps_previous, kernel.overlaps_previous) << kernel.name;
  EXPECT_EQ(launch.is_cooperative, kernel.is_cooperative) << kernel.name;
  EXPECT_EQ(driver().reserved_smem(kernel.entry()), kernel.dynamic_smem_bytes) << kernel.name;
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
  static constexpr mhcjit_problem wide = {.op = MHCJIT_PRE_FORWARD, .n = 8, .d = 1536, .dtype = MHCJIT_BF16};
  static constexpr mhcjit_problem one_bucket = {
      .op = MHCJIT_PRE_FORWARD, .n = 16, .d = 256, .dtype = MHCJIT_BF16, .has_gamma = 1, .batch_invariant = 1};
};

// On both sides of each bucket's end.
TEST_F(LaunchTest, TheNumberOfTokensChoosesTheKernels) {
  // Few tokens and one pass; one kernel in two sizes of clusters; one plan for all.
  for (const mhcjit_problem& problem : {forward_problem, wide, one_bucket}) {
    const EnginePtr engine = make_engine();
    const mhcjit_operator* op = prepare(engine, problem);
    const std::vector<codegen::Bucket> buckets = buckets_of(problem);
    std::int64_t first = 1;
    for (const codegen::Bucket& bucket : buckets) {
      for (const std::int64_t T : {first, std::min<std::int64_t>(bucket.max_tokens, first + 16384)}) {
        SCOPED_TRACE(testing::Message() << to_string(*bucket.plan) << ", T = " << T);
        // Nothing runs, so the tensors may be of one token.
        ForwardCall call(problem, 1, workspace_bytes(op, T));
        call.args.T = T;
        const std::size_t before = driver().launches().size();
        ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
        const auto launches = driver().launches();
        ASSERT_EQ(launches.size() - before, bucket.plan->kernels().size());
        for (std::size_t i = 0; i < bucket.plan->kernels().size(); ++i) {
          const fake::Launch& launch = launches[before + i];
          EXPECT_EQ(launch.kernel, bucket.plan->kernels()[i].entry());
          EXPECT_EQ(launch.cluster_size, bucket.plan->grid(i, T, device()).cluster_size);
          EXPECT_EQ(launch.block[0], static_cast<unsigned>(bucket.plan->kernels()[i].threads_per_block));
        }
      }
      first = bucket.max_tokens + 1;
    }
  }
}

TEST_F(LaunchTest, ThoseProblemsHaveSeveralBucketsThatShareAKernelOrDoNot) {
  EXPECT_GT(buckets_of(forward_problem).size(), 1u);
  EXPECT_EQ(buckets_of(one_bucket).size(), 1u);
  std::size_t launched = 0;
  for (const codegen::Bucket& bucket : buckets_of(wide)) launched += bucket.plan->kernels().size();
  EXPECT_GT(launched, kernels_of(wide).size());
}

// What a kernel is launched with: the operator's tensors, then the family's work where it has some, then maps.
TEST_F(LaunchTest, ForwardLaunchesEveryKernelAsPlanned) {
  const EnginePtr engine = make_engine(plan_without_clusters);
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const codegen::PlanPtr kept = buckets_of(forward_problem, plan_without_clusters).front().plan;
  const codegen::Plan& plan = *kept;
  ASSERT_EQ(plan.kernels().size(), 3u);
  for (const std::int64_t T : {1, 7, 137}) {
    const ForwardCall call(forward_problem, T, workspace_bytes(op, T));
    const std::size_t before = driver().launches().size();
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const auto launches = driver().launches();
    ASSERT_EQ(launches.size(), before + plan.kernels().size());
    TwoPassWork planned = {};
    plan.fill_work(T, call.args.workspace, &planned);
    // The region that comes first, and one that bf16 does not need.
    EXPECT_EQ(planned.partial_sums, call.args.workspace);
    EXPECT_GT(reinterpret_cast<const char*>(planned.packed_phi), static_cast<const char*>(call.args.workspace));
    for (std::size_t i = 0; i < plan.kernels().size(); ++i) {
      const fake::Launch& launch = launches[before + i];
      expect_planned(launch, plan, i, T, stream);
      ASSERT_EQ(launch.parameters.size(), 2 + plan.kernels()[i].maps.size());
      const auto args = parameter_of<PreForwardArgs>(launch, 0);
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
      EXPECT_EQ(args.tokens, T);
      EXPECT_EQ(args.norm_eps, call.args.norm_eps);
      EXPECT_EQ(args.hc_eps, call.args.hc_eps);
      EXPECT_EQ(args.post_mult, call.args.post_mult);
      const auto work = parameter_of<TwoPassWork>(launch, 1);
      EXPECT_EQ(work.partial_sums, planned.partial_sums);
      EXPECT_EQ(work.packed_phi, planned.packed_phi);
      EXPECT_EQ(work.phi_factors, planned.phi_factors);
      for (std::size_t map = 0; map < plan.kernels()[i].maps.size(); ++map)
        EXPECT_EQ(map_of(launch, 2 + map).base, call.args.x);
    }
  }
}

// Only the first kernel follows what was enqueued before the call.
TEST_F(LaunchTest, ACallOverlapsThePreviousKernelWhenItIsAskedTo) {
  for (const char* plan : {"", plan_without_clusters}) {
    const EnginePtr engine = make_engine(plan);
    const mhcjit_operator* op = prepare(engine, forward_problem);
    for (const std::int64_t T : {3, 5000}) {
      ForwardCall call(forward_problem, T, workspace_bytes(op, T));
      for (const int overlap : {0, 1}) {
        call.args.overlap_previous = overlap;
        const std::size_t before = driver().launches().size();
        ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
        EXPECT_EQ(driver().launches()[before].overlaps_previous, overlap == 1) << plan << " " << T;
      }
    }
  }
}

TEST_F(LaunchTest, ABackwardCallOverlapsThePreviousKernelWhenItIsAskedTo) {
  for (const char* plan : {"", "one_pass uses_clusters=0", plan_of_three_kernels}) {
    const EnginePtr engine = make_engine(plan);
    const mhcjit_operator* op = prepare(engine, backward_problem);
    const std::vector<codegen::Bucket> buckets = buckets_of(backward_problem, plan);
    for (const std::int64_t T : {3, 5000}) {
      BackwardCall call(backward_problem, T, workspace_bytes(op, T));
      const std::vector<codegen::Kernel>& kernels = bucket_of(buckets, T).plan->kernels();
      for (const int overlap : {0, 1}) {
        call.args.overlap_previous = overlap;
        const std::size_t before = driver().launches().size();
        ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
        const auto launches = driver().launches();
        ASSERT_EQ(launches.size() - before, kernels.size());
        for (std::size_t i = 0; i < kernels.size(); ++i)
          EXPECT_EQ(launches[before + i].overlaps_previous, i != 0 || overlap == 1) << kernels[i].name << " " << T;
      }
    }
  }
}

// Plans for few and for many tokens share cubins, but not what the driver keeps with a loaded kernel.
TEST_F(LaunchTest, OnlyFewTokensPreferSharedMemoryToTheL1Cache) {
  mhcjit_problem problem = backward_problem;
  problem.d = 16384;
  const EnginePtr engine = make_engine("");
  const mhcjit_operator* op = prepare(engine, problem);
  const std::vector<codegen::Bucket> buckets = buckets_of(problem, "");
  std::set<std::size_t> numbers_of_kernels;
  for (const std::int64_t T : {3, 5000, 3}) {
    BackwardCall call(problem, T, workspace_bytes(op, T));
    const std::vector<codegen::Kernel>& kernels = bucket_of(buckets, T).plan->kernels();
    numbers_of_kernels.insert(kernels.size());
    const std::size_t before = driver().launches().size();
    ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const auto launches = driver().launches();
    ASSERT_EQ(launches.size() - before, kernels.size());
    EXPECT_EQ(launches[before].smem_carveout,
              kernels.size() == 2 ? CU_SHAREDMEM_CARVEOUT_MAX_SHARED : CU_SHAREDMEM_CARVEOUT_DEFAULT);
    EXPECT_EQ(launches[before + 1].smem_carveout, CU_SHAREDMEM_CARVEOUT_DEFAULT);
  }
  EXPECT_EQ(numbers_of_kernels, (std::set<std::size_t>{2, 3}));
}

TEST_F(LaunchTest, BackwardLaunchesEveryKernelAsPlanned) {
  const EnginePtr engine = make_engine(plan_of_three_kernels);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const codegen::PlanPtr kept = buckets_of(backward_problem, plan_of_three_kernels).front().plan;
  const codegen::Plan& plan = *kept;
  const std::int64_t T = 137;
  BackwardCall call(backward_problem, T, workspace_bytes(op, T));
  call.args.accumulate_dx = 1;
  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  const auto launches = driver().launches();
  ASSERT_EQ(launches.size(), plan.kernels().size());
  PortableBackwardWork planned = {};
  plan.fill_work(T, call.args.workspace, &planned);
  EXPECT_EQ(planned.records, call.args.workspace);
  for (std::size_t i = 0; i < plan.kernels().size(); ++i) {
    expect_planned(launches[i], plan, i, T, stream);
    ASSERT_EQ(launches[i].parameters.size(), 2u);
    const auto args = parameter_of<PreBackwardArgs>(launches[i], 0);
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
    EXPECT_EQ(args.tokens, T);
    EXPECT_EQ(args.hc_eps, call.args.hc_eps);
    EXPECT_EQ(args.post_mult, call.args.post_mult);
    EXPECT_EQ(args.accumulate_dx, 1);
    EXPECT_EQ(args.accumulate_parameters, 0);
    const auto work = parameter_of<PortableBackwardWork>(launches[i], 1);
    EXPECT_EQ(work.records, planned.records);
    EXPECT_EQ(work.bias_partials, planned.bias_partials);
    EXPECT_EQ(work.phi_partials, planned.phi_partials);
    EXPECT_EQ(work.token_splits, planned.token_splits);
    EXPECT_EQ(work.bias_slots, planned.bias_slots);
    EXPECT_EQ(work.tiles_per_sum, planned.tiles_per_sum);
    EXPECT_EQ(work.adds_splits_up_later, planned.adds_splits_up_later);
  }
}

TEST_F(LaunchTest, BackwardLaunchesOnlyWhatIsWanted) {
  const EnginePtr engine = make_engine(plan_of_three_kernels);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  using Names = std::vector<std::string>;
  struct Case {
    bool dx, dphi, dgamma, dalpha, dbias;
    Names kernels;
  };
  for (const Case& wanted : {
           Case{true, false, false, false, false, {"backward_coefficients", "backward_dx"}},
           Case{false, true, false, false, false, {"backward_coefficients", "backward_dx", "backward_phi"}},
           Case{false, false, true, false, false, {"backward_coefficients", "backward_dx", "backward_phi"}},
           Case{false, false, false, true, false, {"backward_coefficients", "backward_phi"}},
           Case{false, false, false, false, true, {"backward_coefficients", "backward_phi"}},
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

// The room that a launch has for what kernels are launched with.
TEST_F(LaunchTest, WhatKernelsAreLaunchedWithHasRoom) {
  for (const codegen::Operator* op : codegen::operators()) {
    EXPECT_LE(op->arguments.kernel_bytes, codegen::max_kernel_argument_bytes) << op->name;
    EXPECT_LE(op->tensors.size(), 32u) << op->name << ": wanted outputs are bits";
    for (const codegen::DType dtype : {codegen::DType::bf16, codegen::DType::fp16, codegen::DType::fp32})
      for (const auto& [family, candidate] :
           codegen::candidates({op, 4, 256, dtype, true, false, {9, 0, 'a'}}, device())) {
        if (!candidate.legal()) continue;
        for (const codegen::Kernel& kernel : candidate.plan->kernels()) {
          EXPECT_LE(kernel.work_bytes, codegen::max_work_bytes) << kernel.name;
          EXPECT_EQ(kernel.work_bytes == 0, kernel.work.empty()) << kernel.name;
          EXPECT_LE(kernel.maps.size(), codegen::max_tensor_maps) << kernel.name;
        }
      }
  }
}

// A plan for more tokens may need less than that for fewer; who allocates for the most calls with fewer too.
TEST_F(LaunchTest, TheWorkspaceGrowsWithTAcrossBuckets) {
  const codegen::Problem problem = llvm::cantFail(codegen::from_public(forward_problem, {9, 0, 'a'}));
  const codegen::PlanPtr with = buckets_of(forward_problem, plan_without_clusters).front().plan;
  const codegen::PlanPtr without = buckets_of(forward_problem, "one_pass").front().plan;
  ASSERT_GT(with->workspace_bytes(100), 0u);
  ASSERT_EQ(without->workspace_bytes(101), 0u);
  const runtime::DriverApi unused;
  const runtime::GpuOperator op(unused, {}, problem, {{100, with, {}}, {codegen::max_tokens, without, {}}});
  std::size_t before = 0;
  for (const std::int64_t T :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{100}, std::int64_t{101}, codegen::max_tokens}) {
    const std::size_t bytes = llvm::cantFail(op.workspace_bytes(T));
    EXPECT_GE(bytes, before) << T;
    before = bytes;
  }
  EXPECT_EQ(llvm::cantFail(op.workspace_bytes(0)), 0u);
  EXPECT_EQ(before, with->workspace_bytes(100));
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
