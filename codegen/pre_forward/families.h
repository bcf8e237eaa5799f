// The families of pre_forward, and what they share.
#pragma once

#include <array>

#include "codegen/plan.h"

namespace mhcjit::codegen {

// phi and a few tokens at a time stay in a cluster; x is read once.
extern const Family pre_forward_one_pass;
// A cluster for each group of a few tokens: where the launch is most of the time.
extern const Family pre_forward_few_tokens;
// x is read for the projection and once more for h_in: every problem on every architecture.
extern const Family pre_forward_two_pass;

// Warps of a block that one pass may share out the columns to, and the order of additions of x in bf16.
inline constexpr std::array one_pass_column_groups = {1, 2, 4, 8, 9, 10, 12, 14, 16};
std::string one_pass_order(int cluster_size, int panel_columns, int column_groups);

// The time that the bytes take which must move: x in, h_in out, phi once.
double floor_clocks(const Problem& problem, std::int64_t tokens, const Device& device);

}  // namespace mhcjit::codegen
