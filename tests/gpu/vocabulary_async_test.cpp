// Barriers, asynchronous copies, tensor maps and clusters on hardware against the simulator's, bit for bit.
#include <cstring>
#include <stdexcept>

#include "gpu_test.h"
#include "kernel_program.h"
#include "vocabulary_cases.h"

namespace mhcjit::gpu {
namespace {

CUtensorMapSwizzle swizzle_of(const BoxedTensor& tensor) {
  switch (tensor.swizzle_bytes) {
    case 64: return CU_TENSOR_MAP_SWIZZLE_64B;
    case 128: return CU_TENSOR_MAP_SWIZZLE_128B;
    default: return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

CUtensorMapDataType type_of(const BoxedTensor& tensor) {
  switch (tensor.dtype) {
    case MHCJIT_BF16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case MHCJIT_FP16: return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case MHCJIT_FP32: break;
  }
  return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
}

class AsyncVocabulary : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (!has_clusters(gpu())) GTEST_SKIP() << gpu().architecture << " has no clusters";
    program_ = std::make_unique<KernelProgram>(gpu(), async_vocabulary_source);
  }

  void encode(const BoxedTensor& tensor, void* base, AsyncVocabularyPointers& args) {
    constexpr std::array<cuuint32_t, 3> element_strides = {1, 1, 1};
    CUtensorMap map;
    static_assert(sizeof(map) == sizeof(args.map));
    gpu().driver.check(gpu().driver.cuTensorMapEncodeTiled(
                           &map, type_of(tensor), 3, base, tensor.sizes.data(), tensor.strides.data(),
                           tensor.box.data(), element_strides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle_of(tensor),
                           CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                       "cuTensorMapEncodeTiled");
    std::memcpy(args.map.data(), &map, sizeof(map));
  }

  Words on_device(const AsyncCase& item) {
    const DeviceBuffer a(gpu(), item.operands.a.size() * 4, 16);
    a.upload(std::as_bytes(std::span(item.operands.a)));
    const DeviceBuffer result(gpu(), item.operands.results * 4, 16);
    const Words before = item.initial_results();
    result.upload(std::as_bytes(std::span(before)));
    AsyncVocabularyPointers args = {
        .pointers = {a.as<std::uint32_t>(), nullptr, nullptr, result.as<std::uint32_t>(), item.operands.count},
        .first = item.first,
        .box_bytes = item.box_bytes()};
    if (item.tensor) encode(*item.tensor, item.is_output ? result.as<void>() : a.as<void>(), args);
    program_->launch(("vocabulary_" + item.kernel).c_str(), item.shape, &args);
    try {
      gpu().synchronize();
    } catch (const std::runtime_error& fault) {
      throw std::runtime_error(item.name + ": " + fault.what());
    }
    EXPECT_TRUE(result.intact()) << item.name;
    Words words(item.operands.results);
    const std::vector<std::byte> bytes = result.download();
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }

  std::unique_ptr<KernelProgram> program_;
};

TEST_F(AsyncVocabulary, EveryCaseGivesTheSameBits) {
  for (const AsyncCase& item : async_cases()) {
    std::string fault;
    const Words host = run_case_on_host(item, fault);
    EXPECT_EQ(fault, "") << item.name;
    EXPECT_TRUE(on_device(item) == host) << item.name;
  }
}

}  // namespace
}  // namespace mhcjit::gpu
