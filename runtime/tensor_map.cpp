#include "runtime/tensor_map.h"

#include "runtime/recent.h"

namespace mhcjit::runtime {
namespace {

// All that a map depends on.
struct MapKey {
  const void* base = nullptr;
  std::int64_t T = 0;
  std::int64_t d = 0;
  int n = 0;  // streams of the tensor
  int box_columns = 0;
  int box_tokens = 0;
  int box_streams = 0;
  codegen::DType dtype = codegen::DType::bf16;

  bool operator==(const MapKey&) const = default;
  std::uint64_t number() const { return reinterpret_cast<std::uintptr_t>(base) + static_cast<std::uint64_t>(T); }
};

// Enough for the layers of a large model, each with tensors of its own.
constexpr std::size_t kept_maps = 128;

CUtensorMapDataType type_of(codegen::DType dtype) {
  switch (dtype) {
    case codegen::DType::bf16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case codegen::DType::fp16: return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case codegen::DType::fp32: return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
  return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
}

CUresult encode(const DriverApi& driver, const MapKey& key, CUtensorMap& map) {
  const auto row_bytes = static_cast<cuuint64_t>(key.d) * codegen::bytes_of(key.dtype);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(key.d), static_cast<cuuint64_t>(key.T),
                              static_cast<cuuint64_t>(key.n)};
  const cuuint64_t strides[] = {row_bytes * key.n, row_bytes};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(key.box_columns), static_cast<cuuint32_t>(key.box_tokens),
                            static_cast<cuuint32_t>(key.box_streams)};
  const cuuint32_t steps[] = {1, 1, 1};
  // As many bytes as a row of the box has.
  const CUtensorMapSwizzle swizzle =
      key.box_columns * codegen::bytes_of(key.dtype) == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B;
  return driver.cuTensorMapEncodeTiled(&map, type_of(key.dtype), 3, const_cast<void*>(key.base), sizes, strides, box,
                                       steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                       CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

}  // namespace

llvm::Error fill_tensor_map(const DriverApi& driver, const codegen::Problem& problem, const codegen::TensorMap& map,
                            const void* base, std::int64_t T, CUtensorMap& filled) {
  if (base == nullptr) return llvm::Error::success();
  constinit thread_local Recent<MapKey, CUtensorMap, kept_maps> maps;
  const MapKey key = {.base = base,
                      .T = T,
                      .d = problem.d,
                      .n = map.has_streams ? problem.n : 1,
                      .box_columns = map.columns,
                      .box_tokens = map.tokens,
                      .box_streams = map.streams,
                      .dtype = map.has_x_dtype ? problem.dtype : codegen::DType::fp32};
  auto known = maps.get_or_make(key, [&](CUtensorMap& made) -> llvm::Error {
    const CUresult result = encode(driver, key, made);
    if (result == CUDA_SUCCESS) return llvm::Error::success();  // before the text of a failure is made
    return driver.check(result, MHCJIT_ERROR_LAUNCH_FAILED, "{}: encoding the tensor map of {} at {} with T = {}",
                        to_string(problem), map.tensor, fmt::ptr(base), T);
  });
  if (!known) return known.takeError();
  filled = **known;
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
