// The shapes file: every form of it names the same problems, and one wrong shape refuses the file instead of being
// passed over, which would be a kernel that nobody warms.
#include "tools/shapes.h"

#include <sys/stat.h>

#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "codegen/operators.h"
#include "support/error.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::tools {
namespace {

using codegen::DType;
using codegen::Problem;

std::vector<Problem> parse(const std::string& text) {
  auto shapes = parse_shapes("shapes.json", text);
  if (shapes) {
    EXPECT_EQ(shapes->cut_lines, std::vector<std::string>{}) << text;
    return shapes->problems;
  }
  ADD_FAILURE() << llvm::toString(shapes.takeError()) << "\n" << text;
  return {};
}

std::vector<Problem> problems_of_every_operator(Problem problem) {
  std::vector<Problem> problems;
  for (const codegen::Operator* op : codegen::operators()) {
    problem.op = op;
    problems.push_back(problem);
  }
  return problems;
}

TEST(Shapes, EveryFieldReachesTheProblem) {
  EXPECT_EQ(parse(R"({"n":3,"d":5129,"dtype":"fp16","gamma":true,"batch_invariant":true,"ops":["pre_backward"]})"),
            (std::vector<Problem>{{&codegen::pre_backward, 3, 5129, DType::fp16, true, true, {}}}));
  EXPECT_EQ(parse(R"({"n":1,"d":1,"dtype":"fp32"})"),
            problems_of_every_operator({nullptr, 1, 1, DType::fp32, false, false, {}}));
}

// A shape of both operators is a layer's: forward is that of any dx.
TEST(Shapes, Fp32DxIsOfTheOperatorThatHasIt) {
  EXPECT_EQ(parse(R"({"n":2,"d":8,"dtype":"bf16","fp32_dx":true})"),
            (std::vector<Problem>{{&codegen::pre_forward, 2, 8, DType::bf16, false, false, {}, false},
                                  {&codegen::pre_backward, 2, 8, DType::bf16, false, false, {}, true}}));
}

TEST(Shapes, ListsAreEveryCombination) {
  std::set<Problem> expected;
  for (const int n : {2, 4})
    for (const int d : {8, 16, 24})
      for (const DType dtype : {DType::bf16, DType::fp32})
        for (const codegen::Operator* op : codegen::operators()) expected.insert({op, n, d, dtype, false, false, {}});
  const auto problems = parse(R"({"n":[2,4],"d":[8,16,24],"dtype":["bf16","fp32"]})");
  EXPECT_EQ(problems.size(), 12 * codegen::operators().size());
  EXPECT_EQ(std::set<Problem>(problems.begin(), problems.end()), expected);
}

TEST(Shapes, LinesListAndSingleShapeAreTheSame) {
  const auto problems = parse(R"([{"n":4,"d":[8,16],"dtype":"bf16","ops":"pre_forward"}])");
  ASSERT_EQ(problems.size(), 2u);
  const char* const line_8 = R"({"n":4,"d":8,"dtype":"bf16","ops":"pre_forward"})";
  const char* const line_16 = R"({"n":4,"d":16,"dtype":"bf16","ops":["pre_forward"]})";
  const std::string first = line_8, second = line_16;
  for (const std::string& text :
       {first + "\n" + second, first + "\n" + second + "\n", "\n \n" + first + "\r\n\r\n" + second + "\r\n",
        first + "\n" + second + "\n" + first, "[" + first + ",\n" + second + "]", "[" + first + "," + second + "]\n",
        std::string("{\n\"n\": 4,\n\"d\": [8, 16],\n\"dtype\": [\"bf16\"],\n\"ops\": \"pre_forward\"}")})
    EXPECT_EQ(parse(text), problems) << text;
}

TEST(Shapes, ManyRandomShapesGiveEachProblemOnce) {
  std::mt19937 random(11);
  const char* const dtypes[] = {"bf16", "fp16", "fp32"};
  std::string text;
  std::set<Problem> expected;
  for (int i = 0; i < 2000; ++i) {
    const int n = static_cast<int>(1 + random() % 4), d = static_cast<int>(8 * (1 + random() % 20));
    const unsigned dtype = random() % 3;
    const bool gamma = random() % 2 != 0;
    text += fmt::format("{{\"n\":{},\"d\":{},\"dtype\":\"{}\",\"gamma\":{}}}\n", n, d, dtypes[dtype], gamma);
    for (const codegen::Operator* op : codegen::operators())
      expected.insert({op, n, d, static_cast<DType>(dtype), gamma, false, {}});
  }
  const auto problems = parse(text);
  EXPECT_EQ(problems.size(), expected.size());
  EXPECT_EQ(std::set<Problem>(problems.begin(), problems.end()), expected);
}

TEST(Shapes, NumbersOfTokensArePassedOver) {
  const auto problems = parse(R"({"n":4,"d":[8,16],"dtype":"bf16","ops":"pre_forward"})");
  EXPECT_EQ(parse(R"({"n":4,"d":[8,16],"t":[1,64],"dtype":"bf16","ops":"pre_forward"})"), problems);
  EXPECT_EQ(parse(R"({"n":4,"d":[8,16],"t":7,"dtype":"bf16","ops":"pre_forward"})"), problems);
}

TEST(SizedShapes, AreEveryProblemWithEveryNumberOfTokens) {
  const Problem narrow = {&codegen::pre_forward, 4, 8, DType::bf16, false, false, {}};
  const Problem wide = {&codegen::pre_forward, 4, 16, DType::bf16, false, false, {}};
  auto sized = parse_sized_shapes("shapes.json", R"([{"n":4,"d":[8,16],"t":[64,1],"dtype":"bf16","ops":"pre_forward"},
                                                     {"n":4,"d":8,"t":[1,2],"dtype":"bf16","ops":"pre_forward"}])");
  ASSERT_TRUE(static_cast<bool>(sized)) << llvm::toString(sized.takeError());
  EXPECT_EQ(*sized, (std::vector<SizedProblem>{{narrow, 64}, {narrow, 1}, {wide, 64}, {wide, 1}, {narrow, 2}}));
}

TEST(SizedShapes, WithoutTokensAreRefused) {
  auto sized = parse_sized_shapes("shapes.json", R"({"n":4,"d":8,"dtype":"bf16"})");
  ASSERT_FALSE(static_cast<bool>(sized));
  EXPECT_EQ(take_failure(sized.takeError()).text,
            "shapes.json: line 1: t is missing, allowed: an integer of 1 to 2147483647, or a list of them");
}

TEST(SizedShapes, TheDefaultHasManyAndFewTokensOfEveryOperatorAndNothingTwice) {
  auto sized = parse_sized_shapes("default", default_bench_shapes);
  ASSERT_TRUE(static_cast<bool>(sized)) << llvm::toString(sized.takeError());
  for (const codegen::Operator* op : codegen::operators()) {
    const auto has = [&](auto&& is_meant) {
      return llvm::any_of(*sized,
                          [&](const SizedProblem& each) { return each.problem.op == op && is_meant(each.tokens); });
    };
    EXPECT_TRUE(has([](std::int64_t tokens) { return tokens >= 8192; })) << op->name;
    EXPECT_TRUE(has([](std::int64_t tokens) { return tokens <= 64; })) << op->name;
  }
  for (auto each = sized->begin(); each != sized->end(); ++each)
    EXPECT_EQ(std::count(sized->begin(), sized->end(), *each), 1) << to_string(each->problem) << " T=" << each->tokens;
}

struct Wrong {
  const char* name;
  std::string text;
  std::string error;
};

class WrongShapes : public testing::TestWithParam<Wrong> {};

TEST_P(WrongShapes, AreRefusedWithTheirFault) {
  auto problems = parse_shapes("shapes.json", GetParam().text);
  ASSERT_FALSE(problems);
  const Failure failure = take_failure(problems.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_EQ(failure.text.substr(0, GetParam().error.size()), GetParam().error) << failure.text;
}

const std::string good = R"({"n":4,"d":8,"dtype":"bf16"})";

INSTANTIATE_TEST_SUITE_P(
    Shapes, WrongShapes,
    testing::Values(
        Wrong{"empty", "", "shapes.json: holds no shape, allowed: one or more"},
        Wrong{"blank", " \n\n", "shapes.json: holds no shape"},
        Wrong{"empty_list", "[]", "shapes.json: holds no shape"},
        Wrong{"no_brace", good + "\n{\"n\": 4, \"d\": 8", "shapes.json: line 2 is not JSON: "},
        Wrong{"no_start", good + "\n" + good.substr(1) + "\n" + good, "shapes.json: line 2 is not JSON: "},
        Wrong{"cut_and_glued", good + "\n" + good.substr(0, 12) + good, "shapes.json: line 2 is not JSON: "},
        Wrong{"cut_value", good + "\n{\"n\":4,\"d\":8}\n", "shapes.json: line 2: dtype is missing"},
        Wrong{"all_cut", good.substr(0, 12) + "\n" + good.substr(0, 9), "shapes.json is not JSON: "},
        Wrong{"cut_list", "[" + good + ",", "shapes.json is not JSON: "},
        Wrong{"number", "7", "shapes.json: is 7, allowed: an object"},
        Wrong{"list_in_list", "[[]]", "shapes.json: shape 1: is [], allowed: an object"},
        Wrong{"number_in_list", "[" + good + ", 7]", "shapes.json: shape 2: is 7, allowed: an object"},
        Wrong{"deep", std::string(200000, '['), "shapes.json nests deeper than the 3 levels of the format at byte 3"},
        Wrong{"no_n", R"({"d":8,"dtype":"bf16"})", "shapes.json: line 1: n is missing, allowed: an integer of 1 to 16"},
        Wrong{"no_d", R"({"n":4,"dtype":"bf16"})",
              "shapes.json: line 1: d is missing, allowed: an integer of 1 to 16777"},
        Wrong{"no_dtype", R"({"n":4,"d":8})", "shapes.json: line 1: dtype is missing, allowed: bf16, fp16, fp32, or a"},
        Wrong{"n_0", R"({"n":0,"d":8,"dtype":"bf16"})", "shapes.json: line 1: n is 0, allowed: an integer of 1 to 16"},
        Wrong{"n_17", R"({"n":[4,17],"d":8,"dtype":"bf16"})",
              "shapes.json: line 1: n is 17, allowed: an integer of 1 to"},
        Wrong{"n_text", R"({"n":"4","d":8,"dtype":"bf16"})", "shapes.json: line 1: n is '4', allowed: an integer of 1"},
        Wrong{"n_fraction", R"({"n":4.5,"d":8,"dtype":"bf16"})", "shapes.json: line 1: n is 4.5, allowed: an integer"},
        Wrong{"n_list_empty", R"({"n":[],"d":8,"dtype":"bf16"})", "shapes.json: line 1: n is [], allowed: an integer"},
        Wrong{"d_0", R"({"n":4,"d":0,"dtype":"bf16"})",
              "shapes.json: line 1: d is 0, allowed: an integer of 1 to 16777216"},
        Wrong{"d_huge", R"({"n":4,"d":4294967304,"dtype":"bf16"})",
              "shapes.json: line 1: d is 4294967304, allowed: an integer"},
        Wrong{"d_negative", R"({"n":4,"d":-8,"dtype":"bf16"})",
              "shapes.json: line 1: d is -8, allowed: an integer of 1"},
        Wrong{"t_0", R"({"n":4,"d":8,"t":0,"dtype":"bf16"})",
              "shapes.json: line 1: t is 0, allowed: an integer of 1 to 2147483647"},
        Wrong{"t_huge", R"({"n":4,"d":8,"t":[1,2147483648],"dtype":"bf16"})",
              "shapes.json: line 1: t is 2147483648, allowed: an integer of 1 to"},
        Wrong{"t_list_empty", R"({"n":4,"d":8,"t":[],"dtype":"bf16"})",
              "shapes.json: line 1: t is [], allowed: an integer of 1 to"},
        Wrong{"dtype_name", R"({"n":4,"d":8,"dtype":"f32"})",
              "shapes.json: line 1: dtype is 'f32', allowed: bf16, fp16"},
        Wrong{"gamma_number", R"({"n":4,"d":8,"dtype":"bf16","gamma":1})",
              "shapes.json: line 1: gamma is 1, allowed: true, false"},
        Wrong{"invariant_null", R"({"n":4,"d":8,"dtype":"bf16","batch_invariant":null})",
              "shapes.json: line 1: batch_invariant is null, allowed: true, false"},
        Wrong{"fp32_dx_of_forward", R"({"n":4,"d":8,"dtype":"bf16","fp32_dx":true,"ops":"pre_forward"})",
              "shapes.json: line 1: fp32_dx is true, allowed: with pre_backward"},
        Wrong{"op_name", R"({"n":4,"d":8,"dtype":"bf16","ops":["pre_forward","sideways"]})",
              "shapes.json: line 1: ops is 'sideways', allowed: pre_forward, pre_backward, or a list of them"},
        Wrong{"misspelt", R"({"n":4,"d":8,"dtype":"bf16","gama":true})",
              "shapes.json: line 1: 'gama' is no field of a shape, allowed: n, d, t, dtype, gamma, batch_invariant, "
              "fp32_dx, ops"},
        Wrong{"twice", R"({"n":4,"d":8,"dtype":"bf16","n":2})",
              "shapes.json: line 1 has the name 'n' twice, allowed: once"},
        Wrong{"second_line", good + "\n\n{\"n\":4}", "shapes.json: line 3: d is missing"}),
    [](const auto& info) { return std::string(info.param.name); });

// A full disk takes the end of a record; what is recorded later begins a line of its own.
TEST(Shapes, ARecordThatWasCutAnywhereIsPassedOverByItsLine) {
  const std::string other = R"({"n":2,"d":16,"dtype":"fp16"})";
  const auto problems = parse(good + "\n" + other);
  for (std::size_t length = 1; length < good.size(); ++length) {
    const std::string cut = good.substr(0, length);
    const std::vector<std::pair<int, std::string>> texts = {{1, fmt::format("{}\n{}\n{}\n", cut, good, other)},
                                                            {2, fmt::format("{}\n{}\n{}\n", good, cut, other)},
                                                            {3, fmt::format("{}\n{}\n{}", good, other, cut)},
                                                            {3, fmt::format("{}\r\n{}\r\n{}\r\n", good, other, cut)}};
    for (const auto& [line, text] : texts) {
      auto shapes = parse_shapes("history", text);
      ASSERT_TRUE(static_cast<bool>(shapes)) << text << "\n" << llvm::toString(shapes.takeError());
      EXPECT_EQ(shapes->problems, problems) << text;
      EXPECT_EQ(shapes->cut_lines, std::vector<std::string>{fmt::format("history: line {}", line)}) << text;
    }
  }
}

// Lists multiply: 16 * 7000 problems would be named by a file of 50 KB.
TEST(Shapes, TooManyProblemsAreRefused) {
  std::string text = R"({"n":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16],"dtype":"bf16","ops":"pre_forward","d":[1)";
  for (int d = 2; d <= 7000; ++d) text += "," + std::to_string(d);
  auto problems = parse_shapes("shapes.json", text + "]}");
  ASSERT_FALSE(problems);
  EXPECT_EQ(take_failure(problems.takeError()).text,
            "shapes.json: names more than 100000 problems, allowed: that many");
}

TEST(Shapes, ATooLongFileIsRefusedBeforeItIsRead) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "shapes.json";
  test::write_file(path, good);
  std::filesystem::resize_file(path, (std::uint64_t{64} << 20) + 1);
  auto problems = read_shapes(path);
  ASSERT_FALSE(problems);
  EXPECT_EQ(take_failure(problems.takeError()).text, path + ": is 67108865 bytes long, allowed: at most 67108864");
}

// RFC 8259, section 6.
TEST(Shapes, NumbersAreThoseOfJson) {
  const auto d_is = [](const std::string& number) { return R"([{"n":2,"d":)" + number + R"(,"dtype":"bf16"}])"; };
  for (const std::string number : {"20", "20.0", "2e1", "2E+1", "200e-1", "0.2e2"})
    EXPECT_EQ(parse(d_is(number)).front().d, 20) << number;
  for (const std::string number : {"02", "+2", ".2e1", "2.", "2.e1", "2e", "2e+", "2e1.0", "-", "-02", "00", "2-1"}) {
    auto problems = parse_shapes("shapes.json", d_is(number));
    ASSERT_FALSE(problems) << number;
    EXPECT_EQ(take_failure(problems.takeError()).text,
              "shapes.json is not JSON: the number '" + number + "' at byte 12, allowed: one such as 2, -2.5 or 1e-6");
  }
  EXPECT_EQ(parse(R"({"n":2,"d":20,"dtype":"bf16","gamma":true,"batch_invariant":false})").size(), 2u);
}

TEST(Shapes, AFileThatCannotBeReadIsNamed) {
  const test::TemporaryFolder folder;
  // A FIFO has no writer yet, and a device has no end.
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder / "absent.json", folder.path(), folder / "fifo", std::string("/dev/zero")}) {
    auto problems = read_shapes(path);
    ASSERT_FALSE(problems);
    const Failure failure = take_failure(problems.takeError());
    EXPECT_EQ(failure.status, MHCJIT_ERROR_IO);
    EXPECT_NE(failure.text.find("'" + path + "': "), std::string::npos) << failure.text;
  }
  test::write_file(folder / "shapes.json", good);
  auto shapes = read_shapes(folder / "shapes.json");
  ASSERT_TRUE(static_cast<bool>(shapes));
  EXPECT_EQ(shapes->problems.size(), 2u);
}

}  // namespace
}  // namespace mhcjit::tools
