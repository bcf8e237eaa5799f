// pre_forward in two passes: x is read for the projection and once more for h_in. Every problem on every architecture
// has a plan. Where blocks can form clusters, the blocks of a tile of tokens keep the partial sums in shared memory and
// make the outputs as soon as the tile is projected; else partial sums go through the workspace to a third kernel.
//
// The kernels are templates/pre_forward/pack_phi.cuh, project.cuh or project_wgmma.cuh, and apply.cuh.
#include <algorithm>
#include <array>
#include <cmath>

#include "codegen/clusters.h"
#include "codegen/divide_up.h"
#include "codegen/pre_forward/families.h"
#include "codegen/vectors.h"
#include "codegen/workspace.h"
#include "support/error.h"
#include "templates/pre_forward/two_pass_work.cuh"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "two_pass";
constexpr int threads_per_block = 256;
constexpr int warps = threads_per_block / warp_size;
constexpr int steps_per_chunk = 4;
// A cluster has few ranges of columns if the usual tokens fill the device, else many.
constexpr int narrow_splits = 2;
constexpr int wide_splits = 8;
// Few tokens of many columns take the most: their tiles are fewer than multiprocessors.
constexpr int widest_splits = 16;

// The shares of work are laid out for a usual step of training. No result depends on it.
constexpr std::int64_t usual_tokens = 8192;
constexpr int chunk_columns = 64;  // a block multiplies so many at a time

// At each step the tensor cores drop what stands below a sum's last bit. Warp groups have long ranges and therefore add
// up shorter sums.
constexpr std::int64_t most_chunks_per_wgmma_sum = 2048 / chunk_columns;
constexpr std::int64_t most_columns_per_sum = 8192;

struct Tiling {
  Problem problem;
  bool uses_wgmma = false;    // warp groups multiply, in chunks of columns of one stream
  int vec_size = 0;           // elements of x in one load: at most 16 bytes, divides D
  int threads_per_token = 0;  // where a group of threads works on one token
  int tokens_per_warp = 0;
  int row_tiles = 0;   // eight rows of phi each, whose sums a block keeps
  int row_blocks = 0;  // blocks that share out rows
  int k_splits = 0;    // ranges of columns that are summed apart; with clusters, as many as the kernel is compiled for
  int columns_per_split = 0;
  int columns_per_sum = 0;            // summed by the tensor cores alone; with fp16 they have one scale
  int pack_columns = 0;               // columns of phi that a block packs
  int blocks_per_multiprocessor = 0;  // blocks that multiply at once
  int pipeline_stages = 0;            // chunks of columns of x that a block holds
  int compiled_cluster_size = 0;      // blocks that share a tile of tokens, at least; 0: the kernel is not for clusters
  int cluster_size = 0;               // the launch's: as many, or more if tokens are few

  bool in_cluster() const { return cluster_size != 0; }
};

int tiles_of(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }

int tokens_per_group_block(const Tiling& tiling) { return threads_per_block / tiling.threads_per_token; }
int packed_rows(const Tiling& tiling) { return tiling.row_tiles * tiling.row_blocks * 8; }

std::int64_t packed_columns(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  return tiling.uses_wgmma ? divide_up(problem.d, chunk_columns) * chunk_columns * problem.n
                           : divide_up(problem.columns(), chunk_columns) * chunk_columns;
}

int project_tokens(const Tiling& tiling) { return warps * tiling.tokens_per_warp; }
constexpr int project_wgmma_threads = threads_per_block + 4 * warp_size;

// Registers of a thread that multiplies, at most, as the assembler reports them: sums, x of a step and its squares, two
// operands of phi, and the loop's own.
int registers_needed(const Tiling& tiling) {
  if (tiling.uses_wgmma) {
    constexpr int wgmma_loop = 40;
    return tiling.row_tiles * 12 + wgmma_loop;
  }
  constexpr int operands = 8;
  const int groups = tiling.tokens_per_warp / 8;
  const bool is_split = tiling.problem.dtype == DType::fp32;
  const int x = groups * (is_split ? 9 : 3);
  const int loop = is_split ? 60 : 38;
  const int ends = tiling.vec_size == 1 ? 14 : 0;  // of rows that begin anywhere
  return tiling.row_tiles * groups * 4 + x + operands + loop + ends;
}

int registers_available(const Tiling& tiling) {
  constexpr int of_wgmma = 240;  // given to the warps that multiply
  if (tiling.uses_wgmma) return of_wgmma;
  return std::min(255, registers_per_multiprocessor / threads_per_block / tiling.blocks_per_multiprocessor / 8 * 8);
}

// Returns "", or why warp groups cannot multiply for the problem.
std::string wgmma_unsupported(const Problem& problem) {
  const Architecture& architecture = problem.architecture;
  if (architecture.major != 9 || architecture.suffix != 'a')
    return fmt::format("products of warp groups need sm_90a, not {}", to_string(architecture));
  if (problem.dtype == DType::fp32) return "x in fp32 becomes two terms, which warp groups do not make";
  if (problem.d % 8 != 0) return fmt::format("D is {}, tensor maps need a multiple of 8", problem.d);
  return "";
}

// The apply step holds so many floats of a token.
int token_floats(const Tiling& tiling) { return tiling.problem.n + 1; }

// A stage holds a chunk of x and of packed phi.
int project_stage_bytes(const Tiling& tiling) {
  const int x_bytes = project_tokens(tiling) * chunk_columns * bytes_of(tiling.problem.dtype);
  const int phi_bytes = tiling.row_tiles * steps_per_chunk * warp_size * 16;
  return x_bytes + phi_bytes;
}

// Shared memory of a cluster's block after its products: a tile's partial sums, and the apply warps' token floats.
int cluster_smem_bytes(const Tiling& tiling) {
  const auto owned_tokens = static_cast<int>(divide_up(project_tokens(tiling), tiling.compiled_cluster_size));
  return (project_tokens(tiling) * (tiling.row_tiles * 8 + 1) + owned_tokens * token_floats(tiling)) * 4;
}

int pack_phi_smem_bytes(const Tiling& tiling) { return tiling.problem.dtype == DType::fp16 ? 8 * 4 : 0; }

int apply_smem_bytes(const Tiling& tiling) { return tokens_per_group_block(tiling) * token_floats(tiling) * 4; }

int project_smem_bytes(const Tiling& tiling) {
  const int chunks_bytes = tiling.pipeline_stages * project_stage_bytes(tiling);
  if (tiling.uses_wgmma) return chunks_bytes + (2 * tiling.pipeline_stages + (tiling.in_cluster() ? 1 : 0)) * 8;
  return tiling.in_cluster() ? std::max(chunks_bytes, cluster_smem_bytes(tiling)) : chunks_bytes;
}

// Returns "", or why the device cannot run the tiling as clusters.
std::string cluster_unsupported(const Tiling& tiling, const Device& device) {
  const Problem& problem = tiling.problem;
  if (auto reason = clusters_unsupported(problem, device); !reason.empty()) return reason;
  if (tiling.k_splits * tiling.row_blocks != tiling.compiled_cluster_size)
    return fmt::format("{} columns are too few for {} ranges of whole chunks", problem.columns(),
                       tiling.compiled_cluster_size / tiling.row_blocks);
  if (!tiling.uses_wgmma && tiling.columns_per_split > most_columns_per_sum)
    return fmt::format("{} columns are too many for one sum, allowed: up to {}", tiling.columns_per_split,
                       most_columns_per_sum);
  if (tiling.uses_wgmma && cluster_smem_bytes(tiling) > tiling.pipeline_stages * project_stage_bytes(tiling))
    return fmt::format("{} stages have no room for the partial sums of a tile, {} bytes", tiling.pipeline_stages,
                       cluster_smem_bytes(tiling));
  return "";
}

// Returns the number of ranges of columns with which the blocks of the usual T fill the device at once. Shorter ranges
// would make the first chunk and the results weigh; longer ones would make few tokens slow.
void split_columns(Tiling& tiling, const Device& device) {
  constexpr std::int64_t fewest_columns = 1024;
  // Blocks of warp groups have fewer tokens: two ranges of a large problem's columns fill the device.
  const std::int64_t most_columns = tiling.uses_wgmma ? 16384 : most_columns_per_sum;
  const std::int64_t columns = packed_columns(tiling);
  const std::int64_t chunks = columns / chunk_columns;
  const std::int64_t blocks = divide_up(usual_tokens, project_tokens(tiling)) * tiling.row_blocks;
  const std::int64_t at_once = std::int64_t{device.multiprocessors} * tiling.blocks_per_multiprocessor;
  const std::int64_t most = std::max<std::int64_t>(1, columns / fewest_columns);
  const std::int64_t wanted = std::clamp<std::int64_t>(at_once / blocks, divide_up(columns, most_columns), most);
  const std::int64_t wanted_chunks = divide_up(chunks, wanted);
  const std::int64_t sums_per_split = tiling.uses_wgmma ? divide_up(wanted_chunks, most_chunks_per_wgmma_sum) : 1;
  const std::int64_t chunks_per_sum = divide_up(wanted_chunks, sums_per_split);
  tiling.columns_per_sum = static_cast<int>(chunks_per_sum * chunk_columns);
  tiling.columns_per_split = static_cast<int>(sums_per_split) * tiling.columns_per_sum;
  tiling.k_splits = static_cast<int>(divide_up(chunks, sums_per_split * chunks_per_sum));
}

// Returns as many ranges of columns as the blocks of a cluster share out. A range has whole sums. Warp groups have so
// many sums that wide clusters share them out too.
void split_columns_in_cluster(Tiling& tiling) {
  const std::int64_t chunks = packed_columns(tiling) / chunk_columns;
  const std::int64_t splits = tiling.compiled_cluster_size / tiling.row_blocks;
  const std::int64_t sums =
      tiling.uses_wgmma ? wide_splits * divide_up(chunks, wide_splits * most_chunks_per_wgmma_sum) : splits;
  const std::int64_t chunks_per_sum = divide_up(chunks, sums);
  const std::int64_t chunks_per_split = divide_up(divide_up(chunks, chunks_per_sum), splits) * chunks_per_sum;
  tiling.columns_per_sum = static_cast<int>(chunks_per_sum * chunk_columns);
  tiling.columns_per_split = static_cast<int>(chunks_per_split * chunk_columns);
  tiling.k_splits = static_cast<int>(divide_up(chunks, chunks_per_split));
}

// A launch shares out a tile's columns into so many ranges.
int splits_of(const Tiling& tiling) {
  return tiling.in_cluster() ? tiling.cluster_size / tiling.row_blocks : tiling.k_splits;
}

// The device's clusters work on so many tiles at once.
std::int64_t tiles_at_once(const Tiling& tiling, const Device& device) {
  return std::int64_t{device.clusters_at_once[tiling.cluster_size]} * tiling.blocks_per_multiprocessor;
}

// Clocks of the device while every multiprocessor is as busy as its parts' rates allow. The constants are fitted to an
// H200, n = 6 and 8, D 2048 and 2560, T 1024 to 16384: 4 % root mean square.
double throughput_clocks(const Tiling& tiling, std::int64_t token_count, const Device& device) {
  // x comes by bulk copies, or by copies of 16 bytes for each thread.
  const double l2_bytes_per_clock = tiling.uses_wgmma ? 4575.0 : 3360.0;
  // A 16 x 16 operand takes these clocks with eight columns, on one tensor core of four. A warp loads an operand once
  // for all its tokens.
  const double clocks_per_product = tiling.uses_wgmma ? 4.4 : 7.6 + 8.1 / (tiling.tokens_per_warp / 8);
  const double schedulers = 4.0 * device.multiprocessors;
  const Problem& problem = tiling.problem;
  const double tokens = static_cast<double>(token_count);
  const double columns = static_cast<double>(problem.columns());
  const int splits = splits_of(tiling);
  const double x_bytes = tokens * columns * bytes_of(problem.dtype);
  const double h_in_bytes = x_bytes / problem.n;
  const double phi_bytes = 4.0 * problem.rows() * columns;
  const double partial_bytes = 4.0 * tokens * splits * (problem.rows() + 1);
  const double token_blocks = static_cast<double>(divide_up(token_count, project_tokens(tiling)));
  const double blocks = token_blocks * tiling.row_blocks * splits;
  const double at_once = tiling.in_cluster()
                             ? static_cast<double>(tiles_at_once(tiling, device) * tiling.cluster_size)
                             : static_cast<double>(device.multiprocessors) * tiling.blocks_per_multiprocessor;

  // The first pass reads x from memory, and from the L2 cache phi for each block of tokens and x for each block of
  // rows. Then come the products. Blocks that do not fill the last wave leave multiprocessors idle, of which the others
  // take some of the share of memory and of the L2 cache.
  const double memory = (x_bytes + partial_bytes) / device.bytes_per_clock;
  const double l2 = (token_blocks * phi_bytes + x_bytes * tiling.row_blocks + partial_bytes) / l2_bytes_per_clock;
  constexpr double memory_latency = 1800.0;
  const double under_way = static_cast<double>(tiling.blocks_per_multiprocessor) * (tiling.pipeline_stages - 1) *
                           project_tokens(tiling) * chunk_columns * bytes_of(problem.dtype);
  const double latency = x_bytes * tiling.row_blocks / device.multiprocessors / under_way * memory_latency;
  const double terms = problem.dtype == DType::fp32 ? 2.0 : 1.0;
  const double products =
      terms * tokens / 8.0 * (columns / 16.0) * tiling.row_tiles * tiling.row_blocks * clocks_per_product / schedulers;
  const double turns = std::ceil(blocks / at_once) * at_once / blocks;
  constexpr double most_of_share = 1.2;  // that a multiprocessor can take
  const double turns_of_memory = std::max(1.0, turns / most_of_share);
  // A block's first chunk and its results overlap with nothing if it is alone. The blocks of a cluster also exchange
  // their sums, each with all others. Measured at n = 8, D = 2048: wide clusters win up to their third wave.
  const double wide_ends = tiling.in_cluster() ? 1290.0 * splits : 4860.0;
  const double ends_of_a_block = tiling.uses_wgmma ? wide_ends : 21600.0;
  const double ends = ends_of_a_block * std::ceil(blocks / at_once) / tiling.blocks_per_multiprocessor;
  const double first = std::max(std::max(memory, l2) * turns_of_memory, std::max(products, latency) * turns) + ends;
  // Packing phi is one launch more, most of which is latency. So is applying, unless the blocks do that themselves.
  constexpr double packing = 4700.0;
  constexpr double applying = 1000.0;
  const double second = (x_bytes + h_in_bytes + partial_bytes) / device.bytes_per_clock;
  if (!tiling.in_cluster()) return packing + first + second + applying;
  // A cluster's block has a multiprocessor to itself, and few warps, so that narrow loads limit it. Fitted to D = 5129,
  // where clusters take 607 us of an H100 and single blocks 439. A cluster applies to the tokens that it has projected,
  // so that the pass ends with the slowest one: n = 8, D = 2048, T = 8192 takes 5 % more of an H200.
  constexpr double slowest_block = 1.09;
  const double load_bytes = tiling.vec_size * bytes_of(problem.dtype);
  const double narrow_loads = std::max(1.0, 4.0 / load_bytes);
  return packing + first + second * turns_of_memory * slowest_block * narrow_loads;
}

// Clocks of a call of few tokens, whose blocks wait for memory and for each other: the kernels' prologues and
// epilogues, h_in of a tile, and a chunk of 64 columns, for which narrow loads wait longer. Fitted to an H200, n = 4
// and 8, D 127 to 4100, T 512 and 1024.
double latency_clocks(const Tiling& tiling, std::int64_t tokens, const Device& device) {
  const DType dtype = tiling.problem.dtype;
  const double launches = 14000.0 + 1.59 * static_cast<double>(tiling.problem.columns());
  const bool has_narrow_loads = tiling.vec_size * bytes_of(dtype) < 16;
  const double of_warps = dtype == DType::fp32 ? 3600.0 : has_narrow_loads ? 2000.0 : 1220.0;
  const double chunk = tiling.uses_wgmma ? 440.0 : of_warps;
  const double chunks = static_cast<double>(packed_columns(tiling)) / splits_of(tiling) / chunk_columns;
  const std::int64_t tiles = divide_up(tokens, project_tokens(tiling));
  const std::int64_t at_once =
      tiling.in_cluster()
          ? tiles_at_once(tiling, device)
          : std::max<std::int64_t>(1, std::int64_t{device.multiprocessors} * tiling.blocks_per_multiprocessor /
                                          (tiling.row_blocks * tiling.k_splits));
  return launches + chunks * chunk * static_cast<double>(divide_up(tiles, at_once));
}

// The workspace's regions.
struct Regions {
  std::size_t partial_sums = 0;  // float [T, k_splits, M + 1]; a cluster keeps its partial sums in shared memory
  std::size_t packed_phi = 0;    // as templates/pre_forward/packed_phi.cuh says
  std::size_t phi_factors = 0;   // float [sums of columns, packed rows]; x in fp16
  std::size_t total_bytes = 0;

  Regions(const Tiling& tiling, std::int64_t tokens) {
    if (tokens == 0) return;
    Workspace workspace;
    if (!tiling.in_cluster()) partial_sums = workspace.add(tokens * tiling.k_splits * (tiling.problem.rows() + 1));
    // A column takes one word: two terms of 16 bits.
    packed_phi = workspace.add(packed_columns(tiling) * packed_rows(tiling));
    if (tiling.problem.dtype == DType::fp16)
      phi_factors = workspace.add(divide_up(packed_columns(tiling), tiling.columns_per_sum) * packed_rows(tiling));
    total_bytes = workspace.end();
  }
};

Kernel pack_phi_kernel(const Tiling& tiling, std::vector<Constant> constants) {
  constants.push_back({"has_gamma", tiling.problem.has_gamma});
  constants.push_back({"pack_columns", tiling.pack_columns});
  return {.name = "pre_forward_pack_phi",
          .header = "pre_forward/pack_phi.cuh",
          .plan = "PreForwardPackPhi",
          .work = "TwoPassWork",
          .work_bytes = sizeof(TwoPassWork),
          .constants = std::move(constants),
          .threads_per_block = threads_per_block,
          .min_blocks_per_multiprocessor = 4,
          .dynamic_smem_bytes = pack_phi_smem_bytes(tiling)};
}

Kernel project_kernel(const Tiling& tiling, std::vector<Constant> constants) {
  constants.push_back({"tokens_per_warp", tiling.tokens_per_warp});
  constants.push_back({"columns_per_sum", tiling.columns_per_sum});
  constants.push_back({"in_cluster", tiling.in_cluster()});
  constants.push_back({"k_splits", tiling.k_splits});
  constants.push_back({"columns_per_split", tiling.columns_per_split});
  constants.push_back({"pipeline_stages", tiling.pipeline_stages});
  constants.push_back({"threads_per_token", tiling.threads_per_token});
  Kernel kernel = {.name = "pre_forward_project",
                   .header = "pre_forward/project.cuh",
                   .plan = "PreForwardProject",
                   .work = "TwoPassWork",
                   .work_bytes = sizeof(TwoPassWork),
                   .constants = std::move(constants),
                   .threads_per_block = threads_per_block,
                   .min_blocks_per_multiprocessor = tiling.blocks_per_multiprocessor,
                   .dynamic_smem_bytes = project_smem_bytes(tiling),
                   .max_cluster_size = tiling.cluster_size,
                   .overlaps_previous = tiling.problem.architecture.major >= 9};
  if (tiling.uses_wgmma) {
    kernel.name = "pre_forward_project_wgmma";
    kernel.header = "pre_forward/project_wgmma.cuh";
    kernel.plan = "PreForwardProjectWgmma";
    kernel.threads_per_block = project_wgmma_threads;
    kernel.maps = {{"x", chunk_columns, project_tokens(tiling), 1}};
  }
  return kernel;
}

Kernel apply_kernel(const Tiling& tiling, std::vector<Constant> constants) {
  const Problem& problem = tiling.problem;
  constants.push_back({"k_splits", tiling.k_splits});
  constants.push_back({"threads_per_token", tiling.threads_per_token});
  return {
      .name = "pre_forward_apply",
      .header = "pre_forward/apply.cuh",
      .plan = "PreForwardApply",
      .work = "TwoPassWork",
      .work_bytes = sizeof(TwoPassWork),
      .constants = std::move(constants),
      .threads_per_block = threads_per_block,
      // Enough loads of x are in flight. With more than eight streams, and with fp32, a thread holds more registers.
      .min_blocks_per_multiprocessor = problem.n <= 8 && problem.dtype != DType::fp32 ? 4 : 2,
      .dynamic_smem_bytes = apply_smem_bytes(tiling),
      .overlaps_previous = problem.architecture.major >= 9};
}

class TwoPass final : public Plan {
 public:
  TwoPass(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    // Plans with the same tiles of phi share the kernel that packs it, whatever projects.
    const std::vector<Constant> constants =
        with_shape(tiling.problem, {{"scales_phi", tiling.problem.dtype == DType::fp16},
                                    {"uses_wgmma", tiling.uses_wgmma},
                                    {"vec_size", tiling.vec_size},
                                    {"threads_per_block", threads_per_block},
                                    {"row_tiles", tiling.row_tiles},
                                    {"row_blocks", tiling.row_blocks}});
    kernels_ = {pack_phi_kernel(tiling, constants), project_kernel(tiling, constants)};
    if (!tiling.in_cluster()) kernels_.push_back(apply_kernel(tiling, constants));
  }

  Grid grid(std::size_t kernel, std::int64_t tokens, const Device&) const override {
    if (kernel == 0)
      return grid_of_blocks(divide_up(packed_columns(tiling_), tiling_.pack_columns), packed_rows(tiling_) / 8);
    if (kernel == 2) return grid_of_blocks(divide_up(tokens, tokens_per_group_block(tiling_)));
    const std::int64_t tiles = divide_up(tokens, project_tokens(tiling_));
    return tiling_.in_cluster() ? grid_of_clusters(tiles, tiling_.cluster_size)
                                : grid_of_blocks(tiles * tiling_.row_blocks, tiling_.k_splits);
  }

  double cost_us(std::int64_t tokens, const Device& device) const override {
    return device.microseconds(
        std::max(throughput_clocks(tiling_, tokens, device), latency_clocks(tiling_, tokens, device)));
  }

  std::size_t workspace_bytes(std::int64_t tokens) const override { return Regions(tiling_, tokens).total_bytes; }
  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    const Regions regions(tiling_, tokens);
    *static_cast<TwoPassWork*>(work) = {.partial_sums = region<float>(workspace, regions.partial_sums),
                                        .packed_phi = region<unsigned int>(workspace, regions.packed_phi),
                                        .phi_factors = region<float>(workspace, regions.phi_factors)};
  }

 private:
  const Tiling tiling_;
};

// Returns "", or why the kernel cannot be launched as clusters of more blocks than it was compiled for.
std::string widening_unsupported(const Tiling& tiling) {
  if (tiling.cluster_size == tiling.compiled_cluster_size) return "";
  const std::int64_t chunks = packed_columns(tiling) / chunk_columns;
  if (!tiling.uses_wgmma && tiling.problem.dtype == DType::fp16)
    return "fp16 of single warps is scaled for each range of columns, which are as many as phi was packed for";
  if (tiling.cluster_size > max_cluster_size)
    return fmt::format("a cluster has up to {} blocks, not {}", max_cluster_size, tiling.cluster_size);
  constexpr std::int64_t fewest_columns = 4096;
  if (splits_of(tiling) == widest_splits && packed_columns(tiling) < fewest_columns * widest_splits)
    return fmt::format("{} columns are too few to share out among {} blocks", tiling.problem.columns(), widest_splits);
  if (chunks < splits_of(tiling))
    return fmt::format("{} chunks of columns are too few for {} ranges", chunks, splits_of(tiling));
  return "";
}

// The driver adds this to a block's shared memory.
constexpr int reserved_smem_bytes = 1024;
int available_smem_bytes(const Tiling& tiling, const Device& device) {
  return device.smem_bytes_per_multiprocessor / tiling.blocks_per_multiprocessor;
}

// The properties that a candidate is asked to have.
struct Choice {
  bool uses_wgmma;
  int tokens_per_warp;
  int row_blocks;
  int blocks_per_multiprocessor;
  int compiled_splits = 0;  // with clusters; 0: none
  int splits = 0;           // the launch's
};

// Returns "", or why the tiling is not legal.
std::string reject(const Tiling& tiling, const Device& device) {
  const Problem& problem = tiling.problem;
  if (tiling.uses_wgmma)
    if (auto reason = wgmma_unsupported(problem); !reason.empty()) return reason;
  if (tiling.in_cluster())
    if (auto reason = cluster_unsupported(tiling, device); !reason.empty()) return reason;
  if (auto reason = widening_unsupported(tiling); !reason.empty()) return reason;
  const int smem = project_smem_bytes(tiling) + reserved_smem_bytes;
  if ((tiling.row_blocks - 1) * tiling.row_tiles >= tiles_of(problem))
    return fmt::format("{} blocks of {} rows leave the last without any of {}", tiling.row_blocks, tiling.row_tiles * 8,
                       problem.rows());
  if (registers_needed(tiling) > registers_available(tiling))
    return fmt::format("{} tokens by {} rows need {} registers a thread, {} blocks a multiprocessor leave {}",
                       tiling.tokens_per_warp, tiling.row_tiles * 8, registers_needed(tiling),
                       tiling.blocks_per_multiprocessor, registers_available(tiling));
  if (smem > available_smem_bytes(tiling, device))
    return fmt::format("{} blocks of {} bytes of shared memory, a multiprocessor of {} has {}",
                       tiling.blocks_per_multiprocessor, smem, to_string(problem.architecture),
                       device.smem_bytes_per_multiprocessor);
  return "";
}

Candidate candidate(const Problem& problem, const Device& device, const Choice& choice) {
  Tiling tiling = {.problem = problem};
  tiling.uses_wgmma = choice.uses_wgmma;
  tiling.compiled_cluster_size = choice.compiled_splits * choice.row_blocks;
  tiling.cluster_size = choice.splits * choice.row_blocks;
  tiling.vec_size = vec_size_of(problem);
  tiling.threads_per_token = threads_per_token_of(problem, tiling.vec_size, threads_per_block);
  tiling.tokens_per_warp = choice.tokens_per_warp;
  tiling.row_tiles = static_cast<int>(divide_up(tiles_of(problem), choice.row_blocks));
  tiling.row_blocks = choice.row_blocks;
  tiling.blocks_per_multiprocessor = choice.blocks_per_multiprocessor;
  if (tiling.in_cluster())
    split_columns_in_cluster(tiling);
  else
    split_columns(tiling, device);
  // A block packs, in fp16, the range that has one scale. Otherwise it packs few columns, to give all multiprocessors
  // work.
  tiling.pack_columns = problem.dtype == DType::fp16 ? tiling.columns_per_sum : 4 * chunk_columns;

  // The ring has as many chunks as fit, up to those that hide the latency of memory.
  constexpr int fewest_stages = 2;
  tiling.pipeline_stages = tiling.uses_wgmma ? 8 : 4;
  while (tiling.pipeline_stages > fewest_stages &&
         project_smem_bytes(tiling) + reserved_smem_bytes > available_smem_bytes(tiling, device))
    --tiling.pipeline_stages;

  Candidate result;
  result.parameters = {{"uses_wgmma", choice.uses_wgmma ? 1 : 0},
                       {"tokens_per_warp", choice.tokens_per_warp},
                       {"row_blocks", choice.row_blocks},
                       {"blocks_per_multiprocessor", choice.blocks_per_multiprocessor},
                       {"compiled_cluster_size", tiling.compiled_cluster_size},
                       {"cluster_size", tiling.cluster_size}};
  result.rejected = reject(tiling, device);
  if (result.rejected.empty()) result.plan = std::make_shared<TwoPass>(tiling, result.parameters);
  return result;
}

// Candidates are all combinations of tokens for a warp, tiles of rows for a block, blocks for a multiprocessor, and
// warps or warp groups. Each comes without clusters, and with clusters of every size that the kernel can be launched
// in.
std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  constexpr int most_row_blocks = 9;
  constexpr int most_row_blocks_of_cluster = 2;
  struct Split {
    int compiled;
    int launched;
  };
  constexpr std::array splits = {Split{0, 0}, Split{narrow_splits, narrow_splits}, Split{narrow_splits, wide_splits},
                                 Split{narrow_splits, widest_splits}, Split{wide_splits, wide_splits}};
  std::vector<Candidate> list;
  for (const auto& [compiled, launched] : splits)
    for (int row_blocks = 1; row_blocks <= (launched != 0 ? most_row_blocks_of_cluster : most_row_blocks);
         ++row_blocks) {
      for (const int tokens_per_warp : {32, 24, 16})
        for (const int blocks_per_multiprocessor : {2, 1})
          list.push_back(candidate(
              problem, device,
              {/*uses_wgmma=*/false, tokens_per_warp, row_blocks, blocks_per_multiprocessor, compiled, launched}));
      list.push_back(candidate(problem, device,
                               {/*uses_wgmma=*/true, /*tokens_per_warp=*/16, row_blocks,
                                /*blocks_per_multiprocessor=*/1, compiled, launched}));
    }
  return list;
}

}  // namespace

constinit const Family pre_forward_two_pass = {family_name, candidates};

}  // namespace mhcjit::codegen
