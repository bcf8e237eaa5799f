// The families of pre_forward, and what they share.
#pragma once

#include <array>

#include "codegen/plan.h"

namespace mhcjit::codegen {

// Keeps phi and a few tokens at a time in a cluster; reads x once.
extern const Family pre_forward_one_pass;
// Gives each group of a few tokens a cluster, for calls that are mostly launch.
extern const Family pre_forward_few_tokens;
// Reads x for the projection and once more for h_in. Serves every problem on every architecture.
extern const Family pre_forward_two_pass;

// Numbers of warps that share out a block's columns in one pass. They fix the order of additions of x in bf16.
inline constexpr std::array one_pass_column_groups = {1, 2, 4, 8, 9, 10, 12, 14, 16};
std::string one_pass_order(int cluster_size, int panel_columns, int column_groups);

// The time of the bytes that must move: x in, h_in out, phi once.
double floor_clocks(const Problem& problem, std::int64_t tokens, const Device& device);

}  // namespace mhcjit::codegen
