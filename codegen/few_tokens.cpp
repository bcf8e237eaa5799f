#include "codegen/few_tokens.h"

#include <algorithm>
#include <array>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr int warp_size = 32;
constexpr int tokens_of_group = 16;
constexpr int chunk_columns = 16;
constexpr int max_chunks_per_warp = 4;
constexpr int max_warps = 24;
constexpr std::array cluster_sizes = {16, 8, 4, 2};  // none of one block, as of the one-pass template
constexpr int registers_per_multiprocessor = 65536;

std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int sum_chunks(const Problem& problem) { return row_blocks(problem) * 2 + 1; }
std::int64_t block_columns(const KernelSpec& spec) {
  return std::int64_t{spec.few_gemm_warps} * spec.few_chunks_per_warp * chunk_columns;
}

// Registers of a gemm thread, as the assembler needs them to keep nothing in local memory: of each of the warp's chunks
// x and what is under way of phi, then a stream's rows of phi in two terms, the products, and what addresses need; of
// fp16 also the rows' scales, and phi until they are known.
int needed_registers(const KernelSpec& spec) {
  const int blocks = row_blocks(spec.problem);
  const int chunk = spec.problem.n * 4 + blocks * (spec.problem.has_gamma ? 10 : 8);
  const int terms = blocks * 4;
  const int products = blocks * 8;
  const int scales = spec.problem.dtype == DType::fp16 ? blocks * 2 + 24 : 0;
  constexpr int addresses = 16;
  return spec.few_chunks_per_warp * chunk + terms + products + scales + addresses;
}

// A multiprocessor hands out registers to four warps at a time, eight to each thread.
int registers_of_thread(const KernelSpec& spec) {
  const int threads = static_cast<int>(divide_up(spec.threads_per_block, 4 * warp_size)) * 4 * warp_size;
  return std::min(255, registers_per_multiprocessor / threads / 8 * 8);
}

// "" or why the device cannot run the template on the problem.
std::string unsupported(const Problem& problem) {
  if (problem.op != Op::pre_forward) return "it is a template of pre_forward";
  if (problem.dtype == DType::fp32) return "x in fp32 has no exact product on the tensor cores";
  if (problem.d % 4 != 0) return fmt::format("D is {}, a lane loads four columns at a time", problem.d);
  if (problem.architecture.major != 9 && problem.architecture.major != 10)
    return fmt::format("it needs clusters: sm_90, sm_100 and sm_103, not {}", to_string(problem.architecture));
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
  spec.few_gemm_warps = static_cast<int>(std::min<std::int64_t>(warps, max_warps + 1));
  result.rejected = unsupported(problem);
  if (!result.rejected.empty()) return result;
  spec.threads_per_block = few_tokens_threads(spec);
  if (warps > max_warps)
    result.rejected = fmt::format("{} columns need {} warps in each of {} blocks, allowed: {}", problem.d, warps,
                                  cluster_size, max_warps);
  else if ((cluster_size - 1) * block_columns(spec) >= problem.d)
    result.rejected =
        fmt::format("{} blocks of {} columns leave the last without any", cluster_size, block_columns(spec));
  else if (needed_registers(spec) > registers_of_thread(spec))
    result.rejected = fmt::format("a thread needs {} registers, of {} threads each has {}", needed_registers(spec),
                                  spec.threads_per_block, registers_of_thread(spec));
  return result;
}

}  // namespace

std::vector<Candidate> few_tokens_candidates(const Problem& problem) {
  std::vector<Candidate> list;
  for (const int cluster_size : cluster_sizes)
    for (int chunks = 1; chunks <= max_chunks_per_warp; ++chunks)
      list.push_back(candidate(problem, cluster_size, chunks));
  return list;
}

double few_tokens_cost(const KernelSpec& spec) {
  // phi comes into a multiprocessor at its share of the L2 cache's rate; each chunk waits for its own part. Then the
  // start of a block's warps, and adding up what they and the other blocks have. Fitted to an H200.
  constexpr double bytes_per_clock = 60.0;
  constexpr double chunk_latency = 700.0;
  constexpr double warp_clocks = 160.0;
  constexpr double block_clocks = 150.0;
  const double phi_bytes = 4.0 * spec.problem.rows() * spec.problem.n * static_cast<double>(block_columns(spec));
  return phi_bytes / bytes_per_clock + chunk_latency * spec.few_chunks_per_warp + warp_clocks * spec.few_gemm_warps +
         block_clocks * spec.few_cluster_size;
}

int few_tokens_threads(const KernelSpec& spec) { return spec.few_gemm_warps * warp_size; }

int few_tokens_smem_bytes(const KernelSpec& spec) {
  const int token_sum_bytes = sum_chunks(spec.problem) * 16;
  const int h_bytes = static_cast<int>(divide_up(spec.problem.n, 4)) * 16;
  constexpr int barrier_bytes = 16;
  return tokens_of_group * ((spec.few_gemm_warps + spec.few_cluster_size) * token_sum_bytes + h_bytes) + barrier_bytes;
}

std::int64_t few_tokens_groups(const KernelSpec& spec, std::int64_t tokens) {
  // As many as a large device runs with a multiprocessor for each block.
  constexpr std::int64_t multiprocessors = 112;
  const std::int64_t side_by_side = multiprocessors / spec.few_cluster_size;
  const std::int64_t group_tokens = std::min<std::int64_t>(divide_up(tokens, side_by_side), tokens_of_group);
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
  // Each group reads all of phi, from the L2 cache: more than this takes longer than what the other template needs.
  constexpr std::int64_t most_phi_bytes = 12 << 20;
  const std::int64_t phi_bytes = 4 * spec.problem.rows() * spec.problem.columns();
  spec.few_max_tokens = tokens_of_group * std::max<std::int64_t>(1, most_phi_bytes / phi_bytes);
}

}  // namespace mhcjit::codegen
