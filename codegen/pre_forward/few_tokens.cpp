// pre_forward for few tokens: the tilings that are legal for a problem, and the resources that they need. The kernel is
// templates/pre_forward/few_tokens.cuh. It is right for any number of tokens, and fast if the launch is most of the
// time.
#include <algorithm>
#include <array>
#include <numeric>

#include "codegen/clusters.h"
#include "codegen/divide_up.h"
#include "codegen/pre_forward/families.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "few_tokens";
constexpr int tokens_of_group = 16;
constexpr int chunk_columns = 16;
constexpr std::array chunks_of_warp = {1, 2, 4};
constexpr int max_gemm_warps = 23;
constexpr std::array cluster_sizes = {16, 8, 4, 2};  // none of one block, as in one pass

struct Tiling {
  Problem problem;
  int threads_per_block = 0;
  int cluster_size = 0;    // blocks that share a group of tokens, each with a slice of the columns of every stream
  int gemm_warps = 0;      // a block's
  int unit_chunks = 0;     // 16 columns each, which a warp multiplies at a time
  int units_per_warp = 0;  // streams; as in one pass: parts of the warp's panels
  int panel_units = 1;     // units that stand side by side in a stream
  int panel_columns = 0;   // those of the one pass whose order of additions the tiling has; 0: its own
  int stages = 0;          // units of phi that a warp holds

  bool as_one_pass() const { return panel_columns != 0; }
};

int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int sum_chunks(const Problem& problem) { return row_blocks(problem) * 2 + 1; }
int unit_columns(const Tiling& tiling) { return tiling.unit_chunks * chunk_columns; }
std::int64_t slice_columns(const Tiling& tiling) {
  return std::int64_t{tiling.gemm_warps} * tiling.units_per_warp / tiling.problem.n * unit_columns(tiling);
}

// Registers of a gemm thread without spills: products and two terms of each block of eight rows, x and addresses, and
// the place and phase of a ring of streams of phi.
int needed_registers(const Tiling& tiling) {
  const int ring = tiling.stages < tiling.units_per_warp ? 10 : 0;
  return row_blocks(tiling.problem) * 13 + 48 + ring;
}

// A multiprocessor allocates registers to four warps at a time, eight to each thread.
int registers_of_thread(const Tiling& tiling) {
  constexpr int threads_of_four_warps = 4 * warp_size;
  const int threads =
      static_cast<int>(divide_up(tiling.threads_per_block, threads_of_four_warps)) * threads_of_four_warps;
  return std::min(255, registers_per_multiprocessor / threads / 8 * 8);
}

// Returns "", or why the device cannot run the kernel on the problem.
std::string unsupported(const Problem& problem, const Device& device) {
  if (problem.d % 4 != 0) return fmt::format("D is {}, a lane copies four columns at a time", problem.d);
  if (auto reason = clusters_unsupported(problem, device); !reason.empty()) return reason;
  if (sum_chunks(problem) > warp_size)
    return fmt::format("the sums of {} rows, four to a lane, are more than a warp has lanes for", problem.rows());
  return "";
}

int threads_of(const Tiling& tiling) { return (tiling.gemm_warps + 1) * warp_size; }

int smem_bytes(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  const int blocks = tiling.cluster_size;
  const int stage_bytes = (problem.rows() + (problem.has_gamma ? 1 : 0)) * unit_columns(tiling) * 4;
  const int x_bytes = static_cast<int>(slice_columns(tiling)) * problem.n * bytes_of(problem.dtype);
  const int partials_bytes = tiling.gemm_warps * (tokens_of_group * sum_chunks(problem) * 16 + 32);
  const int pre_chunks = static_cast<int>(divide_up(problem.n, 4));
  const int common_chunks = pre_chunks + 1;
  const int token_bytes = x_bytes + ((blocks + 1) * common_chunks + pre_chunks) * 16;
  const int owned_bytes = blocks * (sum_chunks(problem) - common_chunks) * 16;
  const int owned = static_cast<int>(divide_up(tokens_of_group, blocks));
  constexpr int barrier_bytes = 16;
  return tiling.gemm_warps * tiling.stages * stage_bytes + tokens_of_group * token_bytes + partials_bytes +
         owned * owned_bytes + barrier_bytes;
}

// Returns how many groups run at once. A launch shares out its tokens into as many.
std::int64_t groups_at_once(const Tiling& tiling, const Device& device) {
  return std::max(1, device.clusters_at_once[tiling.cluster_size]);
}
std::int64_t group_tokens(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  return std::min<std::int64_t>(divide_up(tokens, groups_at_once(tiling, device)), tokens_of_group);
}
std::int64_t groups(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  return divide_up(tokens, group_tokens(tiling, tokens, device));
}

// Clocks of a group of tokens, from the start of its blocks to their end. Together with the launch they are fitted to
// an H200, n = 2, 4, 6 and 8, D 128 to 8192, T 1 to 4096: 5 % root mean square.
double group_clocks(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  // A warp multiplies its chunks one after the other, and waits for the other warps of its scheduler. A block's warps
  // start one after the other. phi comes into a multiprocessor at its share of the L2 cache's rate. x comes at half its
  // share of memory's: a group is too short to fill it. Each block of a cluster sends and receives each token's sums.
  constexpr double block_of_rows_clocks = 26.0;
  constexpr double turn_clocks = 17.0;
  constexpr double warp_clocks = 84.0;
  constexpr double phi_bytes_per_clock = 215.0;
  constexpr double sums_clocks = 1.83;  // of a block of rows, from a block
  constexpr double block_clocks = 31.0;
  constexpr double part_of_memory = 0.51;
  const Problem& problem = tiling.problem;
  const double columns = static_cast<double>(problem.n * slice_columns(tiling));
  const double x_bytes_per_clock = part_of_memory * device.bytes_per_clock / device.multiprocessors;
  const double token_clocks =
      sums_clocks * tiling.cluster_size * row_blocks(problem) + columns * bytes_of(problem.dtype) / x_bytes_per_clock;
  const double turns = static_cast<double>(divide_up(tiling.gemm_warps, 4));  // of a scheduler's warps
  return (block_of_rows_clocks + turn_clocks * turns) * row_blocks(problem) * tiling.units_per_warp *
             tiling.unit_chunks +
         warp_clocks * tiling.gemm_warps + block_clocks * tiling.cluster_size +
         4.0 * problem.rows() * columns / phi_bytes_per_clock + token_clocks * static_cast<double>(tokens);
}

class FewTokens final : public Plan {
 public:
  FewTokens(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    kernels_ = {{.name = "pre_forward_few_tokens",
                 .header = "pre_forward/few_tokens.cuh",
                 .plan = "PreForwardFewTokens",
                 .constants = with_shape(tiling.problem, {{"has_gamma", tiling.problem.has_gamma},
                                                          {"cluster_size", tiling.cluster_size},
                                                          {"gemm_warps", tiling.gemm_warps},
                                                          {"unit_chunks", tiling.unit_chunks},
                                                          {"units_per_warp", tiling.units_per_warp},
                                                          {"panel_units", tiling.panel_units},
                                                          {"as_one_pass", tiling.as_one_pass()},
                                                          {"stages", tiling.stages}}),
                 .threads_per_block = tiling.threads_per_block,
                 .dynamic_smem_bytes = smem_bytes(tiling),
                 .max_cluster_size = tiling.cluster_size}};
  }

  Grid grid(std::size_t, std::int64_t tokens, const Device& device) const override {
    return grid_of_clusters(groups(tiling_, tokens, device), tiling_.cluster_size);
  }

  std::string order() const override {
    return tiling_.as_one_pass() ? one_pass_order(tiling_.cluster_size, tiling_.panel_columns, tiling_.gemm_warps)
                                 : Plan::order();
  }

  double cost_us(std::int64_t tokens, const Device& device) const override {
    constexpr double launch_clocks = 4470.0;
    const double waves =
        static_cast<double>(divide_up(groups(tiling_, tokens, device), groups_at_once(tiling_, device)));
    return device.microseconds(launch_clocks +
                               waves * group_clocks(tiling_, group_tokens(tiling_, tokens, device), device));
  }

 private:
  const Tiling tiling_;
};

// Gives a legal tiling the most stages. Returns "", or why the tiling is not legal.
std::string reject(Tiling& tiling, const Device& device) {
  const Problem& problem = tiling.problem;
  if (auto reason = unsupported(problem, device); !reason.empty()) return reason;
  if (tiling.gemm_warps > max_gemm_warps)
    return fmt::format("{} columns need {} gemm warps in each of {} blocks, allowed: {}", problem.d, tiling.gemm_warps,
                       tiling.cluster_size, max_gemm_warps);
  if ((tiling.cluster_size - 1) * slice_columns(tiling) >= problem.d)
    return fmt::format("{} blocks of {} columns leave the last without any", tiling.cluster_size,
                       slice_columns(tiling));
  tiling.threads_per_block = threads_of(tiling);
  tiling.stages = tiling.units_per_warp;
  while (tiling.stages > 1 && smem_bytes(tiling) > max_opt_in_smem_bytes) --tiling.stages;
  if (smem_bytes(tiling) > max_opt_in_smem_bytes)
    return fmt::format("x and one stream of phi take {} bytes of shared memory, a block has {}", smem_bytes(tiling),
                       max_opt_in_smem_bytes);
  if (needed_registers(tiling) > registers_of_thread(tiling))
    return fmt::format("a thread needs {} registers, of {} threads each has {}", needed_registers(tiling),
                       tiling.threads_per_block, registers_of_thread(tiling));
  return "";
}

Candidate candidate(Tiling tiling, const Device& device) {
  Candidate result;
  result.parameters = {{"cluster_size", tiling.cluster_size}, {"chunks_per_warp", tiling.unit_chunks}};
  if (tiling.as_one_pass()) {
    result.parameters.emplace_back("panel_columns", tiling.panel_columns);
    result.parameters.emplace_back("gemm_warps", tiling.gemm_warps);
  }
  result.rejected = reject(tiling, device);
  if (result.rejected.empty()) result.plan = std::make_shared<FewTokens>(tiling, result.parameters);
  return result;
}

// The tiling that multiplies as one pass does with its clusters, panels and groups of warps. It has no units if there
// is none.
Tiling one_pass_tiling(const Problem& problem, int cluster_size, int panel_columns, int column_groups) {
  Tiling tiling = {.problem = problem};
  tiling.cluster_size = cluster_size;
  tiling.panel_columns = panel_columns;
  tiling.gemm_warps = column_groups;
  const int panel_steps = panel_columns / chunk_columns;
  const auto panels = static_cast<int>(divide_up(divide_up(problem.d, panel_columns), cluster_size)) * problem.n;
  if (panels * panel_steps % column_groups != 0) return tiling;
  const int steps = panels * panel_steps / column_groups;
  tiling.unit_chunks = std::gcd(steps, panel_steps);
  tiling.panel_units = panel_steps / tiling.unit_chunks;
  // x of eight tokens is loaded two steps at a time.
  if (tiling.unit_chunks % 2 == 0) tiling.units_per_warp = steps / tiling.unit_chunks;
  return tiling;
}

// Candidates are all cluster sizes with each number of chunks of columns for a warp. If tokens must not depend on each
// other's number, those that add as one pass does are candidates too.
std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  std::vector<Candidate> list;
  for (const int cluster_size : cluster_sizes)
    for (const int chunks : chunks_of_warp) {
      Tiling tiling = {.problem = problem};
      tiling.cluster_size = cluster_size;
      tiling.unit_chunks = chunks;
      tiling.units_per_warp = problem.n;
      const std::int64_t warps = divide_up(divide_up(problem.d, chunk_columns), std::int64_t{cluster_size} * chunks);
      tiling.gemm_warps = static_cast<int>(warps);
      list.push_back(candidate(tiling, device));
    }
  if (!problem.batch_invariant || problem.dtype != DType::bf16 || problem.d % 8 != 0) return list;
  for (int cluster_size = max_cluster_size; cluster_size >= 2; --cluster_size)
    for (const int panel_columns : {64, 32})
      for (const int column_groups : one_pass_column_groups) {
        const Tiling tiling = one_pass_tiling(problem, cluster_size, panel_columns, column_groups);
        if (tiling.units_per_warp != 0) list.push_back(candidate(tiling, device));
      }
  return list;
}

}  // namespace

constinit const Family pre_forward_few_tokens = {family_name, candidates};

}  // namespace mhcjit::codegen
