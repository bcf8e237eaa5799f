// What reaches the driver of backward's one-pass kernels: clusters, or blocks that all run at the same time and a ring
// of zeros for them; a map of each tensor that was passed; and a second kernel, for the outputs that it makes.
#include <algorithm>
#include <cstring>

#include "templates/pre_backward/one_pass_work.cuh"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class BackwardOnePassLaunchTest : public FakeGpuTest {
 protected:
  static codegen::PlanPtr plan_of(const char* wanted) { return buckets_of(backward_problem, wanted).back().plan; }

  // The launches of one call.
  std::vector<fake::Launch> launches_of(const mhcjit_operator* op, const BackwardCall& call) {
    const std::size_t before = driver().launches().size();
    EXPECT_EQ(mhcjit_pre_backward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    std::vector<fake::Launch> launches = driver().launches();
    launches.erase(launches.begin(), launches.begin() + static_cast<std::ptrdiff_t>(before));
    return launches;
  }

  BackwardCall call_of(const mhcjit_operator* op, std::int64_t T) {
    return BackwardCall(backward_problem, T, workspace_bytes(op, T));
  }

  template <typename Parameter>
  static Parameter parameter_of(const fake::Launch& launch, std::size_t number) {
    Parameter parameter = {};
    if (number < launch.parameters.size() && launch.parameters[number].size() >= sizeof parameter)
      std::memcpy(static_cast<void*>(&parameter), launch.parameters[number].data(), sizeof parameter);
    else
      ADD_FAILURE() << launch.kernel << " has no parameter " << number << " of " << sizeof parameter << " bytes";
    return parameter;
  }

  static void expect_work(const fake::Launch& launch, const codegen::Plan& plan, const BackwardCall& call) {
    OnePassBackwardWork planned = {};
    plan.fill_work(call.args.T, call.args.workspace, &planned);
    const auto work = parameter_of<OnePassBackwardWork>(launch, 1);
    EXPECT_EQ(work.exchange, planned.exchange);
    EXPECT_EQ(work.phi_sums, planned.phi_sums);
    EXPECT_EQ(work.logit_sums, planned.logit_sums);
    EXPECT_EQ(work.groups, planned.groups);
  }

  static constexpr const char* main_kernel = "mhcjit_pre_backward_one_pass";
  static constexpr const char* finish = "mhcjit_pre_backward_one_pass_finish";
  static constexpr const char* in_clusters = "one_pass uses_clusters=1 group_blocks=4 consumer_registers=192";
  static constexpr const char* in_groups = "one_pass uses_clusters=0 group_blocks=2";
  static constexpr std::int64_t tokens_per_tile = 16;
  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x5770});
};

TEST_F(BackwardOnePassLaunchTest, LaunchesClustersAndThenTheirSums) {
  driver().clusters_at_once = 3;
  const EnginePtr engine = make_engine(in_clusters);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const codegen::PlanPtr plan = plan_of(in_clusters);
  const std::int64_t cluster_size = plan->parameter("group_blocks").value();
  for (const std::int64_t T : {1, 17, 1000}) {
    SCOPED_TRACE(T);
    const BackwardCall call = call_of(op, T);
    const std::vector<fake::Launch> launches = launches_of(op, call);
    ASSERT_EQ(launches.size(), 2u);
    const fake::Launch &first = launches[0], &second = launches[1];
    EXPECT_EQ(first.kernel, main_kernel);
    EXPECT_EQ(first.cluster_size, static_cast<unsigned>(cluster_size));
    const std::int64_t tiles = (T + tokens_per_tile - 1) / tokens_per_tile;
    EXPECT_EQ(first.grid[0], static_cast<unsigned>(std::min<std::int64_t>(tiles, 3) * cluster_size));
    EXPECT_FALSE(first.overlaps_previous);
    EXPECT_FALSE(first.is_cooperative);
    ASSERT_EQ(first.parameters.size(), 5u);
    EXPECT_EQ(second.kernel, finish);
    EXPECT_EQ(second.cluster_size, 0u);
    EXPECT_TRUE(second.overlaps_previous);
    ASSERT_EQ(second.parameters.size(), 2u);
    for (const fake::Launch& launch : launches) {
      EXPECT_EQ(launch.stream, stream);
      expect_work(launch, *plan, call);
    }

    struct Map {
      const void* base;
      std::uint64_t streams;
    };
    const Map maps[] = {{call.args.x, 4}, {call.args.dh_in, 1}, {call.args.dx, 4}};
    for (std::size_t i = 0; i < std::size(maps); ++i) {
      const auto map = parameter_of<fake::TensorMapContent>(first, 2 + i);
      EXPECT_EQ(map.base, maps[i].base);
      EXPECT_EQ(map.sizes[0], 256u);
      EXPECT_EQ(map.sizes[1], static_cast<std::uint64_t>(T));
      EXPECT_EQ(map.sizes[2], maps[i].streams);
      EXPECT_EQ(map.strides[0], maps[i].streams * 256 * 2);
      EXPECT_EQ(map.strides[1], 256u * 2);
      EXPECT_EQ(map.box[0], static_cast<std::uint32_t>(plan->parameter("panel_columns").value()));
      EXPECT_EQ(map.box[1], tokens_per_tile);
      EXPECT_EQ(map.box[2], maps[i].streams);
    }
    EXPECT_TRUE(driver().memsets().empty());
  }
}

TEST_F(BackwardOnePassLaunchTest, EncodesNoMapOfANullPointer) {
  const EnginePtr engine = make_engine(in_clusters);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  for (const bool has_dh_in : {false, true})
    for (const bool has_dx : {false, true}) {
      BackwardCall call = call_of(op, 137);
      if (!has_dh_in) call.args.dh_in = nullptr;
      if (!has_dx) call.args.dx = nullptr;
      const int before = driver().calls("cuTensorMapEncodeTiled");
      EXPECT_EQ(launches_of(op, call).size(), 2u);
      EXPECT_EQ(driver().calls("cuTensorMapEncodeTiled") - before, 1 + has_dh_in + has_dx);
    }
}

TEST_F(BackwardOnePassLaunchTest, LaunchesTheSecondKernelForGradientsOfParameters) {
  const EnginePtr engine = make_engine(in_clusters);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  BackwardCall call = call_of(op, 137);
  const mhcjit_pre_backward_args all = call.args;
  const auto launched = [&] {
    std::vector<std::string> names;
    for (const fake::Launch& launch : launches_of(op, call)) names.push_back(launch.kernel);
    return names;
  };
  call.args.dphi = call.args.dgamma = call.args.dalpha = call.args.dbias = nullptr;
  EXPECT_EQ(launched(), std::vector<std::string>{main_kernel});
  call.args.dx = nullptr;
  EXPECT_EQ(launched(), std::vector<std::string>{});
  for (float* mhcjit_pre_backward_args::* output :
       {&mhcjit_pre_backward_args::dphi, &mhcjit_pre_backward_args::dgamma, &mhcjit_pre_backward_args::dalpha,
        &mhcjit_pre_backward_args::dbias}) {
    call.args.*output = all.*output;
    EXPECT_EQ(launched(), (std::vector<std::string>{main_kernel, finish}));
    call.args.*output = nullptr;
  }
}

TEST_F(BackwardOnePassLaunchTest, LaunchesGroupsOfBlocksThatAllRunAndARingOfZeros) {
  const EnginePtr engine = make_engine(in_groups);
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const codegen::PlanPtr plan = plan_of(in_groups);
  const auto group_blocks = static_cast<unsigned>(plan->parameter("group_blocks").value());
  std::size_t memsets = 0;
  for (const std::int64_t T : {1, 100'000}) {
    SCOPED_TRACE(T);
    // Nothing runs, so the tensors may be of one token.
    BackwardCall call(backward_problem, 1, workspace_bytes(op, T));
    call.args.T = T;
    const std::vector<fake::Launch> launches = launches_of(op, call);
    ASSERT_EQ(launches.size(), 2u);
    EXPECT_TRUE(launches[0].is_cooperative);
    EXPECT_EQ(launches[0].cluster_size, 0u);
    const unsigned groups = T == 1 ? 1 : static_cast<unsigned>(driver().multiprocessors) / group_blocks;
    EXPECT_EQ(launches[0].grid[0], groups * group_blocks);
    EXPECT_FALSE(launches[1].is_cooperative);
    for (const fake::Launch& launch : launches) expect_work(launch, *plan, call);
    ASSERT_EQ(driver().memsets().size(), ++memsets);
    const fake::Memset zeros = driver().memsets().back();
    EXPECT_EQ(zeros.to, call.args.workspace);
    EXPECT_EQ(zeros.words * 4, plan->zeroed_bytes(T));
    EXPECT_GT(zeros.words, 0u);
    EXPECT_EQ(zeros.stream, stream);
  }
}

TEST_F(BackwardOnePassLaunchTest, RefusesADeviceThatCannotRunTheBlocksOfAGroup) {
  const mhcjit_operator* op = nullptr;
  driver().clusters_at_once = 0;
  expect_failure(mhcjit_prepare(make_engine(in_clusters).get(), &backward_problem, MHCJIT_DEVICE_GPU, stream, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {main_kernel, "cluster"});
  const std::int64_t group_blocks = plan_of(in_groups)->parameter("group_blocks").value();
  driver().multiprocessors = static_cast<int>(group_blocks) - 1;
  expect_failure(mhcjit_prepare(make_engine(in_groups).get(), &backward_problem, MHCJIT_DEVICE_GPU, stream, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {main_kernel, std::to_string(group_blocks)});
}

}  // namespace
}  // namespace mhcjit::test
