#include "codegen/portable_forward.h"

#include <algorithm>
#include <cmath>

#include "codegen/divide_up.h"
#include "codegen/vectors.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr int warp_size = 32;
constexpr int threads_per_block = 256;
constexpr int warps = threads_per_block / warp_size;
constexpr int steps_per_chunk = 4;
// Ranges of columns of a cluster: as few as fill a device with the usual tokens, or many.
constexpr int narrow_splits = 2;
constexpr int wide_splits = 8;

// What the shares of work are laid out for: a large device, and as many tokens as a usual step of training has. Results
// do not depend on either.
constexpr int multiprocessors = 132;
constexpr std::int64_t usual_tokens = 8192;

// At each step the tensor cores drop what stands below a sum's last bit. Warp groups, whose ranges are long, add up
// shorter sums.
constexpr std::int64_t most_chunks_per_wgmma_sum = 2048 / chunk_columns;
constexpr std::int64_t most_columns_per_sum = 8192;

int tiles_of(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }

// Shared memory that the blocks on a multiprocessor have together; each takes 1 KB more than it asks for.
int smem_bytes_of_multiprocessor(const Architecture& architecture) {
  const bool is_small =
      (architecture.major == 8 && architecture.minor != 0 && architecture.minor != 7) || architecture.major == 12;
  if (is_small) return 100 * 1024;
  return (architecture.major == 8 ? 164 : 228) * 1024;
}

// Registers of a thread that multiplies, as the assembler reports them at most: sums, x of a step and its squares, two
// operands of phi, and what the loop itself uses.
int registers_needed(const KernelSpec& spec) {
  if (spec.uses_wgmma != 0) {
    constexpr int wgmma_loop = 40;
    return spec.row_tiles * 12 + wgmma_loop;
  }
  constexpr int operands = 8;
  const int groups = spec.tokens_per_warp / 8;
  const bool is_split = spec.problem.dtype == DType::fp32;
  const int x = groups * (is_split ? 9 : 3);
  const int loop = is_split ? 60 : 38;
  return spec.row_tiles * groups * 4 + x + operands + loop;
}

int registers_available(const KernelSpec& spec) {
  constexpr int of_wgmma = 240;  // given to the warps that multiply
  if (spec.uses_wgmma != 0) return of_wgmma;
  return std::min(255, registers_per_multiprocessor / threads_per_block / spec.blocks_per_multiprocessor / 8 * 8);
}

// "" or why warp groups cannot multiply for the problem.
std::string wgmma_unsupported(const Problem& problem) {
  const Architecture& architecture = problem.architecture;
  if (architecture.major != 9 || architecture.suffix != 'a')
    return fmt::format("products of warp groups need sm_90a, not {}", to_string(architecture));
  if (problem.dtype == DType::fp32) return "x in fp32 becomes two terms, which warp groups do not make";
  if (problem.d % 8 != 0) return fmt::format("D is {}, tensor maps need a multiple of 8", problem.d);
  return "";
}

// What a block that applies has of a token.
int token_floats(const KernelSpec& spec) { return spec.problem.n + 1; }

// A chunk of x and of packed phi.
int project_stage_bytes(const KernelSpec& spec) {
  const int x_bytes = project_tokens(spec) * chunk_columns * bytes_of(spec.problem.dtype);
  const int phi_bytes = spec.row_tiles * steps_per_chunk * warp_size * 16;
  return x_bytes + phi_bytes;
}

// Shared memory of a block of a cluster once it has multiplied: partial sums of a tile, and what its warps apply with.
int cluster_smem_bytes(const KernelSpec& spec) {
  const auto owned_tokens = static_cast<int>(divide_up(project_tokens(spec), spec.cluster_size));
  return (project_tokens(spec) * (spec.row_tiles * 8 + 1) + owned_tokens * token_floats(spec)) * 4;
}

// "" or why the device cannot run the spec as clusters.
std::string cluster_unsupported(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  if (problem.op != Op::pre_forward) return "it is a template of pre_forward";
  if (auto reason = clusters_unsupported(problem.architecture); !reason.empty()) return reason;
  if (spec.k_splits * spec.row_blocks != spec.cluster_size)
    return fmt::format("{} columns are too few for {} ranges of whole chunks", problem.columns(),
                       spec.cluster_size / spec.row_blocks);
  if (spec.uses_wgmma == 0 && spec.columns_per_split > most_columns_per_sum)
    return fmt::format("{} columns are too many for one sum, allowed: up to {}", spec.columns_per_split,
                       most_columns_per_sum);
  if (spec.uses_wgmma != 0 && cluster_smem_bytes(spec) > spec.pipeline_stages * project_stage_bytes(spec))
    return fmt::format("{} stages have no room for the partial sums of a tile, {} bytes", spec.pipeline_stages,
                       cluster_smem_bytes(spec));
  return "";
}

// Ranges of columns such that the blocks of the usual T fill the device at once: neither so short that the first chunk
// and the results weigh, nor so long that a few tokens take for ever.
void split_columns(KernelSpec& spec) {
  constexpr std::int64_t fewest_columns = 1024;
  // Blocks that warp groups multiply in have fewer tokens: two ranges of the columns of large problems fill the device.
  const std::int64_t most_columns = spec.uses_wgmma != 0 ? 16384 : most_columns_per_sum;
  const std::int64_t columns = packed_columns(spec);
  const std::int64_t chunks = columns / chunk_columns;
  const std::int64_t blocks = divide_up(usual_tokens, project_tokens(spec)) * spec.row_blocks;
  const std::int64_t at_once = std::int64_t{multiprocessors} * spec.blocks_per_multiprocessor;
  const std::int64_t most = std::max<std::int64_t>(1, columns / fewest_columns);
  const std::int64_t wanted = std::clamp<std::int64_t>(at_once / blocks, divide_up(columns, most_columns), most);
  const std::int64_t wanted_chunks = divide_up(chunks, wanted);
  const std::int64_t sums_per_split = spec.uses_wgmma != 0 ? divide_up(wanted_chunks, most_chunks_per_wgmma_sum) : 1;
  const std::int64_t chunks_per_sum = divide_up(wanted_chunks, sums_per_split);
  spec.columns_per_sum = static_cast<int>(chunks_per_sum * chunk_columns);
  spec.columns_per_split = static_cast<int>(sums_per_split) * spec.columns_per_sum;
  spec.k_splits = static_cast<int>(divide_up(chunks, sums_per_split * chunks_per_sum));
}

// As many ranges of columns as the blocks of a cluster share out. A range is of whole sums: of warp groups there are so
// many that wide clusters share them out too.
void split_columns_in_cluster(KernelSpec& spec) {
  const std::int64_t chunks = packed_columns(spec) / chunk_columns;
  const std::int64_t splits = spec.cluster_size / spec.row_blocks;
  const std::int64_t sums =
      spec.uses_wgmma != 0 ? wide_splits * divide_up(chunks, wide_splits * most_chunks_per_wgmma_sum) : splits;
  const std::int64_t chunks_per_sum = divide_up(chunks, sums);
  const std::int64_t chunks_per_split = divide_up(divide_up(chunks, chunks_per_sum), splits) * chunks_per_sum;
  spec.columns_per_sum = static_cast<int>(chunks_per_sum * chunk_columns);
  spec.columns_per_split = static_cast<int>(chunks_per_split * chunk_columns);
  spec.k_splits = static_cast<int>(divide_up(chunks, chunks_per_split));
}

// Tiles that the clusters of a size work on at once.
std::int64_t tiles_at_once(const KernelSpec& spec, int cluster_size) {
  return std::int64_t{clusters_at_once(cluster_size)} * spec.blocks_per_multiprocessor;
}

// Where tokens are few, their tiles are shared out among more blocks: as long as these take fewer turns than pass while
// narrow clusters work on as many tiles as the device has room for.
void widen_clusters(KernelSpec& spec) {
  const int wide = wide_splits * spec.row_blocks;
  const std::int64_t chunks = packed_columns(spec) / chunk_columns;
  // fp16 of single warps is scaled for each range of columns, which are as many as phi was packed for.
  const bool has_fixed_ranges = spec.uses_wgmma == 0 && spec.problem.dtype == DType::fp16;
  if (spec.problem.batch_invariant || has_fixed_ranges || wide <= spec.cluster_size || wide > max_cluster_size ||
      chunks < wide_splits)
    return;
  spec.wide_cluster_size = wide;
  const std::int64_t tiles = tiles_at_once(spec, wide);
  const std::int64_t turns = tiles_at_once(spec, spec.cluster_size) / tiles - 1;
  spec.wide_max_tokens = turns * tiles * project_tokens(spec);
}

Candidate candidate(const Problem& problem, bool uses_wgmma, int tokens_per_warp, int row_blocks,
                    int blocks_per_multiprocessor, int cluster_size = 0) {
  Candidate result;
  KernelSpec& spec = result.spec;
  spec.problem = problem;
  spec.kernel_template = cluster_size != 0 ? KernelTemplate::two_pass : KernelTemplate::portable;
  spec.cluster_size = cluster_size;
  spec.threads_per_block = threads_per_block;
  spec.vec_size = vec_size_of(problem);
  spec.threads_per_token = threads_per_token_of(problem, spec.vec_size, threads_per_block);
  spec.tokens_per_warp = tokens_per_warp;
  spec.row_tiles = static_cast<int>(divide_up(tiles_of(problem), row_blocks));
  spec.row_blocks = row_blocks;
  spec.blocks_per_multiprocessor = blocks_per_multiprocessor;
  spec.uses_wgmma = uses_wgmma ? 1 : 0;
  if (cluster_size != 0)
    split_columns_in_cluster(spec);
  else
    split_columns(spec);
  // fp16: the range that has one scale. Else small, so that all multiprocessors have some.
  spec.pack_columns = problem.dtype == DType::fp16 ? spec.columns_per_sum : 4 * chunk_columns;

  // As many chunks under way as fit, up to what the latency of memory asks for.
  const int most_stages = uses_wgmma ? 8 : 4;
  constexpr int fewest_stages = 2;
  constexpr int reserved_smem_bytes = 1024;
  const int available = smem_bytes_of_multiprocessor(problem.architecture) / blocks_per_multiprocessor;
  spec.pipeline_stages = most_stages;
  while (spec.pipeline_stages > fewest_stages && project_smem_bytes(spec) + reserved_smem_bytes > available)
    --spec.pipeline_stages;
  const int smem = project_smem_bytes(spec) + reserved_smem_bytes;
  if (uses_wgmma) result.rejected = wgmma_unsupported(problem);
  if (cluster_size != 0 && result.rejected.empty()) result.rejected = cluster_unsupported(spec);
  if (cluster_size != 0) widen_clusters(spec);
  if (!result.rejected.empty()) return result;
  if ((row_blocks - 1) * spec.row_tiles >= tiles_of(problem))
    result.rejected = fmt::format("{} blocks of {} rows leave the last without any of {}", row_blocks,
                                  spec.row_tiles * 8, problem.rows());
  else if (registers_needed(spec) > registers_available(spec))
    result.rejected = fmt::format(
        "{} tokens by {} rows need {} registers a thread, {} blocks a multiprocessor leave {}", tokens_per_warp,
        spec.row_tiles * 8, registers_needed(spec), blocks_per_multiprocessor, registers_available(spec));
  else if (smem > available)
    result.rejected =
        fmt::format("{} blocks of {} bytes of shared memory, a multiprocessor of {} has {}", blocks_per_multiprocessor,
                    smem, to_string(problem.architecture), smem_bytes_of_multiprocessor(problem.architecture));
  return result;
}

}  // namespace

int packed_rows(const KernelSpec& spec) { return spec.row_tiles * spec.row_blocks * 8; }

std::int64_t packed_columns(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  return spec.uses_wgmma != 0 ? divide_up(problem.d, chunk_columns) * chunk_columns * problem.n
                              : divide_up(problem.columns(), chunk_columns) * chunk_columns;
}

int project_tokens(const KernelSpec& spec) { return warps * spec.tokens_per_warp; }
int project_wgmma_threads(const KernelSpec& spec) { return spec.threads_per_block + 4 * warp_size; }

int pack_phi_smem_bytes(const KernelSpec& spec) { return spec.problem.dtype == DType::fp16 ? 8 * 4 : 0; }

int apply_smem_bytes(const KernelSpec& spec) { return spec.tokens_per_group_block() * token_floats(spec) * 4; }

int project_smem_bytes(const KernelSpec& spec) {
  const int chunks_bytes = spec.pipeline_stages * project_stage_bytes(spec);
  if (spec.uses_wgmma != 0) return chunks_bytes + (2 * spec.pipeline_stages + (spec.cluster_size != 0 ? 1 : 0)) * 8;
  return spec.cluster_size != 0 ? std::max(chunks_bytes, cluster_smem_bytes(spec)) : chunks_bytes;
}

double portable_forward_cost(const KernelSpec& spec) {
  // Clocks of each multiprocessor for the usual tokens, where all have work.
  constexpr double device_bytes_per_clock = 2370.0;
  // By bulk copies, or by copies of 16 bytes for each thread.
  const double l2_bytes_per_clock = spec.uses_wgmma != 0 ? 4300.0 : 3100.0;
  // Of a 16 x 16 operand with eight columns, on one tensor core of four.
  const double clocks_per_product = spec.uses_wgmma != 0 ? 4.4 : 7.3;
  constexpr double schedulers = 4.0 * multiprocessors;
  const Problem& problem = spec.problem;
  const double tokens = usual_tokens;
  const double columns = static_cast<double>(problem.columns());
  const double x_bytes = tokens * columns * bytes_of(problem.dtype);
  const double h_in_bytes = x_bytes / problem.n;
  const double phi_bytes = 4.0 * problem.rows() * columns;
  const double partial_bytes = 4.0 * tokens * spec.k_splits * (problem.rows() + 1);
  const double token_blocks = static_cast<double>(divide_up(usual_tokens, project_tokens(spec)));
  const double blocks = token_blocks * spec.row_blocks * spec.k_splits;
  const double at_once = spec.cluster_size != 0
                             ? static_cast<double>(tiles_at_once(spec, spec.cluster_size) * spec.cluster_size)
                             : static_cast<double>(multiprocessors) * spec.blocks_per_multiprocessor;

  // The first pass: x from memory; from the L2 cache phi for each block of tokens and x for each block of rows; the
  // products. Blocks that do not fill the device's last turn leave multiprocessors idle.
  const double memory = (x_bytes + partial_bytes) / device_bytes_per_clock;
  const double l2 = (token_blocks * phi_bytes + x_bytes * spec.row_blocks + partial_bytes) / l2_bytes_per_clock;
  constexpr double memory_latency = 1800.0;
  const double under_way = static_cast<double>(spec.blocks_per_multiprocessor) * (spec.pipeline_stages - 1) *
                           project_tokens(spec) * chunk_columns * bytes_of(problem.dtype);
  const double latency = x_bytes * spec.row_blocks / multiprocessors / under_way * memory_latency;
  const double terms = problem.dtype == DType::fp32 ? 2.0 : 1.0;
  const double products =
      terms * tokens / 8.0 * (columns / 16.0) * spec.row_tiles * spec.row_blocks * clocks_per_product / schedulers;
  const double turns = std::ceil(blocks / at_once) * at_once / blocks;
  // A block's first chunk and its results have nothing to overlap with where it is alone.
  const double ends_of_a_block = spec.uses_wgmma != 0 ? 2000.0 : 6000.0;
  const double ends = ends_of_a_block * std::ceil(blocks / at_once) / spec.blocks_per_multiprocessor;
  const double first = std::max({memory, l2, products, latency}) * turns + ends;
  // Packing phi is a launch more, most of which is latency; so is applying, where blocks do not do that in their turn.
  constexpr double packing = 5000.0;
  constexpr double applying = 1000.0;
  const double second = (x_bytes + h_in_bytes + partial_bytes) / device_bytes_per_clock;
  const double floor = (x_bytes + h_in_bytes + phi_bytes) / device_bytes_per_clock;
  return (packing + first + (spec.cluster_size != 0 ? second * turns : second + applying)) / floor;
}

std::vector<Candidate> portable_forward_candidates(const Problem& problem) {
  constexpr int most_row_blocks = 9;
  std::vector<Candidate> list;
  for (const int tokens_per_warp : {32, 24, 16})
    for (int row_blocks = 1; row_blocks <= most_row_blocks; ++row_blocks)
      for (const int blocks_per_multiprocessor : {2, 1})
        list.push_back(
            candidate(problem, /*uses_wgmma=*/false, tokens_per_warp, row_blocks, blocks_per_multiprocessor));
  for (int row_blocks = 1; row_blocks <= most_row_blocks; ++row_blocks)
    list.push_back(candidate(problem, /*uses_wgmma=*/true, /*tokens_per_warp=*/16, row_blocks,
                             /*blocks_per_multiprocessor=*/1));
  return list;
}

std::vector<Candidate> two_pass_candidates(const Problem& problem) {
  std::vector<Candidate> list;
  for (const int row_blocks : {1, 2})
    for (const int splits : {narrow_splits, wide_splits}) {
      for (const int tokens_per_warp : {32, 24, 16})
        for (const int blocks_per_multiprocessor : {2, 1})
          list.push_back(candidate(problem, /*uses_wgmma=*/false, tokens_per_warp, row_blocks,
                                   blocks_per_multiprocessor, splits * row_blocks));
      list.push_back(candidate(problem, /*uses_wgmma=*/true, /*tokens_per_warp=*/16, row_blocks,
                               /*blocks_per_multiprocessor=*/1, splits * row_blocks));
    }
  return list;
}

}  // namespace mhcjit::codegen
