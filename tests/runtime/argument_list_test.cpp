// The table of an operator that other languages read, against the structs themselves and the list of tensors that tests
// have of their own.
#include <cstddef>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "mhcjit/mhcjit.hpp"

#include <gtest/gtest.h>

#include "oracle/tensors.h"

namespace mhcjit::test {
namespace {

using List = std::vector<mhcjit_argument>;

List list_of(const mhcjit_problem& problem) {
  auto list = operator_arguments(problem);
  EXPECT_TRUE(list) << list.status().text();
  return list ? *list : List{};
}

const mhcjit_argument& find(const List& list, const std::string& name) {
  for (const mhcjit_argument& argument : list)
    if (argument.name == name) return argument;
  ADD_FAILURE() << name << " is not in the list";
  static const mhcjit_argument none = {};
  return none;
}

std::size_t bytes_of(mhcjit_argument_kind kind) {
  return kind == MHCJIT_ARGUMENT_INT32 || kind == MHCJIT_ARGUMENT_FLOAT ? 4 : 8;
}

std::int64_t elements(const std::string& shape, const oracle::Shape& of) {
  std::istringstream words(shape);
  std::int64_t product = 1;
  for (std::string word; words >> word;) {
    if (word == "T")
      product *= of.T;
    else if (word == "n")
      product *= of.n;
    else if (word == "D")
      product *= of.D;
    else if (word == "M")
      product *= of.rows();
    else
      product *= std::stoll(word);
  }
  return product;
}

// Every tensor of `Args` is there as the tests' own list has it.
template <typename Args>
void expect_tensors(mhcjit_op op, const std::set<std::string>& optional) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32})
    for (const int flags : {0, 1, 2, 3}) {
      const bool has_gamma = (flags & 1) != 0, fp32_dx = (flags & 2) != 0 && op == MHCJIT_PRE_BACKWARD;
      const mhcjit_problem problem = {
          .op = op, .n = 3, .d = 40, .dtype = dtype, .has_gamma = has_gamma ? 1 : 0, .fp32_dx = fp32_dx ? 1 : 0};
      const List list = list_of(problem);
      const oracle::Shape shape = {.T = 7, .n = 3, .D = 40, .has_gamma = has_gamma};
      std::set<std::string> existing;
      Args args = {};
      oracle::visit_tensors(shape, args, [&](const oracle::Tensor& tensor, auto& pointer) {
        const mhcjit_argument& argument = find(list, tensor.name);
        SCOPED_TRACE(tensor.name);
        existing.insert(tensor.name);
        EXPECT_EQ(argument.kind, MHCJIT_ARGUMENT_TENSOR);
        EXPECT_EQ(argument.exists, 1);
        EXPECT_EQ(argument.offset, static_cast<std::size_t>(reinterpret_cast<const char*>(&pointer) -
                                                            reinterpret_cast<const char*>(&args)));
        EXPECT_EQ(argument.dtype, oracle::dtype_of(tensor.name, {dtype, fp32_dx}));
        EXPECT_EQ(elements(argument.shape, shape), tensor.count) << argument.shape;
        const bool is_output = tensor.use == oracle::Use::output;
        EXPECT_EQ(argument.role == MHCJIT_OUTPUT || argument.role == MHCJIT_OPTIONAL_OUTPUT, is_output);
        EXPECT_EQ(argument.role == MHCJIT_OPTIONAL_INPUT || argument.role == MHCJIT_OPTIONAL_OUTPUT,
                  optional.contains(tensor.name));
      });
      for (const mhcjit_argument& argument : list)
        EXPECT_EQ(argument.exists == 1, existing.contains(argument.name)) << argument.name;
    }
}

TEST(ArgumentList, HasEveryTensorOfForward) {
  expect_tensors<mhcjit_pre_forward_args>(MHCJIT_PRE_FORWARD, {"inv_rms", "h_mix", "h_pre"});
}

TEST(ArgumentList, HasEveryTensorOfBackward) {
  expect_tensors<mhcjit_pre_backward_args>(MHCJIT_PRE_BACKWARD,
                                           {"dh_in", "dh_post", "dh_res", "dx", "dphi", "dgamma", "dalpha", "dbias"});
}

// In order and without a gap that a member would fill.
void expect_whole(mhcjit_op op, std::size_t struct_bytes) {
  const mhcjit_problem problem = {.op = op, .n = 4, .d = 64, .dtype = MHCJIT_BF16};
  std::size_t count = 0, bytes = 0;
  ASSERT_EQ(mhcjit_operator_arguments(&problem, &count, &bytes), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(bytes, struct_bytes);
  const List list = list_of(problem);
  EXPECT_EQ(list.size(), count);
  std::size_t end = 0;
  for (const mhcjit_argument& argument : list) {
    EXPECT_EQ(argument.offset, end) << argument.name;
    end = argument.offset + bytes_of(argument.kind);
  }
  EXPECT_EQ(end, bytes);
  mhcjit_argument argument = {};
  EXPECT_EQ(mhcjit_operator_argument(&problem, count, &argument), MHCJIT_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mhcjit_last_error(), "index is " + std::to_string(count) + ", allowed: 0 to " + std::to_string(count - 1));
}

TEST(ArgumentList, CoversTheStruct) {
  expect_whole(MHCJIT_PRE_FORWARD, sizeof(mhcjit_pre_forward_args));
  expect_whole(MHCJIT_PRE_BACKWARD, sizeof(mhcjit_pre_backward_args));
}

#define EXPECT_ARGUMENT(list, type, member, of_kind)                           \
  do {                                                                         \
    EXPECT_EQ(find(list, #member).offset, offsetof(type, member)) << #member;  \
    EXPECT_EQ(find(list, #member).kind, MHCJIT_ARGUMENT_##of_kind) << #member; \
    EXPECT_EQ(find(list, #member).shape, nullptr) << #member;                  \
  } while (false)

TEST(ArgumentList, HasWhatIsNoTensor) {
  const List forward = list_of({.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 64, .dtype = MHCJIT_BF16});
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, struct_size, SIZE);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, T, INT64);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, norm_eps, FLOAT);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, hc_eps, FLOAT);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, post_mult, FLOAT);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, overlap_previous, INT32);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, workspace, ADDRESS);
  EXPECT_ARGUMENT(forward, mhcjit_pre_forward_args, workspace_bytes, SIZE);
  const List backward = list_of({.op = MHCJIT_PRE_BACKWARD, .n = 4, .d = 64, .dtype = MHCJIT_BF16});
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, struct_size, SIZE);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, T, INT64);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, hc_eps, FLOAT);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, post_mult, FLOAT);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, accumulate_dx, INT32);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, accumulate_parameters, INT32);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, overlap_previous, INT32);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, reserved, INT32);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, workspace, ADDRESS);
  EXPECT_ARGUMENT(backward, mhcjit_pre_backward_args, workspace_bytes, SIZE);
}

TEST(ArgumentList, SaysWhichFlagAccumulatesAnOutputAndHowItIsAligned) {
  const List backward = list_of({.op = MHCJIT_PRE_BACKWARD, .n = 4, .d = 4, .dtype = MHCJIT_BF16, .has_gamma = 1});
  std::map<std::string, std::string> flags;
  for (const mhcjit_argument& argument : backward)
    if (argument.accumulate_flag != nullptr) flags[argument.name] = argument.accumulate_flag;
  EXPECT_EQ(flags, (std::map<std::string, std::string>{{"dx", "accumulate_dx"},
                                                       {"dphi", "accumulate_parameters"},
                                                       {"dgamma", "accumulate_parameters"},
                                                       {"dalpha", "accumulate_parameters"},
                                                       {"dbias", "accumulate_parameters"}}));
  EXPECT_EQ(find(backward, "x").alignment, 8u);
  EXPECT_EQ(find(backward, "phi").alignment, 16u);
  EXPECT_EQ(find(backward, "alpha").alignment, 4u);
}

}  // namespace
}  // namespace mhcjit::test
