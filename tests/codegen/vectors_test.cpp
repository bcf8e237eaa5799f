// Widths of loads and groups of threads: no load crosses into the next stream, and few threads idle in the last step.
#include "codegen/vectors.h"

#include <gtest/gtest.h>

#include "codegen/operators.h"

namespace mhcjit::codegen {
namespace {

Problem problem_of(std::int64_t d, DType dtype = DType::bf16) {
  return {&pre_forward, 4, d, dtype, false, false, {9, 0, 'a'}};
}

TEST(Vectors, LoadsAreAsWideAsDAllows) {
  EXPECT_EQ(vec_size_of(problem_of(4096)), 8);
  EXPECT_EQ(vec_size_of(problem_of(36)), 4);
  EXPECT_EQ(vec_size_of(problem_of(1922)), 2);
  EXPECT_EQ(vec_size_of(problem_of(127)), 1);
  EXPECT_EQ(vec_size_of(problem_of(4096, DType::fp32)), 4);
}

TEST(Vectors, GroupsOfThreadsDivideAStreamEvenly) {
  EXPECT_EQ(threads_per_token_of(problem_of(4096), 8, 256), 256);
  EXPECT_EQ(threads_per_token_of(problem_of(2560), 8, 256), 64);
  EXPECT_EQ(threads_per_token_of(problem_of(5120), 8, 256), 128);
  EXPECT_EQ(threads_per_token_of(problem_of(7168), 8, 256), 128);
  EXPECT_EQ(threads_per_token_of(problem_of(1920), 8, 256), 256);
  EXPECT_EQ(threads_per_token_of(problem_of(8), 8, 256), 32);
  EXPECT_EQ(most_threads_per_token(problem_of(2560), 8, 256), 256);
}

}  // namespace
}  // namespace mhcjit::codegen
