// What the lanes of a warp compute together, against the documented layouts, and lanes that disagree.
#include <bit>
#include <cmath>
#include <random>

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

constexpr int rows = 16;
constexpr int columns = 8;
constexpr int depth = 16;

struct Product {
  std::array<std::uint16_t, std::size_t{rows} * depth> a;
  std::array<std::uint16_t, std::size_t{depth} * columns> b;
  std::array<float, std::size_t{rows} * columns> sums;
};

template <class Element>
Product random_product(unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Product product;
  for (std::uint16_t& element : product.a) element = device::from_float<Element>(normal(engine)).bits;
  for (std::uint16_t& element : product.b) element = device::from_float<Element>(normal(engine)).bits;
  for (float& sum : product.sums) sum = normal(engine);
  return product;
}

unsigned pair(std::uint16_t low, std::uint16_t high) { return low | unsigned{high} << 16; }

// As device/matrix.cuh says, with nothing taken from the simulator.
template <class Element>
std::array<float, std::size_t{rows} * columns> multiply_on_warp(const Product& product) {
  std::array<float, std::size_t{rows} * columns> result;
  const std::string fault = run(example(32), [&] {
    const int g = device::thread_index() / 4;
    const int q = device::thread_index() % 4;
    const auto a = [&](int row, int column) {
      return pair(product.a[row * depth + column], product.a[row * depth + column + 1]);
    };
    const auto b = [&](int row) { return pair(product.b[row * columns + g], product.b[(row + 1) * columns + g]); };
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = product.sums[(g + i / 2 * 8) * columns + 2 * q + i % 2];
    device::multiply_add<Element>(sums, {{a(g, 2 * q), a(g + 8, 2 * q), a(g, 2 * q + 8), a(g + 8, 2 * q + 8)}},
                                  b(2 * q), b(2 * q + 8));
    for (int i = 0; i < 4; ++i) result[(g + i / 2 * 8) * columns + 2 * q + i % 2] = sums[i];
  });
  EXPECT_EQ(fault, "");
  return result;
}

template <class Element>
void expect_right_product(unsigned seed) {
  const Product product = random_product<Element>(seed);
  const auto result = multiply_on_warp<Element>(product);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      double exact = product.sums[row * columns + column];
      for (int k = 0; k < depth; ++k)
        exact += static_cast<double>(device::to_float(Element{product.a[row * depth + k]})) *
                 static_cast<double>(device::to_float(Element{product.b[k * columns + column]}));
      EXPECT_EQ(result[row * columns + column], static_cast<float>(exact)) << row << " " << column;
    }
  }
}

TEST(MultiplyAdd, IsTheProductOfTheDocumentedLayout) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    expect_right_product<device::bf16>(seed);
    expect_right_product<device::fp16>(seed);
  }
}

// An fp32 sum would lose the small terms one after another.
TEST(MultiplyAdd, RoundsOnce) {
  Product product = {};
  for (int k = 0; k < depth; ++k) {
    product.a[k] = device::from_float<device::bf16>(0x1p-25f).bits;
    product.b[k * columns] = device::from_float<device::bf16>(1.0f).bits;
  }
  product.sums[0] = 1.0f;
  EXPECT_EQ(multiply_on_warp<device::bf16>(product)[0], 1.0f + 0x1p-21f);
}

TEST(LoadMatrices, GivesEachLaneItsElements) {
  // Rows of 16 bytes in an order of their own: element = 100 * row + column.
  const auto place = [](int row) { return device::shared_base() + static_cast<unsigned>(row * 7 % 32) * 16; };
  Launch launch = example(64, 32 * 16);
  EXPECT_TRUE(runs_clean(launch, [&] {
    const int lane = device::thread_index() % 32;
    const auto element = [](int row, int column) { return static_cast<std::uint16_t>(100 * row + column); };
    if (device::thread_index() < 32)
      for (const int column : {0, 2, 4, 6})
        device::store_shared(place(lane) + static_cast<unsigned>(column) * 2,
                             pair(element(lane, column), element(lane, column + 1)));
    device::block_barrier();
    const auto words = device::load_matrices(place(lane));
    for (int matrix = 0; matrix < 4; ++matrix) {
      const int row = 8 * matrix + lane / 4;
      EXPECT_EQ(words[matrix], pair(element(row, lane % 4 * 2), element(row, lane % 4 * 2 + 1)));
    }
  }));
}

TEST(LoadMatrices, ReportsARowThatIsNotAligned) {
  const std::string fault = run(example(32, 1024), [] {
    device::load_matrices(device::shared_base() + 16 * static_cast<unsigned>(device::thread_index()) +
                          (device::thread_index() == 9 ? 8 : 0));
  });
  EXPECT_TRUE(contains(fault, "load_matrices at sim/matrix_test.cpp:") && contains(fault, "aligned to 16 bytes"))
      << fault;
}

TEST(Warp, ShuffleGivesTheLanesValue) {
  EXPECT_TRUE(runs_clean(example(64), [] {
    const int thread = device::thread_index();
    for (int turn = 0; turn < 8; ++turn) {
      const int from = (thread * 5 + turn) % 32;
      EXPECT_EQ(device::shuffle(static_cast<float>(thread + 1000 * turn), from),
                static_cast<float>(thread / 32 * 32 + from + 1000 * turn));
    }
  }));
}

TEST(Warp, ShuffleReportsALaneThatIsNone) {
  const std::string fault = run(example(32), [] { device::shuffle(1.0f, device::thread_index() == 3 ? 32 : 0); });
  EXPECT_TRUE(contains(fault, "thread 3: shuffle sim/matrix_test.cpp:") && contains(fault, "from lane 32")) << fault;
}

TEST(Warp, ReportsOperationsThatALaneDoesNotReach) {
  const auto expect_dead_lock = [](const std::function<void()>& body, std::string_view operation) {
    const std::string fault = run(example(32, 512), [&] {
      if (device::thread_index() != 7) body();
    });
    EXPECT_TRUE(contains(fault, "dead lock: thread 0 waits at the " + std::string(operation) + " sim/matrix_test.cpp:"))
        << fault;
    EXPECT_TRUE(contains(fault, "(as 30 others), thread 7 has finished")) << fault;
  };
  expect_dead_lock([] { device::shuffle(1.0f, 0); }, "shuffle");
  expect_dead_lock([] { device::warp_barrier(); }, "warp_barrier");
  expect_dead_lock([] { device::load_matrices(device::shared_base()); }, "load_matrices");
  expect_dead_lock(
      [] {
        float sums[4] = {};
        device::multiply_add<device::bf16>(sums, {}, 0, 0);
      },
      "multiply_add");
}

TEST(Warp, ReportsLanesAtDifferentPlaces) {
  const std::string fault = run(example(32), [] {
    if (device::thread_index() < 16)
      device::warp_barrier();
    else
      device::warp_barrier();
  });
  EXPECT_TRUE(contains(fault, "waits at the warp_barrier sim/matrix_test.cpp:") && contains(fault, " while thread "))
      << fault;
}

TEST(Pack, PutsTheLowerColumnIntoTheLowerHalf) {
  EXPECT_EQ(device::pack<device::bf16>(1.0f, -2.0f), 0xc0003f80u);
  EXPECT_EQ(device::pack<device::fp16>(1.0f, -2.0f), 0xc0003c00u);
  EXPECT_EQ(device::low_half<device::bf16>(0xc0003f80u), 1.0f);
  EXPECT_EQ(device::high_half<device::bf16>(0xc0003f80u), -2.0f);
  EXPECT_EQ(device::low_half<device::fp16>(0xc0003c00u), 1.0f);
  EXPECT_EQ(device::high_half<device::fp16>(0xc0003c00u), -2.0f);
}

}  // namespace
}  // namespace mhcjit::sim
