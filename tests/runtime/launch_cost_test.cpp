// What a launch costs beside its kernels: which questions it asks the driver, when it asks them again, and that it
// allocates nothing.
#include <cstring>
#include <thread>

#include "codegen/operators.h"
#include "oracle/tensors.h"
#include "runtime/builder.h"
#include "runtime/gpu_operator.h"
#include "tests/runtime/allocations.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class LaunchCostTest : public FakeGpuTest {
 protected:
  static constexpr std::size_t tensor_bytes = 4096;
  static constexpr int tensors = 13;

  // Tensor number `number` of device 0, or the spare one. Unlike allocations, which may lie anywhere, these lie so that
  // no two have the same place in a thread's memory of pointers.
  template <typename Pointer = void>
  static Pointer* tensor(int number) {
    return reinterpret_cast<Pointer*>(memory + number * tensor_bytes);
  }
  static constexpr int spare = tensors - 1;
  alignas(16) static inline char memory[tensors * tensor_bytes];

  void SetUp() override {
    FakeGpuTest::SetUp();
    driver().add_allocation(memory, sizeof memory, 0, /*managed=*/false);
    engine = make_engine(plan_without_clusters);
    op = prepare(engine, problem);
    int number = 0;
    oracle::visit_tensors({1, problem.n, problem.d, true}, args,
                          [&](const oracle::Tensor&, auto& pointer) { oracle::point(pointer, tensor(number++)); });
    args.workspace = tensor(number);
    args.workspace_bytes = workspace_bytes(op, 1);
    args.T = 1;
    driver().call_counts.clear();
  }

  // On a thread that has launched nothing yet.
  template <typename Body>
  static void on_new_thread(const Body& body) {
    std::thread([&] {
      driver().set_current_device(0);
      body();
    }).join();
  }

  // Pointers that the driver is asked about in a launch that succeeds.
  int asked_in_launch() {
    const int before = driver().calls("cuPointerGetAttributes");
    EXPECT_EQ(mhcjit_pre_forward(op, &args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    return driver().calls("cuPointerGetAttributes") - before;
  }

  static constexpr mhcjit_problem problem = {
      .op = MHCJIT_PRE_FORWARD, .n = 4, .d = 8, .dtype = MHCJIT_BF16, .has_gamma = 1};
  EnginePtr engine;
  const mhcjit_operator* op = nullptr;
  mhcjit_pre_forward_args args = {};
};

// For x also its tensor map, once.
TEST_F(LaunchCostTest, AsksTheDriverForTheDeviceAndAboutPointersAlone) {
  on_new_thread([&] {
    asked_in_launch();
    asked_in_launch();
  });
  for (const auto& [function, count] : driver().call_counts)
    EXPECT_TRUE(function == "cuLaunchKernelEx" || function == "cuCtxGetDevice" ||
                function == "cuPointerGetAttributes" || (function == "cuTensorMapEncodeTiled" && count == 1))
        << function << " was called " << count << " times";
}

TEST_F(LaunchCostTest, AsksAboutAPointerOnce) {
  on_new_thread([&] {
    EXPECT_EQ(asked_in_launch(), 12);
    EXPECT_EQ(asked_in_launch(), 0);
    args.h_post = tensor<float>(spare);
    EXPECT_EQ(asked_in_launch(), 1);
    EXPECT_EQ(asked_in_launch(), 0);
  });
  on_new_thread([&] { EXPECT_EQ(asked_in_launch(), 12); });
}

// A pointer that passed for one device has passed for no other.
TEST_F(LaunchCostTest, AsksForEachDevice) {
  const std::string other = "memory of device 0; it must be memory of device 1";
  on_new_thread([&] {
    EXPECT_EQ(asked_in_launch(), 12);
    driver().set_current_device(1);
    const mhcjit_operator* on_other = prepare(engine, problem);
    for (int call = 0; call < 2; ++call)
      expect_failure(mhcjit_pre_forward(on_other, &args, nullptr), MHCJIT_ERROR_WRONG_DEVICE, {"x is 0x", other});
  });
}

TEST_F(LaunchCostTest, RefusesEachTimeWhatItRefusedOnce) {
  alignas(16) static float remote[24];
  driver().add_allocation(remote, sizeof remote, 1, /*managed=*/false);
  alignas(16) static float host[24];
  on_new_thread([&] {
    for (const float* wrong : {remote, host}) {
      args.bias = wrong;
      for (int call = 0; call < 3; ++call)
        expect_failure(mhcjit_pre_forward(op, &args, nullptr), MHCJIT_ERROR_WRONG_DEVICE, {"bias is 0x"});
    }
    EXPECT_TRUE(driver().launches().empty());
    args.bias = tensor<float>(3);
    asked_in_launch();
    args.bias = remote;
    expect_failure(mhcjit_pre_forward(op, &args, nullptr), MHCJIT_ERROR_WRONG_DEVICE, {"bias is 0x"});
  });
}

// A driver that, unlike the fake one, allocates nothing itself.
runtime::DriverApi silent_driver() {
  runtime::DriverApi driver;
  driver.cuCtxGetDevice = [](CUdevice* device) {
    *device = 0;
    return CUDA_SUCCESS;
  };
  driver.cuPointerGetAttributes = [](unsigned, CUpointer_attribute*, void** values, CUdeviceptr) {
    *static_cast<CUmemorytype*>(values[0]) = CU_MEMORYTYPE_DEVICE;
    *static_cast<int*>(values[1]) = 0;
    return CUDA_SUCCESS;
  };
  driver.cuTensorMapEncodeTiled = [](CUtensorMap*, auto...) { return CUDA_SUCCESS; };
  driver.cuLaunchKernelEx = [](const CUlaunchConfig*, CUfunction, void**, void**) { return CUDA_SUCCESS; };
  return driver;
}

// A pointer of 16 bytes' alignment to each tensor and the workspace; nothing runs.
std::vector<std::byte> arguments_of(const codegen::Operator& op, std::int64_t T, std::size_t workspace_bytes) {
  alignas(16) static char memory[16];
  std::vector<std::byte> args(op.arguments.bytes);
  const auto put = [&](std::size_t offset, const auto& value) {
    std::memcpy(args.data() + offset, &value, sizeof value);
  };
  const void* const anywhere = memory;
  for (const codegen::Tensor& tensor : op.tensors) put(tensor.offset, anywhere);
  put(op.arguments.tokens, T);
  put(op.arguments.workspace, anywhere);
  put(op.arguments.workspace_bytes, workspace_bytes);
  return args;
}

TEST_F(LaunchCostTest, AllocatesNothing) {
  const runtime::DriverApi silent = silent_driver();
  const codegen::Architecture architecture = {9, 0, 'a'};
  for (const codegen::Operator* asked : codegen::operators())
    for (const char* wanted : {"", "two_pass", "two_pass cluster_size=0"}) {
      const codegen::Problem problem = {asked, 4, 256, codegen::DType::bf16, true, false, architecture};
      std::vector<runtime::LoadedBucket> buckets;
      for (const codegen::Bucket& bucket : llvm::cantFail(runtime::buckets_of({problem, wanted}))) {
        buckets.push_back({bucket.max_tokens, bucket.plan, {}});
        for (const codegen::Kernel& kernel : bucket.plan->kernels()) {
          runtime::LoadedKernel& loaded = buckets.back().kernels.emplace_back(runtime::LoadedKernel{.kernel = kernel});
          for (const codegen::TensorMap& map : kernel.maps)
            loaded.map_tensors.push_back(
                static_cast<std::size_t>(asked->find_tensor(map.tensor) - asked->tensors.data()));
        }
      }
      const runtime::GpuOperator op(silent, {0, architecture, codegen::device_of(architecture), false}, problem,
                                    buckets);
      for (const std::int64_t T : {1, 300, 4096}) {
        const std::vector<std::byte> args = arguments_of(*asked, T, llvm::cantFail(op.workspace_bytes(T)));
        // The first time the thread meets the tensors, and the second.
        for (int call = 0; call < 2; ++call) {
          const int before = allocations();
          auto error = op.run(asked->id, args.data(), nullptr);
          EXPECT_EQ(allocations(), before) << op.name() << " " << wanted << ", T = " << T;
          EXPECT_FALSE(static_cast<bool>(error)) << take_failure(std::move(error)).text;
        }
      }
    }
}

}  // namespace
}  // namespace mhcjit::test
