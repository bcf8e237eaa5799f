#include "codegen/candidates.h"

#include <algorithm>
#include <bit>

#include "codegen/divide_up.h"
#include "codegen/few_tokens.h"
#include "codegen/one_pass.h"
#include "codegen/portable_forward.h"
#include "codegen/vectors.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr int threads_per_block = 256;
// What a block may have on every architecture without asking the driver for more.
constexpr int max_smem_bytes = 48 * 1024;

void choose_constants(KernelSpec& spec) {
  const Problem& problem = spec.problem;
  const int tile_rows = (problem.rows() + 3) / 4 * 4;
  const int column_threads = static_cast<int>(
      std::bit_floor(static_cast<unsigned>(std::max(1, max_smem_bytes / 4 / tile_rows / spec.vec_size))));
  spec.dx_columns_per_block = std::min(column_threads, threads_per_block) * spec.vec_size;
  spec.dx_tokens_per_thread = 8;
  spec.max_dx_token_blocks = 64;
  spec.max_bias_slots = 1024;
  // Enough blocks for two on each multiprocessor of a large device; each split costs one phi of workspace.
  constexpr std::int64_t wanted_blocks = 256;
  constexpr std::int64_t max_splits = 32;
  const std::int64_t columns_per_block = std::int64_t{threads_per_block / spec.row_warps} * spec.vec_size;
  const std::int64_t blocks = divide_up(problem.columns(), columns_per_block) * spec.row_blocks;
  spec.max_token_splits = static_cast<int>(std::clamp<std::int64_t>(wanted_blocks / blocks, 1, max_splits));
}

Candidate backward_candidate(const Problem& problem, int rows_per_thread, int row_warps) {
  KernelSpec spec;
  spec.problem = problem;
  spec.vec_size = vec_size_of(problem);
  spec.threads_per_block = threads_per_block;
  spec.rows_per_thread = rows_per_thread;
  spec.row_warps = row_warps;
  spec.row_blocks = static_cast<int>(divide_up(problem.rows(), spec.rows_per_block()));
  spec.threads_per_token = threads_per_token_of(problem, spec.vec_size, threads_per_block);
  choose_constants(spec);

  std::string rejected;
  if (spec.row_blocks == 1 && rows_per_thread * (row_warps / 2) >= problem.rows())
    rejected =
        fmt::format("{} warps of {} rows are more than {} rows need", row_warps, rows_per_thread, problem.rows());
  for (const StagePlan& stage : stages(spec))
    if (rejected.empty() && stage.dynamic_smem_bytes > max_smem_bytes)
      rejected = fmt::format("{} needs {} bytes of shared memory, a block has {}", stage.name, stage.dynamic_smem_bytes,
                             max_smem_bytes);
  return {spec, rejected};
}

}  // namespace

bool has_clusters(const Architecture& architecture) { return architecture.major == 9 || architecture.major == 10; }

std::string clusters_unsupported(const Architecture& architecture) {
  if (has_clusters(architecture)) return "";
  return fmt::format("it needs clusters: sm_90, sm_100 and sm_103, not {}", to_string(architecture));
}

int clusters_at_once(int cluster_size) {
  // The driver's answers for an H100: as of groups of multiprocessors, two of 18, five of 16 and one of 8, that a
  // cluster cannot cross, and of eight multiprocessors that stand in pairs.
  const int pairs = cluster_size <= 2 ? 8 / cluster_size : 0;
  return 2 * (18 / cluster_size) + 5 * (16 / cluster_size) + 8 / cluster_size + pairs;
}

std::vector<Candidate> candidates(const Problem& problem, KernelTemplate kernel_template) {
  if (kernel_template == KernelTemplate::few_tokens) return few_tokens_candidates(problem);
  if (kernel_template == KernelTemplate::one_pass) return one_pass_candidates(problem);
  if (kernel_template == KernelTemplate::two_pass) return two_pass_candidates(problem);
  if (problem.op == Op::pre_forward) return portable_forward_candidates(problem);
  // Multiples of 4: the gradients of the logits are read four rows at a time.
  std::vector<Candidate> list;
  for (const int rows_per_thread : {12, 8, 4})
    for (const int row_warps : {1, 2, 4, 8}) list.push_back(backward_candidate(problem, rows_per_thread, row_warps));
  return list;
}

}  // namespace mhcjit::codegen
