// pre_backward in fp32 arithmetic, for every problem on every architecture: the gradients at the logits first, then dx,
// then the gradients of the parameters from sums over ranges of tokens.
//
// The kernels are templates/pre_backward/coefficients.cuh, dx.cuh, phi_partials.cuh, phi.cuh and bias.cuh.
#include <algorithm>
#include <bit>

#include "codegen/divide_up.h"
#include "codegen/pre_backward/families.h"
#include "codegen/vectors.h"
#include "codegen/workspace.h"
#include "support/error.h"
#include "templates/pre_backward/portable_work.cuh"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "portable";
constexpr int threads_per_block = 256;
constexpr int warps = threads_per_block / warp_size;
// What a block may have on every architecture without asking the driver for more.
constexpr int max_smem_bytes = 48 * 1024;

constexpr int dx_tokens_per_thread = 8;
constexpr int max_dx_token_blocks = 64;  // blocks that step through the tokens together
constexpr int max_bias_slots = 1024;     // groups of tokens that are summed apart for dbias and dalpha

struct Tiling {
  Problem problem;
  int vec_size = 0;           // elements of x in one load: at most 16 bytes, divides D
  int rows_per_thread = 0;    // rows of phi that a thread keeps sums for
  int row_warps = 0;          // warps of a block that share out rows
  int row_blocks = 0;         // blocks that share out rows
  int threads_per_token = 0;  // where a group of threads works on one token
  int dx_columns_per_block = 0;
  int max_token_splits = 0;  // ranges of tokens that are summed apart for dphi

  int rows_per_block() const { return rows_per_thread * row_warps; }
  int padded_rows() const { return rows_per_block() * row_blocks; }
  int tokens_per_group_block() const { return threads_per_block / threads_per_token; }
  int phi_columns_per_block() const { return warp_size * std::min(vec_size, 4); }
};

int dx_columns(const Problem& problem, int vec_size) {
  const int tile_rows = static_cast<int>(divide_up(problem.rows(), 4)) * 4;
  const int column_threads =
      static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(1, max_smem_bytes / 4 / tile_rows / vec_size))));
  return std::min(column_threads, threads_per_block) * vec_size;
}

int most_token_splits(const Tiling& tiling) {
  // Enough blocks for two on each multiprocessor of a large device; each split costs one phi of workspace.
  constexpr std::int64_t wanted_blocks = 256;
  constexpr std::int64_t max_splits = 32;
  const std::int64_t columns_per_block = std::int64_t{threads_per_block / tiling.row_warps} * tiling.vec_size;
  const std::int64_t blocks = divide_up(tiling.problem.columns(), columns_per_block) * tiling.row_blocks;
  return static_cast<int>(std::clamp<std::int64_t>(wanted_blocks / blocks, 1, max_splits));
}

std::int64_t tokens_per_split(const Tiling& tiling, std::int64_t tokens) {
  return divide_up(tokens, tiling.max_token_splits);
}

int token_splits(const Tiling& tiling, std::int64_t tokens) {
  return static_cast<int>(divide_up(tokens, tokens_per_split(tiling, tokens)));
}

int bias_slots(const Tiling& tiling, std::int64_t tokens) {
  const int tokens_per_block = tiling.tokens_per_group_block();
  const std::int64_t blocks =
      std::min<std::int64_t>(divide_up(tokens, tokens_per_block), max_bias_slots / tokens_per_block);
  return static_cast<int>(blocks) * tokens_per_block;
}

// The workspace's regions.
struct Regions {
  std::size_t dh_mix = 0;         // float [T, padded_rows]
  std::size_t x_coefficient = 0;  // float [T]
  std::size_t bias_partials = 0;  // float [bias_slots, 2, M]
  std::size_t phi_partials = 0;   // float [token_splits, M, n*D]
  std::size_t total_bytes = 0;

  Regions(const Tiling& tiling, std::int64_t tokens) {
    if (tokens == 0) return;
    const Problem& problem = tiling.problem;
    Workspace workspace;
    dh_mix = workspace.add(tokens * tiling.padded_rows());
    x_coefficient = workspace.add(tokens);
    bias_partials = workspace.add(std::int64_t{bias_slots(tiling, tokens)} * 2 * problem.rows());
    // Not token_splits(): that can be smaller for more tokens.
    const std::int64_t splits = std::min<std::int64_t>(tiling.max_token_splits, tokens);
    phi_partials = workspace.add(splits * problem.rows() * problem.columns());
    total_bytes = workspace.end();
  }
};

Kernel kernel(const Tiling& tiling, std::string_view stem, std::string_view plan, int min_blocks, int smem_bytes,
              std::vector<Constant> constants, std::vector<std::string_view> makes) {
  constants.push_back({"threads_per_block", threads_per_block});
  return {.name = fmt::format("pre_backward_{}", stem),
          .header = fmt::format("pre_backward/{}.cuh", stem),
          .plan = std::string(plan),
          .work = "PortableBackwardWork",
          .work_bytes = sizeof(PortableBackwardWork),
          .constants = with_shape(tiling.problem, std::move(constants)),
          .threads_per_block = threads_per_block,
          .min_blocks_per_multiprocessor = min_blocks,
          .dynamic_smem_bytes = smem_bytes,
          .makes = std::move(makes)};
}

std::vector<Kernel> kernels_of(const Tiling& tiling) {
  constexpr int float_bytes = 4;
  const Problem& problem = tiling.problem;
  const Constant vec_size = {"vec_size", tiling.vec_size};
  const Constant padded_rows = {"padded_rows", tiling.padded_rows()};
  const Constant gamma = {"has_gamma", problem.has_gamma};
  const int dx_smem = static_cast<int>(divide_up(problem.rows(), 4)) * 4 * tiling.dx_columns_per_block * float_bytes;
  const int phi_smem = problem.has_gamma ? warps * tiling.phi_columns_per_block() * float_bytes : 0;
  return {
      kernel(tiling, "coefficients", "PreBackwardCoefficients", 2, warps * problem.n * float_bytes,
             {vec_size, padded_rows, {"threads_per_token", tiling.threads_per_token}}, {}),
      kernel(tiling, "dx", "PreBackwardDx", 1, dx_smem,
             {vec_size,
              padded_rows,
              gamma,
              {"has_fp32_dx", problem.has_fp32_dx},
              {"dx_columns_per_block", tiling.dx_columns_per_block},
              {"dx_tokens_per_thread", dx_tokens_per_thread}},
             {"dx"}),
      kernel(tiling, "phi_partials", "PreBackwardPhiPartials", 1, 0,
             {vec_size,
              padded_rows,
              {"rows_per_thread", tiling.rows_per_thread},
              {"row_warps", tiling.row_warps},
              {"row_blocks", tiling.row_blocks}},
             {"dphi", "dgamma"}),
      kernel(tiling, "phi", "PreBackwardPhi", 2, phi_smem, {vec_size, gamma}, {"dphi", "dgamma"}),
      kernel(tiling, "bias", "PreBackwardBias", 1, problem.rows() * float_bytes, {}, {"dalpha", "dbias"}),
  };
}

class Portable final : public Plan {
 public:
  Portable(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    kernels_ = kernels_of(tiling);
  }

  Grid grid(std::size_t kernel, std::int64_t tokens, const Device&) const override {
    const std::int64_t columns = problem().columns();
    switch (kernel) {
      case 0: return grid_of_blocks(bias_slots(tiling_, tokens) / tiling_.tokens_per_group_block());
      case 1: {
        const int column_threads = tiling_.dx_columns_per_block / tiling_.vec_size;
        const std::int64_t tokens_per_block = std::int64_t{threads_per_block / column_threads} * dx_tokens_per_thread;
        return grid_of_blocks(divide_up(columns, tiling_.dx_columns_per_block),
                              std::min<std::int64_t>(divide_up(tokens, tokens_per_block), max_dx_token_blocks));
      }
      case 2: {
        const int column_warps = warps / tiling_.row_warps;
        return grid_of_blocks(divide_up(columns, std::int64_t{column_warps} * warp_size * tiling_.vec_size),
                              std::int64_t{token_splits(tiling_, tokens)} * tiling_.row_blocks);
      }
      case 3: return grid_of_blocks(divide_up(columns, tiling_.phi_columns_per_block()));
      default: return grid_of_blocks(1);
    }
  }

  double cost_us(std::int64_t tokens, const Device& device) const override {
    // Each block of rows reads x again, mostly from the L2 cache: about as long as six multiply-adds an element.
    constexpr double reread = 6.0;
    // A value of phi read from shared memory serves the tokens of a warp; a value of x converted from its storage type
    // serves the rows of a thread: about two instructions for each.
    constexpr double conversion = 2.0;
    // Two products with x, of which half the rate of fp32 is left beside loads and conversions.
    constexpr double multiply_adds_per_clock = 64.0;
    constexpr double launches_us = 30.0;
    const double of_element =
        tiling_.padded_rows() * (1.0 + conversion / tiling_.rows_per_thread) + reread * tiling_.row_blocks;
    const double elements = static_cast<double>(tokens) * static_cast<double>(problem().columns());
    return launches_us +
           device.microseconds(2.0 * elements * of_element / (multiply_adds_per_clock * device.multiprocessors));
  }

  std::size_t workspace_bytes(std::int64_t tokens) const override { return Regions(tiling_, tokens).total_bytes; }
  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    const Regions regions(tiling_, tokens);
    *static_cast<PortableBackwardWork*>(work) = {
        .dh_mix = region<float>(workspace, regions.dh_mix),
        .x_coefficient = region<float>(workspace, regions.x_coefficient),
        .bias_partials = region<float>(workspace, regions.bias_partials),
        .phi_partials = region<float>(workspace, regions.phi_partials),
        .tokens_per_split = tokens_per_split(tiling_, tokens),
        .token_splits = token_splits(tiling_, tokens),
        .bias_slots = bias_slots(tiling_, tokens),
    };
  }

 private:
  const Tiling tiling_;
};

Candidate candidate(const Problem& problem, int rows_per_thread, int row_warps) {
  Tiling tiling = {.problem = problem};
  tiling.vec_size = vec_size_of(problem);
  tiling.rows_per_thread = rows_per_thread;
  tiling.row_warps = row_warps;
  tiling.row_blocks = static_cast<int>(divide_up(problem.rows(), tiling.rows_per_block()));
  tiling.threads_per_token = most_threads_per_token(problem, tiling.vec_size, threads_per_block);
  tiling.dx_columns_per_block = dx_columns(problem, tiling.vec_size);
  tiling.max_token_splits = most_token_splits(tiling);

  Candidate result;
  result.parameters = {{"rows_per_thread", rows_per_thread}, {"row_warps", row_warps}};
  if (tiling.row_blocks == 1 && rows_per_thread * (row_warps / 2) >= problem.rows())
    result.rejected =
        fmt::format("{} warps of {} rows are more than {} rows need", row_warps, rows_per_thread, problem.rows());
  else
    result.plan = std::make_shared<Portable>(tiling, result.parameters);
  return result;
}

std::vector<Candidate> candidates(const Problem& problem, const Device&) {
  // Multiples of 4: the gradients of the logits are read four rows at a time.
  std::vector<Candidate> list;
  for (const int rows_per_thread : {12, 8, 4})
    for (const int row_warps : {1, 2, 4, 8}) list.push_back(candidate(problem, rows_per_thread, row_warps));
  return list;
}

}  // namespace

constinit const Family pre_backward_portable = {family_name, candidates};

}  // namespace mhcjit::codegen
