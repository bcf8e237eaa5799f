// What reaches the driver of the one-pass kernel: clusters, no more blocks than the device runs at once, and x as a
// tensor map that is encoded once for tensors that come again.
#include <cstring>
#include <thread>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class OnePassLaunchTest : public FakeGpuTest {
 protected:
  EnginePtr make_engine(const char* plan = "one_pass") { return FakeGpuTest::make_engine(plan); }

  static fake::TensorMapContent content_of(const fake::Launch& launch) {
    fake::TensorMapContent content = {};
    // Behind the arguments, since one pass has no work of its own.
    if (launch.parameters.size() == 2 && launch.parameters[1].size() == sizeof(CUtensorMap))
      std::memcpy(&content, launch.parameters[1].data(), sizeof content);
    else
      ADD_FAILURE() << launch.kernel << " has " << launch.parameters.size() << " parameters";
    return content;
  }

  static constexpr const char* kernel = "mhcjit_pre_forward_one_pass";
  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x5770});
};

TEST_F(OnePassLaunchTest, LaunchesClustersWithAMapOfX) {
  driver().clusters_at_once = 3;
  const EnginePtr engine = make_engine(plan_of_one_kernel);
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const codegen::PlanPtr kept = buckets_of(forward_problem, plan_of_one_kernel).back().plan;
  const codegen::Plan& plan = *kept;
  const codegen::Kernel& planned = plan.kernels().front();
  const std::int64_t cluster_size = plan.parameter("cluster_size").value();
  const std::int64_t tokens_per_tile = plan.parameter("tokens_per_tile").value();
  EXPECT_EQ(workspace_bytes(op, 1000), 0u);
  for (const std::int64_t T : {1, 17, 1000}) {
    const ForwardCall call(forward_problem, T, 0);
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const fake::Launch launch = driver().launches().back();
    EXPECT_EQ(launch.kernel, kernel);
    EXPECT_EQ(launch.cluster_size, static_cast<unsigned>(cluster_size));
    const std::int64_t tiles = (T + tokens_per_tile - 1) / tokens_per_tile;
    EXPECT_EQ(launch.grid[0], static_cast<unsigned>(std::min<std::int64_t>(tiles, 3) * cluster_size));
    EXPECT_EQ(launch.block[0], static_cast<unsigned>(planned.threads_per_block));
    EXPECT_EQ(launch.stream, stream);

    const fake::TensorMapContent map = content_of(launch);
    EXPECT_EQ(map.base, call.args.x);
    EXPECT_EQ(map.sizes[0], 256u);
    EXPECT_EQ(map.sizes[1], static_cast<std::uint64_t>(T));
    EXPECT_EQ(map.sizes[2], 4u);
    EXPECT_EQ(map.strides[0], 4u * 256 * 2);
    EXPECT_EQ(map.strides[1], 256u * 2);
    EXPECT_EQ(map.box[0], 64u);
    EXPECT_EQ(map.box[1], static_cast<std::uint32_t>(tokens_per_tile));
    EXPECT_EQ(map.box[2], 4u);
    EXPECT_EQ(map.type, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
    EXPECT_EQ(map.swizzle, CU_TENSOR_MAP_SWIZZLE_128B);
  }
}

TEST_F(OnePassLaunchTest, EncodesNarrowPanelsInTheirSwizzle) {
  const EnginePtr engine = make_engine();
  mhcjit_problem problem = forward_problem;
  problem.n = 6;
  problem.d = 2560;
  const mhcjit_operator* op = prepare(engine, problem);
  const ForwardCall call(problem, 16, 0);
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  const fake::TensorMapContent map = content_of(driver().launches().back());
  EXPECT_EQ(map.box[0], 32u);
  EXPECT_EQ(map.box[2], 6u);
  EXPECT_EQ(map.swizzle, CU_TENSOR_MAP_SWIZZLE_64B);
}

TEST_F(OnePassLaunchTest, EncodesEachDtype) {
  const EnginePtr engine = make_engine();
  for (const auto& [dtype, type, columns] : {std::tuple{MHCJIT_FP16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 64u},
                                             std::tuple{MHCJIT_FP32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 32u}}) {
    mhcjit_problem problem = forward_problem;
    problem.dtype = dtype;
    const mhcjit_operator* op = prepare(engine, problem);
    const ForwardCall call(problem, 16, 0);
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    const fake::TensorMapContent map = content_of(driver().launches().back());
    const std::uint64_t element_bytes = 128 / columns;
    EXPECT_EQ(map.type, type);
    EXPECT_EQ(map.box[0], columns);
    EXPECT_EQ(map.strides[0], 4u * 256 * element_bytes);
    EXPECT_EQ(map.strides[1], 256 * element_bytes);
    EXPECT_EQ(map.swizzle, CU_TENSOR_MAP_SWIZZLE_128B);
  }
}

TEST_F(OnePassLaunchTest, EncodesAMapOncePerThread) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  std::vector<ForwardCall> layers;
  layers.reserve(8);
  for (int layer = 0; layer < 8; ++layer) layers.emplace_back(forward_problem, 16, 0);
  const int before = driver().calls("cuTensorMapEncodeTiled");
  for (int step = 0; step < 3; ++step)
    for (const ForwardCall& layer : layers) {
      ASSERT_EQ(mhcjit_pre_forward(op, &layer.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
      EXPECT_EQ(content_of(driver().launches().back()).base, layer.args.x);
    }
  // Two layers may share a slot.
  EXPECT_GE(driver().calls("cuTensorMapEncodeTiled") - before, 8);
  EXPECT_LT(driver().calls("cuTensorMapEncodeTiled") - before, 24);

  const int first_thread = driver().calls("cuTensorMapEncodeTiled");
  std::thread([&] {
    driver().set_current_device(0);
    EXPECT_EQ(mhcjit_pre_forward(op, &layers[0].args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  }).join();
  EXPECT_EQ(driver().calls("cuTensorMapEncodeTiled") - first_thread, 1);
}

TEST_F(OnePassLaunchTest, ReportsAMapThatTheDriverRefuses) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 5, 0);
  driver().fail("cuTensorMapEncodeTiled", CUDA_ERROR_INVALID_VALUE);
  expect_failure(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_ERROR_LAUNCH_FAILED,
                 {"tensor map of x", "T = 5", "CUDA_ERROR_INVALID_VALUE"});
  EXPECT_TRUE(driver().launches().empty());
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
}

TEST_F(OnePassLaunchTest, RefusesADeviceThatRunsNoCluster) {
  driver().clusters_at_once = 0;
  const EnginePtr engine = make_engine(plan_of_one_kernel);
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, stream, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {"cluster", "plan without clusters"});
  // No fault of the cubin, which is in the cache now.
  expect_failure(
      mhcjit_prepare(make_engine(plan_of_one_kernel).get(), &forward_problem, MHCJIT_DEVICE_GPU, stream, &op),
      MHCJIT_ERROR_LOAD_FAILED, {"cluster", "plan without clusters"});
  EXPECT_EQ(compiler().compiles, 1);
  expect_failure(mhcjit_prepare(make_engine("few_tokens").get(), &forward_problem, MHCJIT_DEVICE_GPU, stream, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {"few_tokens", "cluster"});
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

// 16 blocks are more than every device with clusters must run.
TEST_F(OnePassLaunchTest, AllowsLargeClusters) {
  const mhcjit_problem wide = {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 4096, .dtype = MHCJIT_BF16};
  const EnginePtr engine = make_engine();
  prepare(engine, wide);
  EXPECT_TRUE(driver().allows_large_clusters(kernel));
}

TEST_F(OnePassLaunchTest, WhereItDoesNotFitTheLibraryChooses) {
  const mhcjit_problem large = {
      .op = MHCJIT_PRE_FORWARD, .n = 16, .d = 2048, .dtype = MHCJIT_BF16, .batch_invariant = 1};
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, large);
  const ForwardCall call(large, 3, workspace_bytes(op, 3));
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().size(), 3u);
  prepare(engine, backward_problem);
}

TEST_F(OnePassLaunchTest, RefusesAPlanThatDoesNotExist) {
  mhcjit_engine_options wrong = options();
  mhcjit_engine* engine = nullptr;
  wrong.plan = "three_pass";
  expect_failure(mhcjit_engine_create(&wrong, &engine), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"plan or MHCJIT_PLAN", "three_pass", "few_tokens, one_pass, portable, two_pass"});
  wrong.plan = "one_pass cluster_size";
  expect_failure(mhcjit_engine_create(&wrong, &engine), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"plan is 'one_pass cluster_size'", "parameters of it as NAME=NUMBER"});
  EXPECT_EQ(engine, nullptr);
}

}  // namespace
}  // namespace mhcjit::test
