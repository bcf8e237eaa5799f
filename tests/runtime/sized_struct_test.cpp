// How structs of the C ABI grow: a program older or newer than the library, and one that forgot struct_size.
#include "runtime/sized_struct.h"

#include <cstring>

#include "support/error.h"
#include "tests/runtime/fake_gpu.h"
#include "tests/runtime/initialisers.h"

namespace mhcjit::test {

// A struct that has grown by two members since its first version.
struct Grown {
  std::size_t struct_size = sizeof(Grown);
  std::int32_t first = 0, second = 0;
  float added = 2.0f;
  std::int32_t reserved = 0;
};
constexpr std::size_t first_grown = 16;

}  // namespace mhcjit::test

namespace mhcjit::runtime {

template <>
inline constexpr SizedStruct sized<test::Grown> = {"Grown", "GROWN_INIT", test::first_grown, sizeof(test::Grown)};

}  // namespace mhcjit::runtime

namespace mhcjit::test {
namespace {

using runtime::check_received;
using runtime::sized;
using runtime::with_filled;
using runtime::write_received;

// A struct of a later version, as far as this one is concerned.
template <typename T>
struct Newer {
  explicit Newer(const T& given) : known(given) { known.struct_size = sizeof(Newer); }

  T known;
  unsigned char beyond[24] = {};
};

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

class SizedStructTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    engine = make_engine();
  }

  template <typename T, typename Call>
  static void expect_sizes_refused(T given, const Call& call) {
    const std::string name = sized<T>.name, initialiser = sized<T>.initialiser;
    EXPECT_EQ(sized<T>.bytes, sizeof(T));
    for (const std::size_t size : {std::size_t{0}, std::size_t{8}, sized<T>.first_bytes - 1, ~std::size_t{0}}) {
      given.struct_size = size;
      const std::string before = bytes_of(given);
      expect_failure(call(given), MHCJIT_ERROR_INVALID_ARGUMENT,
                     {name + ": struct_size is " + std::to_string(size) + ",", initialiser, "sizeof(" + name + ")"});
      EXPECT_EQ(bytes_of(given), before) << name << " is written";
    }
  }

  // For a struct that the caller fills; `call` succeeds with `good`.
  template <typename T, typename Call>
  static void expect_filled(const T& good, const Call& call) {
    expect_sizes_refused(good, call);
    T present = good;
    EXPECT_EQ(call(present), MHCJIT_SUCCESS) << mhcjit_last_error();
    present.struct_size = sized<T>.first_bytes;
    EXPECT_EQ(call(present), MHCJIT_SUCCESS) << mhcjit_last_error();
    Newer<T> newer(good);
    EXPECT_EQ(call(newer.known), MHCJIT_SUCCESS) << mhcjit_last_error();
    newer.beyond[17] = 3;
    expect_failure(call(newer.known), MHCJIT_ERROR_INVALID_ARGUMENT,
                   {std::string(sized<T>.name) + ": byte " + std::to_string(sizeof(T) + 17) + " is 3, allowed: 0"});
  }

  // For a struct that the caller receives.
  template <typename T, typename Call>
  static void expect_received(const Call& call) {
    expect_sizes_refused(T{}, call);
    Newer<T> newer(T{});
    std::memset(newer.beyond, 0xa5, sizeof newer.beyond);
    EXPECT_EQ(call(newer.known), MHCJIT_SUCCESS) << mhcjit_last_error();
    EXPECT_EQ(newer.known.struct_size, sizeof newer);
    for (const unsigned char byte : newer.beyond) EXPECT_EQ(byte, 0xa5) << sized<T>.name;
    // Beyond an exact struct.
    newer.known = T{};
    EXPECT_EQ(call(newer.known), MHCJIT_SUCCESS) << mhcjit_last_error();
    for (const unsigned char byte : newer.beyond) EXPECT_EQ(byte, 0xa5) << sized<T>.name;
  }

  mhcjit_status compile(mhcjit_compile_result& result) const {
    return mhcjit_compile(engine.get(), &forward_problem, "sm_90a", &result);
  }

  EnginePtr engine;
};

TEST_F(SizedStructTest, EngineOptions) {
  expect_filled(options(), [](const mhcjit_engine_options& options) {
    mhcjit_engine* made = nullptr;
    const mhcjit_status status = mhcjit_engine_create(&options, &made);
    EXPECT_EQ(made != nullptr, status == MHCJIT_SUCCESS);
    mhcjit_engine_destroy(made);
    return status;
  });
}

TEST_F(SizedStructTest, Problem) {
  for (const mhcjit_device device : {MHCJIT_DEVICE_CPU, MHCJIT_DEVICE_GPU})
    expect_filled(forward_problem, [&](const mhcjit_problem& problem) {
      const mhcjit_operator* op = nullptr;
      const mhcjit_status status = mhcjit_prepare(engine.get(), &problem, device, nullptr, &op);
      EXPECT_EQ(op != nullptr, status == MHCJIT_SUCCESS);
      return status;
    });
  expect_filled(forward_problem, [&](const mhcjit_problem& problem) {
    return mhcjit_compile(engine.get(), &problem, "sm_90a", nullptr);
  });
  expect_filled(forward_problem, [&](const mhcjit_problem& problem) {
    std::size_t count = 0, bytes = 0;
    return mhcjit_operator_arguments(&problem, &count, &bytes);
  });
  expect_filled(forward_problem, [&](const mhcjit_problem& problem) {
    mhcjit_argument argument = {};
    return mhcjit_operator_argument(&problem, 0, &argument);
  });
}

TEST_F(SizedStructTest, TheLastOptionIsCheckedAlsoWhereTheOperatorIsReady) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  mhcjit_problem problem = forward_problem;
  problem.fp32_dx = 7;
  for (const mhcjit_device device : {MHCJIT_DEVICE_CPU, MHCJIT_DEVICE_GPU})
    expect_failure(mhcjit_prepare(engine.get(), &problem, device, nullptr, &op), MHCJIT_ERROR_INVALID_ARGUMENT,
                   {"fp32_dx is 7, allowed: 0 and 1"});
  expect_failure(mhcjit_compile(engine.get(), &problem, "sm_90a", nullptr), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"fp32_dx is 7, allowed: 0 and 1"});
}

TEST_F(SizedStructTest, ForwardArguments) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  expect_filled(call.args, [&](const mhcjit_pre_forward_args& args) {
    const std::size_t before = driver().launches().size();
    const mhcjit_status status = mhcjit_pre_forward(op, &args, nullptr);
    EXPECT_EQ(driver().launches().size() > before, status == MHCJIT_SUCCESS);
    return status;
  });
}

TEST_F(SizedStructTest, BackwardArguments) {
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const BackwardCall call(backward_problem, 7, workspace_bytes(op, 7));
  expect_filled(call.args, [&](const mhcjit_pre_backward_args& args) {
    const std::size_t before = driver().launches().size();
    const mhcjit_status status = mhcjit_pre_backward(op, &args, nullptr);
    EXPECT_EQ(driver().launches().size() > before, status == MHCJIT_SUCCESS);
    return status;
  });
}

TEST_F(SizedStructTest, CompileResult) {
  mhcjit_compile_result none = {};
  none.struct_size = 0;
  EXPECT_EQ(compile(none), MHCJIT_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(compiler().compiles, 0) << "refused after the work";
  expect_received<mhcjit_compile_result>([&](mhcjit_compile_result& result) { return compile(result); });
  mhcjit_compile_result result = {};
  ASSERT_EQ(compile(result), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(result.struct_size, sizeof result);
  EXPECT_EQ(std::strlen(result.digest), 64u);
}

TEST_F(SizedStructTest, PlanInfo) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  expect_received<mhcjit_plan_info>([&](mhcjit_plan_info& info) { return mhcjit_operator_plan(op, 1, &info); });
}

TEST_F(SizedStructTest, Counters) {
  expect_received<mhcjit_counters>(
      [&](mhcjit_counters& counters) { return mhcjit_engine_counters(engine.get(), &counters); });
}

TEST_F(SizedStructTest, Argument) {
  expect_received<mhcjit_argument>(
      [&](mhcjit_argument& argument) { return mhcjit_operator_argument(&forward_problem, 1, &argument); });
}

// What lies beyond an older struct is other memory of the program, here values that would show.
TEST(SizedStruct, AnOlderProgramsStructHasTheDefaultsOfWhatItDoesNotKnow) {
  Grown older = {.struct_size = first_grown, .first = 5, .second = 6, .added = -1.0f, .reserved = 9};
  int calls = 0;
  llvm::cantFail(with_filled(older, [&](const Grown& known) -> llvm::Error {
    ++calls;
    EXPECT_NE(&known, &older);
    EXPECT_EQ(known.struct_size, sizeof(Grown));
    EXPECT_EQ(known.first, 5);
    EXPECT_EQ(known.second, 6);
    EXPECT_EQ(known.added, 2.0f);
    EXPECT_EQ(known.reserved, 0);
    return llvm::Error::success();
  }));
  EXPECT_EQ(calls, 1);
}

TEST(SizedStruct, OneOfThisVersionIsUsedInPlace) {
  const Grown present = {};
  llvm::cantFail(with_filled(present, [&](const Grown& known) -> llvm::Error {
    EXPECT_EQ(&known, &present);
    return llvm::Error::success();
  }));
}

TEST(SizedStruct, AnOlderProgramReceivesWhatItKnows) {
  Grown older = {.struct_size = first_grown, .first = 0, .second = 0, .added = -1.0f, .reserved = 9};
  llvm::cantFail(check_received(older));
  write_received(Grown{.first = 5, .second = 6, .added = 7.0f, .reserved = 8}, older);
  EXPECT_EQ(older.struct_size, first_grown);
  EXPECT_EQ(older.first, 5);
  EXPECT_EQ(older.second, 6);
  EXPECT_EQ(older.added, -1.0f);
  EXPECT_EQ(older.reserved, 9);
}

// `post_mult` is where the struct has one.
template <typename T>
void expect_initialised(const T& made, std::size_t post_mult = 0) {
  std::string expected(sizeof(T), '\0');
  const std::size_t size = sizeof(T);
  std::memcpy(expected.data(), &size, sizeof size);
  const float usual = 2.0f;
  if (post_mult != 0) std::memcpy(expected.data() + post_mult, &usual, sizeof usual);
  EXPECT_EQ(bytes_of(made), expected) << sized<T>.name;
}

TEST(Initialisers, AreTheSameInCAndCpp) {
  static const mhcjit_pre_forward_args forward = MHCJIT_PRE_FORWARD_ARGS_INIT;
  static const mhcjit_pre_backward_args backward = MHCJIT_PRE_BACKWARD_ARGS_INIT;
  static const mhcjit_engine_options options = {};
  static const mhcjit_problem problem = {};
  static const mhcjit_compile_result result = {};
  static const mhcjit_plan_info plan = {};
  static const mhcjit_counters counters = {};
  static const mhcjit_argument argument = {};
  for (const auto& made : {forward, c_pre_forward_args})
    expect_initialised(made, offsetof(mhcjit_pre_forward_args, post_mult));
  for (const auto& made : {backward, c_pre_backward_args})
    expect_initialised(made, offsetof(mhcjit_pre_backward_args, post_mult));
  for (const auto& made : {options, c_engine_options}) expect_initialised(made);
  for (const auto& made : {problem, c_problem}) expect_initialised(made);
  for (const auto& made : {result, c_compile_result}) expect_initialised(made);
  for (const auto& made : {plan, c_plan_info}) expect_initialised(made);
  for (const auto& made : {counters, c_counters}) expect_initialised(made);
  for (const auto& made : {argument, c_argument}) expect_initialised(made);
}

}  // namespace
}  // namespace mhcjit::test
