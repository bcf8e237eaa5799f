// Boxes of a tensor: each element against a plain loop, for boxes inside, partly and wholly outside, with and without
// the swizzle; and the limits that the driver documents.
#include "tensor_map.h"

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

constexpr int poison = 0xffff;  // two bytes of shared memory that nobody wrote

struct alignas(64) Tensor {
  std::vector<std::uint16_t> storage;
  TensorShape shape;

  // Rows have padding behind them, and the element at (0, 0, 0) stands 16 bytes from the beginning.
  Tensor(std::array<std::uint64_t, 3> sizes, std::array<std::uint32_t, 3> box, std::uint32_t swizzle_bytes) {
    const std::uint64_t row = (sizes[0] + 7) / 8 * 8 + 8;
    storage.resize(row * sizes[1] * sizes[2] + 64);
    for (std::size_t i = 0; i < storage.size(); ++i) storage[i] = static_cast<std::uint16_t>(1 + i % 60000);
    const auto begin = (reinterpret_cast<std::uintptr_t>(storage.data()) + 15) / 16 * 16;
    shape = {.base = reinterpret_cast<const void*>(begin),
             .sizes = sizes,
             .strides = {row * 2, row * 2 * sizes[1]},
             .box = box,
             .element_bytes = 2,
             .swizzle_bytes = swizzle_bytes};
  }

  // Zero outside.
  std::uint16_t at(std::int64_t c0, std::int64_t c1, std::int64_t c2) const {
    const std::array<std::int64_t, 3> c = {c0, c1, c2};
    for (int i = 0; i < 3; ++i)
      if (c[i] < 0 || c[i] >= static_cast<std::int64_t>(shape.sizes[i])) return 0;
    return static_cast<const std::uint16_t*>(
        shape.base)[c0 + c1 * (shape.strides[0] / 2) + c2 * (shape.strides[1] / 2)];
  }

  device::TensorMap map() const {
    device::TensorMap map;
    EXPECT_EQ(encode(shape, map.opaque), "");
    return map;
  }
};

constexpr std::size_t shared_bytes = 32 * 1024;
constexpr unsigned destination = 2048;

// The shared memory after one copy.
std::vector<std::uint16_t> shared_after_copy(const Tensor& tensor, std::array<int, 3> first, std::uint64_t seed) {
  const device::TensorMap map = tensor.map();
  std::vector<std::uint16_t> shared(shared_bytes / 2);
  Launch launch = example(32, shared_bytes);
  launch.seed = seed;
  const std::string fault = run(launch, [&] {
    const auto barrier = device::shared_base();
    if (device::thread_index() == 0) {
      device::barrier_init(barrier, 1);
      device::barrier_init_fence();
    }
    device::block_barrier();
    if (device::thread_index() != 0) return;
    device::barrier_arrive_expect(barrier, static_cast<int>(tensor.shape.box_bytes()));
    device::copy_box(device::shared_base() + destination, map, first[0], first[1], first[2], barrier);
    device::barrier_wait(barrier, 0);
    std::memcpy(shared.data(), device::shared_floats(), shared_bytes);
  });
  EXPECT_EQ(fault, "");
  return shared;
}

void expect_box(const Tensor& tensor, std::array<int, 3> first) {
  SCOPED_TRACE(::testing::Message() << "first " << first[0] << " " << first[1] << " " << first[2]);
  const std::vector<std::uint16_t> shared = shared_after_copy(tensor, first, 1);
  const auto& box = tensor.shape.box;
  std::size_t different = 0;
  for (unsigned i2 = 0; i2 < box[2]; ++i2)
    for (unsigned i1 = 0; i1 < box[1]; ++i1)
      for (unsigned i0 = 0; i0 < box[0]; ++i0) {
        unsigned address = destination + 2 * (i0 + box[0] * (i1 + box[1] * i2));
        // The base is aligned to 1024 bytes, so offsets have the address's lower bits.
        if (tensor.shape.swizzle_bytes == 128) address ^= (address / 128 % 8) * 16;
        if (tensor.shape.swizzle_bytes == 64) address ^= (address / 128 % 4) * 16;
        different += shared[address / 2] != tensor.at(first[0] + static_cast<int>(i0), first[1] + static_cast<int>(i1),
                                                      first[2] + static_cast<int>(i2));
      }
  EXPECT_EQ(different, 0u);
  EXPECT_EQ(shared[destination / 2 - 1], poison);
  EXPECT_EQ(shared[(destination + tensor.shape.box_bytes()) / 2], poison);
}

TEST(CopyBox, BringsEveryBoxInsideAndOutside) {
  for (const std::uint32_t swizzle_bytes : {0, 64, 128}) {
    for (const std::uint64_t size : {64, 127, 136}) {
      SCOPED_TRACE(::testing::Message() << "size " << size << " swizzle " << swizzle_bytes);
      const Tensor tensor({size, 21, 3}, {swizzle_bytes == 64 ? 32u : 64u, 8, 4}, swizzle_bytes);
      for (const int c0 : {-64, -8, 0, 8, 64, 120, 192})
        for (const int c1 : {-8, -3, 0, 16, 20, 21}) expect_box(tensor, {c0, c1, 0});
      for (const int c2 : {-4, -1, 1, 2, 3}) expect_box(tensor, {64, 8, c2});
    }
  }
}

TEST(CopyBox, TakesElementsOfOtherSizesAndNarrowRows) {
  expect_box(Tensor({100, 9, 2}, {8, 5, 2}, 0), {96, 6, 1});
  expect_box(Tensor({100, 9, 2}, {256, 3, 1}, 0), {-104, 7, 1});
}

TEST(CopyBox, ReportsMisuse) {
  const Tensor tensor({64, 8, 1}, {64, 8, 1}, 128);
  const device::TensorMap map = tensor.map();
  const auto fault_at = [](const device::TensorMap& used, unsigned to, int column = 0) {
    return run(example(32, 8192), [&] {
      if (device::thread_index() != 0) return;
      device::barrier_init(device::shared_base(), 1);
      device::barrier_init_fence();
      device::copy_box(device::shared_base() + to, used, column, 0, 0, device::shared_base());
    });
  };
  EXPECT_TRUE(contains(fault_at(map, 1024 + 128), "copy_box at sim/tensor_map_test.cpp:")) << fault_at(map, 1024 + 128);
  EXPECT_TRUE(contains(fault_at(map, 1024 + 128), "not aligned to 1024 bytes"));
  const device::TensorMap narrow = Tensor({64, 8, 1}, {32, 8, 1}, 64).map();
  EXPECT_TRUE(contains(fault_at(narrow, 1024 + 256), "not aligned to 512 bytes"));
  EXPECT_TRUE(contains(fault_at(map, 8192), "outside the block's 8192 bytes"));
  EXPECT_TRUE(contains(fault_at(map, 1024, 3), "begins at byte 6 of a row, which is no multiple of 16"));
  const device::TensorMap plain = Tensor({64, 8, 1}, {64, 8, 1}, 0).map();
  EXPECT_TRUE(contains(fault_at(plain, 1024 + 64), "not aligned to 128 bytes"));
  EXPECT_TRUE(contains(fault_at(device::TensorMap{}, 1024), "a tensor map that sim::encode did not write"));
}

TEST(Encode, RefusesWhatTheDriverRefuses) {
  alignas(64) static const std::array<std::byte, 4096> memory = {};
  const TensorShape good = {.base = memory.data(), .sizes = {64, 8, 4}, .strides = {128, 1024}, .box = {64, 8, 4}};
  const auto refusal = [&](const auto& change) {
    TensorShape shape = good;
    change(shape);
    device::TensorMap map;
    return encode(shape, map.opaque);
  };
  using Shape = TensorShape;
  EXPECT_EQ(refusal([](Shape&) {}), "");
  EXPECT_EQ(refusal([](Shape& s) { s.sizes[1] = std::uint64_t{1} << 32; }), "");
  EXPECT_EQ(refusal([](Shape& s) { s.strides[1] = (std::uint64_t{1} << 40) - 16; }), "");
  EXPECT_EQ(refusal([](Shape& s) { s.box = {256, 256, 1}; }), "");
  EXPECT_EQ(refusal([](Shape& s) { s.swizzle_bytes = 128; }), "");
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.swizzle_bytes = 32; }), "the swizzle is of 32 bytes"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.base = memory.data() + 8; }), "base address is"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.base = nullptr; }), "base address is"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.sizes[2] = 0; }), "a size is 0"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.sizes[0] = (std::uint64_t{1} << 32) + 1; }), "a size is 4294967297"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.strides[0] = 136; }), "a stride is 136 bytes"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.strides[1] = std::uint64_t{1} << 40; }), "below 2^40"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.box[1] = 257; }), "a side of the box is 257"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.box[2] = 0; }), "a side of the box is 0"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.box[0] = 12; }), "rows of the box have 24 bytes"));
  EXPECT_TRUE(contains(refusal([](Shape& s) { s.element_bytes = 3; }), "elements have 3 bytes"));
  const auto swizzled_row = [&](std::uint32_t elements, std::uint32_t swizzle_bytes) {
    return refusal([&](Shape& s) {
      s.swizzle_bytes = swizzle_bytes;
      s.box[0] = elements;
    });
  };
  EXPECT_EQ(swizzled_row(32, 64), "");
  EXPECT_TRUE(contains(swizzled_row(72, 128), "up to 128"));
  EXPECT_TRUE(contains(swizzled_row(64, 64), "up to 64"));
  EXPECT_TRUE(contains(swizzled_row(32, 128), "the simulator knows the swizzle for 128"));
  EXPECT_TRUE(contains(swizzled_row(16, 64), "the simulator knows the swizzle for 64"));
}

}  // namespace
}  // namespace mhcjit::sim
