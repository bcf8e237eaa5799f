// Boxes of a tensor, on their way in and out: each element against a plain loop, for boxes inside, partly and wholly
// outside, with and without the swizzle; and the limits that the driver documents.
#include "tensor_map.h"

#include <cmath>
#include <random>

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

  // The index of the element at (0, 0, 0) in the storage.
  std::size_t origin() const { return static_cast<const std::uint16_t*>(shape.base) - storage.data(); }

  device::TensorMap map() const {
    device::TensorMap map;
    EXPECT_EQ(encode(shape, map.opaque), "");
    return map;
  }
};

constexpr std::size_t shared_bytes = 32 * 1024;
constexpr unsigned destination = 2048;

// Where an element of the box stands in shared memory, without the simulator's help: the base is aligned to 1024 bytes,
// so that offsets have the address's lower bits.
unsigned place_in_box(const TensorShape& shape, unsigned i0, unsigned i1, unsigned i2) {
  const unsigned at = destination + shape.element_bytes() * (i0 + shape.box[0] * (i1 + shape.box[1] * i2));
  if (shape.swizzle_bytes == 128) return at ^ (at / 128 % 8) * 16;
  if (shape.swizzle_bytes == 64) return at ^ (at / 128 % 4) * 16;
  return at;
}

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
        different += shared[place_in_box(tensor.shape, i0, i1, i2) / 2] != tensor.at(first[0] + static_cast<int>(i0),
                                                                                     first[1] + static_cast<int>(i1),
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

// The tensor's memory after one store of a box whose elements are 60001, 60002...: no element of the tensor is.
void expect_stored_box(Tensor&& tensor, std::array<int, 3> first) {
  SCOPED_TRACE(::testing::Message() << "first " << first[0] << " " << first[1] << " " << first[2]);
  const device::TensorMap map = tensor.map();
  const TensorShape& shape = tensor.shape;
  const std::vector<std::uint16_t> before = tensor.storage;
  const auto value = [&](unsigned i0, unsigned i1, unsigned i2) {
    return static_cast<std::uint16_t>(60001 + i0 + shape.box[0] * (i1 + shape.box[1] * i2));
  };
  const auto for_each_element = [&](const auto& visit) {
    for (unsigned i2 = 0; i2 < shape.box[2]; ++i2)
      for (unsigned i1 = 0; i1 < shape.box[1]; ++i1)
        for (unsigned i0 = 0; i0 < shape.box[0]; ++i0) visit(i0, i1, i2);
  };
  const std::string fault = run(example(32, shared_bytes), [&] {
    if (device::thread_index() != 0) return;
    for_each_element([&](unsigned i0, unsigned i1, unsigned i2) {
      const std::uint16_t element = value(i0, i1, i2);
      std::memcpy(reinterpret_cast<std::byte*>(device::shared_floats()) + place_in_box(shape, i0, i1, i2), &element, 2);
    });
    device::copy_fence();
    device::store_box(map, first[0], first[1], first[2], device::shared_base() + destination);
    device::store_commit();
    device::store_wait_read<0>();
  });
  EXPECT_EQ(fault, "");
  std::vector<std::uint16_t> expected = before;
  for_each_element([&](unsigned i0, unsigned i1, unsigned i2) {
    const std::array<std::int64_t, 3> c = {first[0] + std::int64_t{i0}, first[1] + std::int64_t{i1},
                                           first[2] + std::int64_t{i2}};
    for (int i = 0; i < 3; ++i)
      if (c[i] < 0 || c[i] >= static_cast<std::int64_t>(shape.sizes[i])) return;
    const auto at = c[0] + c[1] * (shape.strides[0] / 2) + c[2] * (shape.strides[1] / 2);
    expected[tensor.origin() + at] = value(i0, i1, i2);
  });
  EXPECT_EQ(tensor.storage, expected);
}

TEST(StoreBox, WritesEveryBoxInsideAndNothingOutside) {
  for (const std::uint32_t swizzle_bytes : {0, 64, 128}) {
    for (const std::uint64_t size : {64, 120, 136}) {
      SCOPED_TRACE(::testing::Message() << "size " << size << " swizzle " << swizzle_bytes);
      const auto tensor = [&] { return Tensor({size, 21, 3}, {swizzle_bytes == 64 ? 32u : 64u, 8, 4}, swizzle_bytes); };
      for (const int c0 : {0, 64, 120, 192})
        for (const int c1 : {0, 20, 21}) expect_stored_box(tensor(), {c0, c1, 0});
      for (const int c2 : {1, 2, 3}) expect_stored_box(tensor(), {64, 8, c2});
    }
  }
  expect_stored_box(Tensor({104, 9, 2}, {8, 5, 2}, 0), {96, 6, 1});
  expect_stored_box(Tensor({104, 9, 2}, {256, 3, 1}, 0), {8, 7, 1});
}

// What one add_box makes of a row of elements, of which the last 16 bytes stand outside the tensor.
template <class T>
constexpr std::size_t outside = 16 / sizeof(T);
template <class T>
std::vector<T> row_after_add(const std::vector<T>& before, const std::vector<T>& added, mhcjit_dtype dtype) {
  constexpr std::size_t row = 256 / sizeof(T);
  alignas(16) std::array<T, row> memory = {};
  std::copy(before.begin(), before.end(), memory.begin());
  device::TensorMap map;
  EXPECT_EQ(encode({.base = memory.data(),
                    .sizes = {before.size() - outside<T>, 1, 1},
                    .strides = {256, 256},
                    .box = {row, 1, 1},
                    .dtype = dtype},
                   map.opaque),
            "");
  const std::string fault = run(example(32, 1024), [&] {
    if (device::thread_index() != 0) return;
    std::copy(added.begin(), added.end(), reinterpret_cast<T*>(device::shared_floats()));
    device::add_box(map, 0, 0, 0, device::shared_base());
    device::store_commit();
    device::store_wait_read<0>();
  });
  EXPECT_EQ(fault, "");
  return {memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(before.size())};
}

TEST(AddBox, AddsInFloat) {
  const std::vector<float> ones(8, 1.0f);
  EXPECT_EQ(row_after_add<float>({1.0f, -2.5f, 0x1p24f, 0.5f, 7.0f, 7.0f, 7.0f, 7.0f}, ones, MHCJIT_FP32),
            (std::vector<float>{2.0f, -1.5f, 0x1p24f, 1.5f, 7.0f, 7.0f, 7.0f, 7.0f}));
}

// No other half is nearer to the exact sum than the one that it becomes; halfway between two it is the even one.
template <class Element>
void expect_sums_rounded_once(mhcjit_dtype dtype) {
  std::mt19937 engine(3);
  const auto random_half = [&] {
    while (true) {
      const Element element{static_cast<std::uint16_t>(engine())};
      if (std::isfinite(device::to_float(element))) return element;
    }
  };
  for (int turn = 0; turn < 200; ++turn) {
    std::vector<std::uint16_t> before, added;
    for (int i = 0; i < 128; ++i) {
      before.push_back(random_half().bits);
      added.push_back(random_half().bits);
    }
    const std::vector<std::uint16_t> sums = row_after_add(before, added, dtype);
    EXPECT_EQ(sums.back(), before.back());
    for (std::size_t i = 0; i + outside<std::uint16_t> < sums.size(); ++i) {
      // Exact for all exponents of both types.
      const auto exact = static_cast<long double>(device::to_float(Element{before[i]})) +
                         static_cast<long double>(device::to_float(Element{added[i]}));
      const auto distance = [&](std::uint16_t bits) {
        return std::abs(static_cast<long double>(device::to_float(Element{bits})) - exact);
      };
      const std::uint16_t sum = sums[i];
      if (std::isinf(device::to_float(Element{sum}))) {
        // It is at least half a step beyond the largest number.
        const auto largest = static_cast<std::uint16_t>(sum - 1);
        EXPECT_GE(2 * distance(largest), distance(static_cast<std::uint16_t>(largest - 1)) - distance(largest));
        continue;
      }
      for (const int beside : {-1, 1}) {
        const auto other = static_cast<std::uint16_t>(sum + beside);
        if ((sum & 0x7fff) == 0 || !std::isfinite(device::to_float(Element{other}))) continue;
        EXPECT_LE(distance(sum), distance(other));
        EXPECT_TRUE(distance(sum) != distance(other) || sum % 2 == 0);
      }
    }
  }
}

TEST(AddBox, RoundsSumsOfHalvesOnce) {
  expect_sums_rounded_once<device::bf16>(MHCJIT_BF16);
  expect_sums_rounded_once<device::fp16>(MHCJIT_FP16);
}

TEST(StoreBox, ReportsMisuse) {
  const Tensor tensor({64, 8, 1}, {64, 8, 1}, 128);
  const auto fault_at = [](const device::TensorMap& used, unsigned from, int column = 0) {
    return run(example(32, 8192), [&] {
      if (device::thread_index() == 0) device::store_box(used, column, 0, 0, device::shared_base() + from);
    });
  };
  const device::TensorMap map = tensor.map();
  EXPECT_TRUE(contains(fault_at(map, 1024 + 128), "store_box at sim/tensor_map_test.cpp:"));
  EXPECT_TRUE(contains(fault_at(map, 1024 + 128), "not aligned to 1024 bytes"));
  EXPECT_TRUE(contains(fault_at(map, 8192), "outside the block's 8192 bytes"));
  EXPECT_TRUE(contains(fault_at(map, 1024, 3), "begins at byte 6 of a row, which is no multiple of 16"));
  EXPECT_TRUE(contains(fault_at(map, 1024, -8), "a coordinate is negative"));
  const Tensor ragged({60, 8, 1}, {64, 8, 1}, 128);
  EXPECT_TRUE(contains(fault_at(ragged.map(), 1024), "no multiple of 16"));
  EXPECT_TRUE(contains(fault_at(device::TensorMap{}, 1024), "a tensor map that sim::encode did not write"));
  const std::string added = run(example(32, 8192), [&] {
    if (device::thread_index() == 0) device::add_box(map, 0, 0, 0, device::shared_base() + 64);
  });
  EXPECT_TRUE(contains(added, "add_box at sim/tensor_map_test.cpp:")) << added;
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
