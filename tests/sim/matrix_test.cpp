// What the lanes of a warp compute together, against the documented layouts, and lanes that disagree.
#include <bit>
#include <cmath>
#include <random>

#include "launch_test.h"

namespace mhcjit::sim {
namespace {

using device::SharedAddress;

constexpr int rows = 16;
constexpr int columns = 8;

template <int depth>
struct Product {
  std::array<std::uint16_t, std::size_t{rows} * depth> a;
  std::array<std::uint16_t, std::size_t{depth} * columns> b;
  std::array<float, std::size_t{rows} * columns> sums;
};

template <class Element, int depth>
Product<depth> random_product(unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Product<depth> product;
  for (std::uint16_t& element : product.a) element = device::from_float<Element>(normal(engine)).bits;
  for (std::uint16_t& element : product.b) element = device::from_float<Element>(normal(engine)).bits;
  for (float& sum : product.sums) sum = normal(engine);
  return product;
}

unsigned pair(std::uint16_t low, std::uint16_t high) { return low | unsigned{high} << 16; }

// As device/matrix.cuh says, with nothing taken from the simulator.
template <class Element, int depth>
std::array<float, std::size_t{rows} * columns> multiply_on_warp(const Product<depth>& product) {
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
    if constexpr (depth == 8)
      device::multiply_add<Element>(sums, a(g, 2 * q), a(g + 8, 2 * q), b(2 * q));
    else
      device::multiply_add<Element>(sums, {{a(g, 2 * q), a(g + 8, 2 * q), a(g, 2 * q + 8), a(g + 8, 2 * q + 8)}},
                                    b(2 * q), b(2 * q + 8));
    for (int i = 0; i < 4; ++i) result[(g + i / 2 * 8) * columns + 2 * q + i % 2] = sums[i];
  });
  EXPECT_EQ(fault, "");
  return result;
}

template <class Element, int depth>
void expect_right_product(unsigned seed) {
  const auto product = random_product<Element, depth>(seed);
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
    expect_right_product<device::bf16, 8>(seed);
    expect_right_product<device::fp16, 8>(seed);
    expect_right_product<device::bf16, 16>(seed);
    expect_right_product<device::fp16, 16>(seed);
  }
}

// An fp32 sum would lose the small terms one after another.
TEST(MultiplyAdd, RoundsOnce) {
  Product<16> product = {};
  for (int k = 0; k < 16; ++k) {
    product.a[k] = device::from_float<device::bf16>(0x1p-25f).bits;
    product.b[k * columns] = device::from_float<device::bf16>(1.0f).bits;
  }
  product.sums[0] = 1.0f;
  EXPECT_EQ(multiply_on_warp<device::bf16>(product)[0], 1.0f + 0x1p-21f);
}

// Rows of 16 bytes in an order of their own: element = 100 * row + column, of four matrices one below another.
SharedAddress place_of_row(int row) { return device::shared_base() + static_cast<unsigned>(row * 7 % 32) * 16; }
std::uint16_t element(int row, int column) { return static_cast<std::uint16_t>(100 * row + column); }
unsigned pair_in_row(int row, int column) { return pair(element(row, column), element(row, column + 1)); }
unsigned pair_in_column(int row, int column) { return pair(element(row, column), element(row + 1, column)); }

void store_row(int row) {
  for (const int column : {0, 2, 4, 6})
    device::store_shared(place_of_row(row) + static_cast<unsigned>(column) * 2, pair_in_row(row, column));
}

TEST(Matrices, AreLoadedByElements) {
  EXPECT_TRUE(runs_clean(example(64, 32 * 16), [&] {
    const int lane = device::thread_index() % 32;
    if (device::thread_index() < 32) store_row(lane);
    device::block_barrier();
    const auto words = device::load_matrices(place_of_row(lane));
    const auto transposed = device::load_matrices_transposed(place_of_row(lane));
    for (int matrix = 0; matrix < 4; ++matrix) {
      EXPECT_EQ(words[matrix], pair_in_row(8 * matrix + lane / 4, lane % 4 * 2));
      EXPECT_EQ(transposed[matrix], pair_in_column(8 * matrix + lane % 4 * 2, lane / 4));
    }
  }));
}

TEST(Matrices, AreStoredTransposed) {
  EXPECT_TRUE(runs_clean(example(32, 32 * 16), [&] {
    const int lane = device::thread_index();
    device::Vector<unsigned, 4> words;
    for (int matrix = 0; matrix < 4; ++matrix) words[matrix] = pair_in_column(8 * matrix + lane % 4 * 2, lane / 4);
    device::store_matrices_transposed(place_of_row(lane), words);
    device::warp_barrier();
    const int row = 31 - lane;
    const auto stored = device::load_shared_words<4>(place_of_row(row));
    for (int word = 0; word < 4; ++word) EXPECT_EQ(stored[word], pair_in_row(row, 2 * word));
  }));
}

TEST(Matrices, ReportARowThatIsNotAligned) {
  const auto expect_fault = [](const std::function<void(SharedAddress)>& body, std::string_view operation) {
    const std::string fault = run(example(32, 1024), [&] {
      body(device::shared_base() + 16 * static_cast<unsigned>(device::thread_index()) +
           (device::thread_index() == 9 ? 8 : 0));
    });
    EXPECT_TRUE(contains(fault, std::string(operation) + " at sim/matrix_test.cpp:") &&
                contains(fault, "aligned to 16 bytes"))
        << fault;
  };
  expect_fault([](SharedAddress row) { device::load_matrices(row); }, "load_matrices");
  expect_fault([](SharedAddress row) { device::load_matrices_transposed(row); }, "load_matrices_transposed");
  expect_fault([](SharedAddress row) { device::store_matrices_transposed(row, {}); }, "store_matrices_transposed");
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

TEST(Warp, AnyLaneSpeaksForItsWarpAlone) {
  EXPECT_TRUE(runs_clean(example(64), [] {
    const int thread = device::thread_index();
    EXPECT_EQ(device::any_lane(thread == 40), thread >= 32);
    EXPECT_FALSE(device::any_lane(false));
  }));
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
  expect_dead_lock([] { device::any_lane(true); }, "any_lane");
  expect_dead_lock([] { device::warp_barrier(); }, "warp_barrier");
  expect_dead_lock([] { device::load_matrices(device::shared_base()); }, "load_matrices");
  expect_dead_lock([] { device::load_matrices_transposed(device::shared_base()); }, "load_matrices_transposed");
  expect_dead_lock([] { device::store_matrices_transposed(device::shared_base(), {}); }, "store_matrices_transposed");
  expect_dead_lock(
      [] {
        float sums[4] = {};
        device::multiply_add<device::bf16>(sums, device::Vector<unsigned, 4>(), 0, 0);
      },
      "multiply_add");
  expect_dead_lock(
      [] {
        float sums[4] = {};
        device::multiply_add<device::fp16>(sums, 0, 0, 0);
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
