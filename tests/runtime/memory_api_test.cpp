// memory.h on the fake driver: what it gives, and each of its documented errors.
#include <cstring>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

using MemoryApiTest = FakeGpuTest;

TEST_F(MemoryApiTest, CountsAndOpensDevices) {
  driver().set_current_device(-1);
  std::int32_t count = 0;
  ASSERT_EQ(mhcjit_device_count(&count), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(count, 2);
  ASSERT_EQ(mhcjit_device_open(1), MHCJIT_SUCCESS) << mhcjit_last_error();
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 2, workspace_bytes(op, 2));
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().back().device, 1);
  for (const std::int32_t ordinal : {-1, 2})
    expect_failure(mhcjit_device_open(ordinal), MHCJIT_ERROR_INVALID_ARGUMENT,
                   {"ordinal is " + std::to_string(ordinal), "0 to 1"});
}

TEST_F(MemoryApiTest, RetainsAPrimaryContextOnce) {
  ASSERT_EQ(mhcjit_device_open(0), MHCJIT_SUCCESS);
  const int before = driver().calls("cuDevicePrimaryCtxRetain");
  ASSERT_EQ(mhcjit_device_open(0), MHCJIT_SUCCESS);
  EXPECT_EQ(driver().calls("cuDevicePrimaryCtxRetain"), before);
}

TEST_F(MemoryApiTest, NoDeviceIsACountOfZero) {
  driver().device_count = 0;
  std::int32_t count = 77;
  EXPECT_EQ(mhcjit_device_count(&count), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(count, 0);
}

TEST_F(MemoryApiTest, CopiesThereAndBack) {
  const std::string written = "bytes that no zero-filled memory holds";
  void* memory = nullptr;
  ASSERT_EQ(mhcjit_memory_allocate(written.size(), &memory), MHCJIT_SUCCESS) << mhcjit_last_error();
  ASSERT_EQ(mhcjit_memory_copy_to_device(memory, written.data(), written.size()), MHCJIT_SUCCESS)
      << mhcjit_last_error();
  std::string read(written.size(), '?');
  ASSERT_EQ(mhcjit_memory_copy_to_host(read.data(), memory, read.size()), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(read, written);
  expect_failure(mhcjit_memory_copy_to_host(read.data(), memory, read.size() + 1000), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"copying " + std::to_string(read.size() + 1000) + " bytes", "CUDA_ERROR_INVALID_VALUE"});
  EXPECT_EQ(mhcjit_memory_free(memory), MHCJIT_SUCCESS) << mhcjit_last_error();
  expect_failure(mhcjit_memory_free(memory), MHCJIT_ERROR_INVALID_ARGUMENT, {"freeing device memory 0x"});
}

TEST_F(MemoryApiTest, NothingIsAllocatedCopiedOrFreedForNothing) {
  void* memory = &memory;
  EXPECT_EQ(mhcjit_memory_allocate(0, &memory), MHCJIT_SUCCESS);
  EXPECT_EQ(memory, nullptr);
  EXPECT_EQ(mhcjit_memory_copy_to_device(nullptr, nullptr, 0), MHCJIT_SUCCESS);
  EXPECT_EQ(mhcjit_memory_free(nullptr), MHCJIT_SUCCESS);
}

TEST_F(MemoryApiTest, NullPointers) {
  char byte = 0;
  expect_failure(mhcjit_device_count(nullptr), MHCJIT_ERROR_NULL_POINTER, {"count is NULL"});
  expect_failure(mhcjit_memory_allocate(1, nullptr), MHCJIT_ERROR_NULL_POINTER, {"memory is NULL"});
  expect_failure(mhcjit_memory_copy_to_device(nullptr, &byte, 1), MHCJIT_ERROR_NULL_POINTER, {"device is NULL"});
  expect_failure(mhcjit_memory_copy_to_host(nullptr, &byte, 1), MHCJIT_ERROR_NULL_POINTER, {"host is NULL"});
}

TEST_F(MemoryApiTest, OutOfMemory) {
  driver().free_bytes = 1000;
  void* memory = &memory;
  expect_failure(mhcjit_memory_allocate(1001, &memory), MHCJIT_ERROR_OUT_OF_MEMORY,
                 {"allocating 1001 bytes", "CUDA_ERROR_OUT_OF_MEMORY", "free memory"});
  EXPECT_EQ(memory, nullptr);
}

TEST_F(MemoryApiTest, NoContext) {
  driver().set_current_device(-1);
  void* memory = nullptr;
  expect_failure(mhcjit_memory_allocate(8, &memory), MHCJIT_ERROR_NO_DEVICE, {"no CUDA context is current"});
}

// A kernel that faults is reported by whatever waits for it.
TEST_F(MemoryApiTest, AnEarlierFaultIsReportedByTheCopy) {
  const Tensor tensor(16);
  char host[16];
  driver().fail("cuMemcpyDtoH", CUDA_ERROR_ILLEGAL_ADDRESS);
  expect_failure(mhcjit_memory_copy_to_host(host, tensor.data(), sizeof host), MHCJIT_ERROR_LAUNCH_FAILED,
                 {"CUDA_ERROR_ILLEGAL_ADDRESS"});
}

}  // namespace
}  // namespace mhcjit::test
