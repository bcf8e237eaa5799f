// What a launch costs beside its kernels: which questions it asks the driver, when it asks them again, and that it
// allocates nothing.
#include <thread>

#include "codegen/heuristic.h"
#include "oracle/tensors.h"
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
    engine = make_engine("portable");
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

  static constexpr mhcjit_problem problem = {MHCJIT_PRE_FORWARD, 4, 8, MHCJIT_BF16, 1, 0};
  EnginePtr engine;
  const mhcjit_operator* op = nullptr;
  mhcjit_pre_forward_args args = {};
};

// Of x also its tensor map, once.
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

TEST_F(LaunchCostTest, AllocatesNothing) {
  const runtime::DriverApi silent = silent_driver();
  for (const mhcjit_problem& asked : {forward_problem, backward_problem}) {
    const codegen::KernelSpec spec =
        llvm::cantFail(codegen::choose_spec(llvm::cantFail(codegen::from_public(asked, {9, 0, 'a'}))));
    std::vector<runtime::LoadedKernel> kernels;
    for (const codegen::StagePlan& plan : codegen::stages(spec))
      kernels.push_back({.stage = plan.stage,
                         .kernel = nullptr,
                         .dynamic_smem_bytes = 0,
                         .threads_per_block = 32,
                         .box = plan.box,
                         .min_tokens = plan.min_tokens,
                         .max_tokens = plan.max_tokens});
    const runtime::GpuOperator op(silent, {0, spec.problem.architecture, false}, spec, kernels);
    for (const std::int64_t T : {1, 4096}) {
      const std::size_t workspace = llvm::cantFail(op.workspace_bytes(T));
      const ForwardCall forward(forward_problem, 1, 1);
      BackwardCall backward(backward_problem, 1, 1);
      mhcjit_pre_forward_args forward_args = forward.args;
      forward_args.T = backward.args.T = T;
      forward_args.workspace_bytes = backward.args.workspace_bytes = workspace;
      // The first time the thread meets the tensors, and the second.
      for (int call = 0; call < 2; ++call) {
        const int before = allocations();
        auto error = asked.op == MHCJIT_PRE_FORWARD ? op.pre_forward(forward_args, nullptr)
                                                    : op.pre_backward(backward.args, nullptr);
        EXPECT_EQ(allocations(), before) << op.name() << ", T = " << T;
        EXPECT_FALSE(static_cast<bool>(error)) << take_failure(std::move(error)).text;
      }
    }
  }
}

}  // namespace
}  // namespace mhcjit::test
