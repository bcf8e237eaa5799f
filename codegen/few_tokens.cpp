#include "codegen/few_tokens.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "codegen/divide_up.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr int warp_size = 32;
constexpr int tokens_of_group = 16;
constexpr int chunk_columns = 16;
constexpr std::array chunks_of_warp = {1, 2, 4};
constexpr int max_gemm_warps = 23;
constexpr std::array cluster_sizes = {16, 8, 4, 2};  // none of one block, as of the one-pass template

int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int sum_chunks(const Problem& problem) { return row_blocks(problem) * 2 + 1; }
std::int64_t slice_columns(const KernelSpec& spec) {
  return std::int64_t{spec.few_gemm_warps} * spec.few_chunks_per_warp * chunk_columns;
}

// Registers of a gemm thread, as the assembler needs them to keep nothing in local memory: of each block of eight rows
// products and two terms, and what x and addresses need.
int needed_registers(const KernelSpec& spec) { return row_blocks(spec.problem) * 13 + 48; }

// A multiprocessor hands out registers to four warps at a time, eight to each thread.
int registers_of_thread(const KernelSpec& spec) {
  constexpr int threads_of_four_warps = 4 * warp_size;
  const int threads =
      static_cast<int>(divide_up(spec.threads_per_block, threads_of_four_warps)) * threads_of_four_warps;
  return std::min(255, registers_per_multiprocessor / threads / 8 * 8);
}

// "" or why the device cannot run the template on the problem.
std::string unsupported(const Problem& problem) {
  if (problem.op != Op::pre_forward) return "it is a template of pre_forward";
  if (problem.d % 4 != 0) return fmt::format("D is {}, a lane copies four columns at a time", problem.d);
  if (auto reason = clusters_unsupported(problem.architecture); !reason.empty()) return reason;
  if (sum_chunks(problem) > warp_size)
    return fmt::format("the sums of {} rows, four to a lane, are more than a warp has lanes for", problem.rows());
  return "";
}

Candidate candidate(const Problem& problem, int cluster_size, int chunks_per_warp) {
  Candidate result;
  KernelSpec& spec = result.spec;
  spec.problem = problem;
  spec.kernel_template = KernelTemplate::few_tokens;
  spec.few_max_tokens = max_tokens;
  spec.few_cluster_size = cluster_size;
  spec.few_chunks_per_warp = chunks_per_warp;
  const std::int64_t chunks = divide_up(problem.d, chunk_columns);
  const std::int64_t warps = divide_up(chunks, std::int64_t{cluster_size} * chunks_per_warp);
  spec.few_gemm_warps = static_cast<int>(std::min<std::int64_t>(warps, max_gemm_warps + 1));
  result.rejected = unsupported(problem);
  if (!result.rejected.empty()) return result;
  spec.threads_per_block = few_tokens_threads(spec);
  spec.few_stages = problem.n;
  while (spec.few_stages > 1 && few_tokens_smem_bytes(spec) > max_opt_in_smem_bytes) --spec.few_stages;
  if (warps > max_gemm_warps)
    result.rejected = fmt::format("{} columns need {} gemm warps in each of {} blocks, allowed: {}", problem.d, warps,
                                  cluster_size, max_gemm_warps);
  else if ((cluster_size - 1) * slice_columns(spec) >= problem.d)
    result.rejected =
        fmt::format("{} blocks of {} columns leave the last without any", cluster_size, slice_columns(spec));
  else if (few_tokens_smem_bytes(spec) > max_opt_in_smem_bytes)
    result.rejected = fmt::format("x and one stream of phi take {} bytes of shared memory, a block has {}",
                                  few_tokens_smem_bytes(spec), max_opt_in_smem_bytes);
  else if (needed_registers(spec) > registers_of_thread(spec))
    result.rejected = fmt::format("a thread needs {} registers, of {} threads each has {}", needed_registers(spec),
                                  spec.threads_per_block, registers_of_thread(spec));
  return result;
}

// Estimated clocks of a launch of no more groups than run at once.
double launch_cost(const KernelSpec& spec) {
  // A warp multiplies its chunks one after the other; then the start of a block's warps, and adding up what they and
  // the other blocks have. phi comes into a multiprocessor at its share of the L2 cache's rate. Fitted to an H100.
  constexpr double block_of_rows_clocks = 35.0;
  constexpr double warp_clocks = 133.0;
  constexpr double block_clocks = 150.0;
  constexpr double bytes_per_clock = 60.0;
  const Problem& problem = spec.problem;
  const double phi_bytes = 4.0 * problem.rows() * problem.n * static_cast<double>(slice_columns(spec));
  return block_of_rows_clocks * problem.n * row_blocks(problem) * spec.few_chunks_per_warp +
         warp_clocks * spec.few_gemm_warps + block_clocks * spec.few_cluster_size + phi_bytes / bytes_per_clock;
}

}  // namespace

std::vector<Candidate> few_tokens_candidates(const Problem& problem) {
  std::vector<Candidate> list;
  for (const int cluster_size : cluster_sizes)
    for (const int chunks : chunks_of_warp) list.push_back(candidate(problem, cluster_size, chunks));
  return list;
}

double few_tokens_cost(const KernelSpec& spec) {
  // Half as many groups as are worth reading phi for from the L2 cache.
  constexpr std::int64_t most_phi_bytes = 12 << 20;
  const std::int64_t phi_bytes = std::int64_t{4} * spec.problem.rows() * spec.problem.columns();
  const std::int64_t usual_groups = std::max<std::int64_t>(1, most_phi_bytes / phi_bytes / 2);
  return launch_cost(spec) * static_cast<double>(divide_up(usual_groups, clusters_at_once(spec.few_cluster_size)));
}

int few_tokens_threads(const KernelSpec& spec) { return (spec.few_gemm_warps + 1) * warp_size; }

int few_tokens_smem_bytes(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  const int blocks = spec.few_cluster_size;
  const int stage_bytes = (problem.rows() + (problem.has_gamma ? 1 : 0)) * spec.few_chunks_per_warp * chunk_columns * 4;
  const int x_bytes = static_cast<int>(slice_columns(spec)) * problem.n * bytes_of(problem.dtype);
  const int partials_bytes = spec.few_gemm_warps * (tokens_of_group * sum_chunks(problem) * 16 + 32);
  const int pre_chunks = static_cast<int>(divide_up(problem.n, 4));
  const int common_chunks = pre_chunks + 1;
  const int token_bytes = x_bytes + ((blocks + 1) * common_chunks + pre_chunks) * 16;
  const int owned_bytes = blocks * (sum_chunks(problem) - common_chunks) * 16;
  const int owned = static_cast<int>(divide_up(tokens_of_group, blocks));
  constexpr int barrier_bytes = 16;
  return spec.few_gemm_warps * spec.few_stages * stage_bytes + tokens_of_group * token_bytes + partials_bytes +
         owned * owned_bytes + barrier_bytes;
}

std::int64_t few_tokens_groups(const KernelSpec& spec, std::int64_t tokens) {
  const std::int64_t group_tokens =
      std::min<std::int64_t>(divide_up(tokens, clusters_at_once(spec.few_cluster_size)), tokens_of_group);
  return divide_up(tokens, group_tokens);
}

void add_few_tokens(KernelSpec& spec) {
  if (spec.problem.batch_invariant) return;
  const KernelSpec* best = nullptr;
  const std::vector<Candidate> list = few_tokens_candidates(spec.problem);
  for (const Candidate& candidate : list)
    if (candidate.legal() && (best == nullptr || few_tokens_cost(candidate.spec) < few_tokens_cost(*best)))
      best = &candidate.spec;
  if (best == nullptr) return;
  spec.few_cluster_size = best->few_cluster_size;
  spec.few_gemm_warps = best->few_gemm_warps;
  spec.few_chunks_per_warp = best->few_chunks_per_warp;
  spec.few_stages = best->few_stages;
  // As many tokens as are worked on at once; in place of two passes, as often as they take longer.
  double waves = 1.0;
  if (spec.kernel_template == KernelTemplate::two_pass) {
    // Fitted to an H200: what each kernel of two passes begins and ends with, and a chunk of 64 columns.
    constexpr double launches_clocks = 32000.0;
    constexpr double wgmma_chunk_clocks = 760.0;
    const double mma_chunk_clocks = spec.problem.dtype == DType::fp32 ? 3600.0 : 2000.0;
    const int splits = spec.widest_cluster_size() / spec.row_blocks;
    const double chunks = static_cast<double>(spec.problem.columns()) / splits / 64.0;
    const double two_pass_clocks =
        launches_clocks + chunks * (spec.uses_wgmma != 0 ? wgmma_chunk_clocks : mma_chunk_clocks);
    constexpr double more_of_full_groups = 4500.0;  // than launch_cost says
    waves = std::max(1.0, std::floor(two_pass_clocks / (launch_cost(*best) + more_of_full_groups)));
  }
  spec.few_max_tokens = static_cast<std::int64_t>(waves) * tokens_of_group * clusters_at_once(best->few_cluster_size);
}

}  // namespace mhcjit::codegen
