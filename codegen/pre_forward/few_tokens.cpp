// pre_forward for few tokens: which of its tilings are legal for a problem, and what they need. The kernel is
// templates/pre_forward/few_tokens.cuh; it is right for any number of tokens, and fast where the launch is most of the
// time.
#include <algorithm>
#include <array>

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
  int cluster_size = 0;     // blocks that share a group of tokens, each a slice of the columns of every stream
  int gemm_warps = 0;       // of a block
  int chunks_per_warp = 0;  // of 16 columns
  int stages = 0;           // streams of phi that a warp holds
};

int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int sum_chunks(const Problem& problem) { return row_blocks(problem) * 2 + 1; }
std::int64_t slice_columns(const Tiling& tiling) {
  return std::int64_t{tiling.gemm_warps} * tiling.chunks_per_warp * chunk_columns;
}

// Registers of a gemm thread, as the assembler needs them to keep nothing in local memory: of each block of eight rows
// products and two terms, and what x and addresses need; where streams of phi come in a ring, its place and phase.
int needed_registers(const Tiling& tiling) {
  const int ring = tiling.stages < tiling.problem.n ? 10 : 0;
  return row_blocks(tiling.problem) * 13 + 48 + ring;
}

// A multiprocessor hands out registers to four warps at a time, eight to each thread.
int registers_of_thread(const Tiling& tiling) {
  constexpr int threads_of_four_warps = 4 * warp_size;
  const int threads =
      static_cast<int>(divide_up(tiling.threads_per_block, threads_of_four_warps)) * threads_of_four_warps;
  return std::min(255, registers_per_multiprocessor / threads / 8 * 8);
}

// "" or why the device cannot run the kernel on the problem.
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
  const int stage_bytes = (problem.rows() + (problem.has_gamma ? 1 : 0)) * tiling.chunks_per_warp * chunk_columns * 4;
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

// Groups of tokens that run at once, and into which a launch shares out its tokens.
std::int64_t groups_at_once(const Tiling& tiling, const Device& device) {
  return std::max(1, device.clusters_at_once[tiling.cluster_size]);
}
std::int64_t group_tokens(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  return std::min<std::int64_t>(divide_up(tokens, groups_at_once(tiling, device)), tokens_of_group);
}
std::int64_t groups(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  return divide_up(tokens, group_tokens(tiling, tokens, device));
}

// Clocks of a group of tokens, from the start of its blocks to their end. Fitted to an H200, n = 4, 6 and 8, D 128 to
// 7168, T 1 to 512, together with the launch: 6 % root mean square.
double group_clocks(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  // A warp multiplies its chunks one after the other; a block's warps start one after the other. phi comes into a
  // multiprocessor at its share of the L2 cache's rate, x at its share of memory's. A token's sums are added up over
  // the warps; each block of a cluster sends and receives some.
  constexpr double block_of_rows_clocks = 41.0;
  constexpr double warp_clocks = 72.0;
  constexpr double phi_bytes_per_clock = 120.0;
  constexpr double sum_of_warp_clocks = 5.1;
  constexpr double block_clocks = 40.0;
  const Problem& problem = tiling.problem;
  const double columns = static_cast<double>(problem.n * slice_columns(tiling));
  const double x_bytes_per_clock = device.bytes_per_clock / device.multiprocessors;
  const double token_clocks = sum_of_warp_clocks * tiling.gemm_warps * row_blocks(problem) +
                              columns * bytes_of(problem.dtype) / x_bytes_per_clock;
  return block_of_rows_clocks * problem.n * row_blocks(problem) * tiling.chunks_per_warp +
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
                                                          {"chunks_per_warp", tiling.chunks_per_warp},
                                                          {"stages", tiling.stages}}),
                 .threads_per_block = tiling.threads_per_block,
                 .dynamic_smem_bytes = smem_bytes(tiling),
                 .max_cluster_size = tiling.cluster_size}};
  }

  Grid grid(std::size_t, std::int64_t tokens, const Device& device) const override {
    return grid_of_clusters(groups(tiling_, tokens, device), tiling_.cluster_size);
  }

  double cost_us(std::int64_t tokens, const Device& device) const override {
    constexpr double launch_clocks = 4880.0;
    const double waves =
        static_cast<double>(divide_up(groups(tiling_, tokens, device), groups_at_once(tiling_, device)));
    return device.microseconds(launch_clocks +
                               waves * group_clocks(tiling_, group_tokens(tiling_, tokens, device), device));
  }

 private:
  const Tiling tiling_;
};

Candidate candidate(const Problem& problem, const Device& device, int cluster_size, int chunks_per_warp) {
  Candidate result;
  result.parameters = {{"cluster_size", cluster_size}, {"chunks_per_warp", chunks_per_warp}};
  Tiling tiling = {.problem = problem};
  tiling.cluster_size = cluster_size;
  tiling.chunks_per_warp = chunks_per_warp;
  const std::int64_t chunks = divide_up(problem.d, chunk_columns);
  const std::int64_t warps = divide_up(chunks, std::int64_t{cluster_size} * chunks_per_warp);
  tiling.gemm_warps = static_cast<int>(std::min<std::int64_t>(warps, max_gemm_warps + 1));
  result.rejected = unsupported(problem, device);
  if (!result.rejected.empty()) return result;
  tiling.threads_per_block = threads_of(tiling);
  tiling.stages = problem.n;
  while (tiling.stages > 1 && smem_bytes(tiling) > max_opt_in_smem_bytes) --tiling.stages;
  if (warps > max_gemm_warps)
    result.rejected = fmt::format("{} columns need {} gemm warps in each of {} blocks, allowed: {}", problem.d, warps,
                                  cluster_size, max_gemm_warps);
  else if ((cluster_size - 1) * slice_columns(tiling) >= problem.d)
    result.rejected =
        fmt::format("{} blocks of {} columns leave the last without any", cluster_size, slice_columns(tiling));
  else if (smem_bytes(tiling) > max_opt_in_smem_bytes)
    result.rejected = fmt::format("x and one stream of phi take {} bytes of shared memory, a block has {}",
                                  smem_bytes(tiling), max_opt_in_smem_bytes);
  else if (needed_registers(tiling) > registers_of_thread(tiling))
    result.rejected = fmt::format("a thread needs {} registers, of {} threads each has {}", needed_registers(tiling),
                                  tiling.threads_per_block, registers_of_thread(tiling));
  if (result.rejected.empty()) result.plan = std::make_shared<FewTokens>(tiling, result.parameters);
  return result;
}

// Every cluster size with each number of chunks of columns for a warp.
std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  std::vector<Candidate> list;
  for (const int cluster_size : cluster_sizes)
    for (const int chunks : chunks_of_warp) list.push_back(candidate(problem, device, cluster_size, chunks));
  return list;
}

}  // namespace

constinit const Family pre_forward_few_tokens = {family_name, candidates};

}  // namespace mhcjit::codegen
