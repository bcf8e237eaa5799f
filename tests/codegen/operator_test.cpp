// The table of each operator: it agrees with the public argument struct, and what follows from it has the right sizes.
#include "codegen/operator.h"

#include <algorithm>
#include <set>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

Problem problem_of(const Operator& op, bool has_gamma = true) {
  return {&op, 4, 256, DType::bf16, has_gamma, false, hopper};
}

std::int64_t count(const Operator& op, std::string_view tensor, std::int64_t tokens, bool has_gamma = true) {
  return elements(*op.find_tensor(tensor), problem_of(op, has_gamma), tokens);
}

TEST(Operators, AreFoundByNameAndById) {
  for (const Operator* op : operators()) {
    EXPECT_EQ(llvm::cantFail(parse_operator(op->name)), op);
    EXPECT_EQ(llvm::cantFail(operator_of(op->id)), op);
    EXPECT_NE(operator_names().find(op->name), std::string::npos);
  }
  const Failure failure = take_failure(parse_operator("pre_sideways").takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(failure.text, "op is 'pre_sideways', allowed: " + operator_names());
}

TEST(Operators, HaveFamiliesOfDifferentNames) {
  for (const Operator* op : operators()) {
    std::set<std::string_view> names;
    for (const Family* family : op->families) EXPECT_TRUE(names.insert(family->name).second) << family->name;
    EXPECT_FALSE(names.empty()) << op->name;
  }
}

// A struct as the table says it: offset and size of each member.
using Members = std::vector<std::pair<std::size_t, std::size_t>>;

// Each byte belongs to one member, or is padding.
void expect_covered(Members members, std::size_t bytes) {
  std::ranges::sort(members);
  std::size_t end = 0;
  for (const auto& [offset, size] : members) {
    EXPECT_GE(offset, end) << "two members at one place";
    EXPECT_LT(offset - end, 8u) << "a member that no table names";
    end = offset + size;
  }
  EXPECT_LE(end, bytes);
  EXPECT_LT(bytes - end, 8u);
}

TEST(Operators, TablesCoverThePublicStruct) {
  for (const Operator* op : operators()) {
    SCOPED_TRACE(op->name);
    Members members = {{0, sizeof(std::size_t)},  // struct_size
                       {op->arguments.tokens, 8},
                       {op->arguments.workspace, 8},
                       {op->arguments.workspace_bytes, 8}};
    for (const Tensor& tensor : op->tensors) members.emplace_back(tensor.offset, 8);
    for (const Scalar& scalar : op->scalars) members.emplace_back(scalar.offset, 4);
    expect_covered(members, op->arguments.bytes);
  }
}

TEST(Operators, TablesCoverTheStructOfTheKernels) {
  for (const Operator* op : operators()) {
    SCOPED_TRACE(op->name);
    Members members = {{op->arguments.kernel_tokens, 8}};
    for (const Tensor& tensor : op->tensors) members.emplace_back(tensor.kernel_offset, 8);
    for (const Scalar& scalar : op->scalars)
      if (scalar.kernel_offset != Scalar::of_launch) members.emplace_back(scalar.kernel_offset, 4);
    expect_covered(members, op->arguments.kernel_bytes);
    EXPECT_LE(op->arguments.kernel_bytes, max_kernel_argument_bytes);
  }
}

TEST(Operators, NameWhatTheirTensorsReferTo) {
  for (const Operator* op : operators()) {
    std::set<std::string_view> names;
    for (const Tensor& tensor : op->tensors) {
      SCOPED_TRACE(tensor.name);
      EXPECT_TRUE(names.insert(tensor.name).second);
      EXPECT_EQ(op->find_tensor(tensor.name), &tensor);
      if (!tensor.accumulate_flag.empty()) {
        EXPECT_TRUE(tensor.is_output());
        const auto flag = std::ranges::find(op->scalars, tensor.accumulate_flag, &Scalar::name);
        ASSERT_NE(flag, op->scalars.end()) << tensor.accumulate_flag;
        EXPECT_EQ(flag->kind, ScalarKind::flag);
      }
    }
    EXPECT_EQ(op->find_tensor("nothing"), nullptr);
    EXPECT_LE(names.size(), 32u) << "outputs are bits of 32";
  }
}

TEST(Tensor, HasItsShapesProductOfElements) {
  EXPECT_EQ(count(pre_forward, "x", 3), 3 * 4 * 256);
  EXPECT_EQ(count(pre_forward, "phi", 3), 24 * 4 * 256);
  EXPECT_EQ(count(pre_forward, "alpha", 3), 3);
  EXPECT_EQ(count(pre_forward, "bias", 3), 24);
  EXPECT_EQ(count(pre_forward, "h_in", 3), 3 * 256);
  EXPECT_EQ(count(pre_forward, "h_res", 3), 3 * 16);
  EXPECT_EQ(count(pre_forward, "inv_rms", 3), 3);
  EXPECT_EQ(count(pre_backward, "dgamma", 3), 4 * 256);
  EXPECT_EQ(count(pre_backward, "dgamma", 3, /*has_gamma=*/false), 0);
  EXPECT_EQ(count(pre_forward, "gamma", 3, /*has_gamma=*/false), 0);
}

TEST(Tensor, IsAlignedToTheWidestLoadOfItsRows) {
  const auto alignment = [](std::string_view tensor, std::int64_t d, DType dtype) {
    return alignment_of(*pre_forward.find_tensor(tensor), forward_of(4, d, dtype));
  };
  EXPECT_EQ(alignment("x", 4096, DType::bf16), 16);
  EXPECT_EQ(alignment("x", 1922, DType::bf16), 4);
  EXPECT_EQ(alignment("x", 127, DType::bf16), 2);
  EXPECT_EQ(alignment("x", 127, DType::fp32), 4);
  EXPECT_EQ(alignment("phi", 127, DType::bf16), 4);
  EXPECT_EQ(alignment("phi", 4096, DType::bf16), 16);
  EXPECT_EQ(alignment("h_post", 4096, DType::bf16), 4);
  Problem backward = problem_of(pre_backward);
  backward.d = 1922;
  EXPECT_EQ(alignment_of(*pre_backward.find_tensor("dx"), backward), 4);
  backward.has_fp32_dx = true;
  EXPECT_EQ(alignment_of(*pre_backward.find_tensor("dx"), backward), 8);
  EXPECT_EQ(alignment_of(*pre_backward.find_tensor("x"), backward), 4);
}

TEST(Tensor, HasXsDtypeOrFp32) {
  for (const Operator* op : operators())
    for (const Tensor& tensor : op->tensors) {
      const bool has_x_dtype =
          tensor.name == "x" || tensor.name == "dx" || tensor.name == "h_in" || tensor.name == "dh_in";
      if (op == &pre_forward || op == &pre_backward) {
        EXPECT_EQ(tensor.dtype(problem_of(*op)), has_x_dtype ? DType::bf16 : DType::fp32) << tensor.name;
      }
    }
}

TEST(Tensor, OfDxHasFp32OnRequest) {
  Problem problem = problem_of(pre_backward);
  problem.has_fp32_dx = true;
  for (const Tensor& tensor : pre_backward.tensors) {
    const DType expected = tensor.name == "dx" ? DType::fp32 : tensor.dtype(problem_of(pre_backward));
    EXPECT_EQ(tensor.dtype(problem), expected) << tensor.name;
  }
  EXPECT_TRUE(pre_backward.has_dtype_flag(&Problem::has_fp32_dx));
  EXPECT_FALSE(pre_forward.has_dtype_flag(&Problem::has_fp32_dx));
}

}  // namespace
}  // namespace mhcjit::codegen
