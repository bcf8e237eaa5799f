#include "codegen/one_pass.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "codegen/divide_up.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr int warp_size = 32;
constexpr int helper_warps = 4;      // producer, reducer, two finalisers
constexpr int wide_row_bytes = 128;  // of a panel
constexpr int max_stages = 8;

// How a block's warps share out the work, and the registers. Over all warps these are no more than the block is
// launched with: raising them beyond would wait for ever.
struct Roles {
  int gemm_warps;
  int row_groups;
  int apply_warps;
  int gemm_registers;
  int apply_registers;
  int helper_registers;
};

constexpr std::array<Roles, 13> roles = {{
    {2, 1, 2, 0, 0, 0},
    {4, 1, 4, 0, 0, 0},
    {8, 1, 4, 168, 112, 64},
    {8, 1, 4, 176, 96, 64},
    {8, 1, 4, 200, 48, 64},
    {8, 2, 4, 200, 48, 64},
    {8, 2, 4, 192, 56, 64},
    {9, 1, 3, 144, 144, 80},
    {10, 1, 2, 144, 144, 80},
    {12, 1, 4, 104, 96, 72},
    {14, 1, 2, 104, 104, 64},
    {16, 1, 4, 0, 0, 0},
    {2, 2, 2, 0, 0, 0},
}};

// Blocks of eight rows of phi; as many 16 x 16 tiles in two terms.
int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int slice_columns(const KernelSpec& spec) { return spec.panels_per_stream * spec.panel_columns; }  // of one stream
int k_steps(const KernelSpec& spec) { return spec.problem.n * slice_columns(spec) / 16; }
int tile_bytes(const KernelSpec& spec) {
  return spec.problem.n * slice_columns(spec) * spec.tokens_per_tile * bytes_of(spec.problem.dtype);
}
bool is_split(const Problem& problem) { return problem.dtype == DType::fp32; }  // x, into two terms
int widest_panel(const Problem& problem) { return wide_row_bytes / bytes_of(problem.dtype); }
// Warps of other columns. Those of the other row groups have the same.
int column_groups(const KernelSpec& spec) { return spec.gemm_warps / spec.row_groups; }
int token_groups(const KernelSpec& spec) { return spec.tokens_per_tile / 8; }
int steps_per_panel(const KernelSpec& spec) { return spec.panel_columns / 16; }
int steps_per_load(const KernelSpec& spec) { return is_split(spec.problem) ? 1 : 2 / token_groups(spec); }

int stage_bytes(const KernelSpec& spec) {
  constexpr int padding = 32;
  const int phi_row_bytes = spec.problem.n * slice_columns(spec) * 4 + padding;
  const int phi_rows = std::min(8, spec.tokens_per_tile * bytes_of(spec.problem.dtype) / 4);
  return static_cast<int>(divide_up(std::max(phi_rows * phi_row_bytes, tile_bytes(spec)), 1024)) * 1024;
}

int registers_at_launch(const KernelSpec& spec) {
  return std::min(255, registers_per_multiprocessor / spec.threads_per_block / 8 * 8);
}

// Of one row group.
int row_blocks_per_warp(const KernelSpec& spec) { return row_blocks(spec.problem) / spec.row_groups; }
// Operands of phi that a gemm warp multiplies with.
int phi_operands(const KernelSpec& spec) { return row_blocks_per_warp(spec) * spec.k_steps_per_warp; }
int shared_phi_bytes(const KernelSpec& spec) {
  return spec.gemm_warps * (phi_operands(spec) - spec.phi_register_operands) * warp_size * 16;
}

// Where a gemm warp's steps lie, as the template says it. Both make the addresses constants beyond that of its first.
bool has_whole_panels(const KernelSpec& spec) { return spec.k_steps_per_warp % steps_per_panel(spec) == 0; }
bool shares_panels(const KernelSpec& spec) {
  return !has_whole_panels(spec) && steps_per_load(spec) == 1 && column_groups(spec) % steps_per_panel(spec) == 0;
}

// Operands of phi that a gemm warp's registers hold beside the sums and what the loop itself uses, as the assembler
// reports it; x in fp32 and its terms take more. Other steps have addresses of their own. Where some operands are in
// shared memory, the assembler keeps about as many words more as there are steps, but not where warps share panels, and
// two operands under way.
int operands_in_registers(const KernelSpec& spec) {
  constexpr int slack = 8;
  const int loop = is_split(spec.problem) ? 18 + 16 * token_groups(spec) : 24;
  constexpr int operand = 4;
  const int available = spec.gemm_registers != 0 ? spec.gemm_registers : registers_at_launch(spec) - slack;
  const int tiles = row_blocks_per_warp(spec);
  // Of the squares, which of fp32 are no product, each group has its own.
  const int squares = is_split(spec.problem) ? 1 : token_groups(spec) / spec.row_groups;
  const int sums = (tiles * token_groups(spec) + squares) * 4;
  const int scales = spec.problem.dtype == DType::fp16 ? tiles + 2 : 0;
  const int left = available - sums - scales - loop;
  const int addresses = has_whole_panels(spec) || shares_panels(spec) ? 0 : spec.k_steps_per_warp;
  // Registers that a role asks for come without slack.
  const int spare = spec.gemm_registers != 0 ? operand + 1 : 0;
  if (left - addresses >= phi_operands(spec) * operand + spare) return phi_operands(spec);
  int kept = spec.k_steps_per_warp;
  if (shares_panels(spec))
    kept = is_split(spec.problem) ? 4 * operand : 0;
  else if (spec.row_groups > 1 && spec.problem.dtype == DType::bf16)
    kept += operand;  // as much as scales of fp16, or terms of fp32, are counted with
  return (left - kept) / operand - 2;
}

// "" or why the device cannot run the template on the problem.
std::string unsupported(const Problem& problem) {
  if (problem.op != Op::pre_forward) return "it is a template of pre_forward";
  constexpr int map_bytes = 16;
  if (problem.d % (map_bytes / bytes_of(problem.dtype)) != 0)
    return fmt::format("D is {}, tensor maps need a multiple of {}", problem.d, map_bytes / bytes_of(problem.dtype));
  if (!has_clusters(problem.architecture) || problem.architecture.suffix == 0)
    return fmt::format("it needs clusters and registers that move between warps: sm_90a, sm_100a and sm_103a, not {}",
                       to_string(problem.architecture));
  return "";
}

// Registers of a thread that makes h_in, as the assembler reports it.
int apply_registers_needed(const Problem& problem) { return 36 + 2 * problem.n; }

// The most of phi in registers, then the most stages; "" or why that does not fit.
std::string fit(KernelSpec& spec) {
  constexpr int fewest_stages = 3;
  if (spec.apply_registers != 0 && spec.apply_registers < apply_registers_needed(spec.problem))
    return fmt::format("{} registers of an apply warp, {} streams need {}", spec.apply_registers, spec.problem.n,
                       apply_registers_needed(spec.problem));
  spec.phi_register_operands = operands_in_registers(spec);
  if (spec.phi_register_operands < 0)
    return fmt::format("{} registers of a gemm warp do not hold even the sums of {} rows",
                       spec.gemm_registers != 0 ? spec.gemm_registers : registers_at_launch(spec), spec.problem.rows());
  for (spec.pipeline_stages = max_stages; spec.pipeline_stages >= fewest_stages; --spec.pipeline_stages)
    if (one_pass_smem_bytes(spec) <= max_opt_in_smem_bytes) return "";
  spec.pipeline_stages = fewest_stages;
  return fmt::format("{} stages need {} bytes of shared memory with {} bytes of phi, a block has {}", fewest_stages,
                     one_pass_smem_bytes(spec), shared_phi_bytes(spec), max_opt_in_smem_bytes);
}

Candidate candidate(const Problem& problem, int cluster_size, int tokens_per_tile, int panel_columns,
                    const Roles& role) {
  Candidate result;
  KernelSpec& spec = result.spec;
  spec.problem = problem;
  spec.kernel_template = KernelTemplate::one_pass;
  spec.cluster_size = cluster_size;
  spec.tokens_per_tile = tokens_per_tile;
  spec.panel_columns = panel_columns;
  spec.panels_per_stream = static_cast<int>(divide_up(divide_up(problem.d, panel_columns), cluster_size));
  spec.gemm_warps = role.gemm_warps;
  spec.row_groups = role.row_groups;
  spec.apply_warps = role.apply_warps;
  spec.gemm_registers = role.gemm_registers;
  spec.apply_registers = role.apply_registers;
  spec.helper_registers = role.helper_registers;
  spec.threads_per_block = (role.gemm_warps + role.apply_warps + helper_warps) * warp_size;
  spec.k_steps_per_warp = k_steps(spec) / column_groups(spec);

  // Of fewer rows, all their sums take less than reading x again.
  constexpr int fewest_blocks_of_group = 3;
  // A step with each is written out.
  constexpr int most_operands = 128;
  const std::int64_t slice = slice_columns(spec);
  const int blocks = row_blocks(problem);
  result.rejected = unsupported(problem);
  if (!result.rejected.empty()) return result;
  if (panel_columns != widest_panel(problem) && slice % widest_panel(problem) == 0)
    result.rejected =
        fmt::format("{} panels of {} columns are whole wider ones", spec.panels_per_stream, panel_columns);
  else if ((cluster_size - 1) * slice >= problem.d)
    result.rejected = fmt::format("{} blocks of {} columns leave the last without any", cluster_size, slice);
  else if (slice * problem.n * 4 > 65536)
    result.rejected = fmt::format("a row of phi over {} columns of {} streams does not fit a stage", slice, problem.n);
  else if (blocks % spec.row_groups != 0)
    result.rejected = fmt::format("{} blocks of eight rows do not divide among {} row groups", blocks, spec.row_groups);
  else if (spec.row_groups > 1 && blocks / spec.row_groups < fewest_blocks_of_group)
    result.rejected = fmt::format("{} blocks of eight rows are too few for {} row groups", blocks, spec.row_groups);
  else if (token_groups(spec) % spec.row_groups != 0)
    result.rejected = fmt::format("{} tokens do not divide among {} row groups", tokens_per_tile, spec.row_groups);
  else if (k_steps(spec) % column_groups(spec) != 0)
    result.rejected =
        fmt::format("{} steps of 16 columns do not divide among {} warps", k_steps(spec), column_groups(spec));
  else if (phi_operands(spec) > most_operands)
    result.rejected = fmt::format("{} operands of phi a warp are long to compile, allowed: up to {}",
                                  phi_operands(spec), most_operands);
  else if (spec.k_steps_per_warp % steps_per_load(spec) != 0)
    result.rejected = fmt::format("{} steps a warp, tiles of 8 tokens load two at a time", spec.k_steps_per_warp);
  else
    result.rejected = fit(spec);
  return result;
}

}  // namespace

int one_pass_smem_bytes(const KernelSpec& spec) {
  const int blocks = row_blocks(spec.problem);
  const int token_sum_bytes = (blocks * 8 + 4) * 4;
  const int partial_bytes = column_groups(spec) * spec.tokens_per_tile * token_sum_bytes;
  const int gamma_bytes = spec.problem.has_gamma ? spec.problem.n * slice_columns(spec) * 4 : 0;
  const int owned = static_cast<int>(divide_up(spec.tokens_per_tile, spec.cluster_size));
  const int h_bytes = spec.tokens_per_tile * static_cast<int>(divide_up(spec.problem.n, 4)) * 16;
  const int barrier_bytes = (6 * spec.pipeline_stages + 2) * 8;
  return spec.pipeline_stages * (stage_bytes(spec) + owned * spec.cluster_size * token_sum_bytes + h_bytes) +
         shared_phi_bytes(spec) + std::max(partial_bytes, gamma_bytes) + barrier_bytes;
}

double one_pass_cost(const KernelSpec& spec) {
  const double tiles = row_blocks_per_warp(spec);
  const double groups = token_groups(spec);
  const double bytes = tile_bytes(spec);
  // Clocks of a tile on one multiprocessor: its bytes, x in and h_in out, at its share of the device's rate; its
  // products, on the tensor core that has the most warps; what it reads of shared memory: x once for each row group and
  // once for h_in, phi, partial sums.
  constexpr double device_bytes_per_clock = 2370.0;
  constexpr double clocks_per_product = 7.3;
  constexpr double shared_bytes_per_clock = 128.0;
  const int multiprocessors = clusters_at_once(spec.cluster_size) * spec.cluster_size;
  const double memory = bytes * (1.0 + 1.0 / spec.problem.n) * multiprocessors / device_bytes_per_clock;
  // Of x in fp32 the low terms meet the operands with high terms of phi, and the squares are no product.
  const double operands = is_split(spec.problem) ? tiles + std::ceil(tiles / 2.0) : tiles + 1.0 / spec.row_groups;
  const double products = operands * groups * spec.k_steps_per_warp *
                          static_cast<double>(divide_up(spec.gemm_warps, 4)) * clocks_per_product;
  const double shared = ((1.0 + spec.row_groups) * bytes + shared_phi_bytes(spec) +
                         2.0 * spec.gemm_warps * spec.tokens_per_tile * (tiles * 8.0 + 4.0) * 4.0) /
                        shared_bytes_per_clock;
  // The reducer adds and sends four sums a lane at a time.
  constexpr double clocks_per_reduction = 200.0;
  const double reduction = static_cast<double>(divide_up(
                               std::int64_t{spec.tokens_per_tile} * (row_blocks(spec.problem) * 2 + 1), warp_size)) *
                           clocks_per_reduction;
  // From asking for a tile to giving its stage back: memory's latency, the products, the exchange in the cluster, h_in.
  // The two constants are less than what clocks in the kernel show, and rank measured candidates best.
  constexpr double memory_latency = 900.0;
  constexpr double exchange = 1100.0;
  const double apply = bytes / (spec.apply_warps * 16.0);
  const double latency = memory_latency + products + exchange + apply;
  const double under_way = latency / (spec.pipeline_stages * memory);
  const double waste =
      static_cast<double>(spec.cluster_size) * slice_columns(spec) / static_cast<double>(spec.problem.d);
  // Between candidates that keep up with memory, the one with the most in reserve: of stages, which absorb what varies,
  // before that of arithmetic.
  constexpr double reserve_of_stages = 0.2;
  constexpr double reserve_of_warps = 0.05;
  // Of candidates that are alike so far the one with wide panels: a row of x is 128 bytes, not two of 64.
  const double narrow_panels = spec.panel_columns < widest_panel(spec.problem) ? 0.01 : 0.0;
  // Apply warps of few registers read few values of x at a time, as the template says it.
  const double few_values = spec.apply_registers != 0 && spec.apply_registers <= 64 ? 0.015 : 0.0;
  return waste * std::max({1.0, products / memory, shared / memory, reduction / memory, under_way, apply / memory}) +
         reserve_of_warps * (products + apply) / memory + reserve_of_stages * under_way + narrow_panels + few_values;
}

std::vector<Candidate> one_pass_candidates(const Problem& problem) {
  // Rows of 64 bytes hold one step of fp32 alone; what lanes read at once would stand in the same banks.
  std::vector<int> panels = {widest_panel(problem)};
  if (!is_split(problem)) panels.push_back(widest_panel(problem) / 2);
  std::vector<Candidate> list;
  // The largest cluster first: of equal cost it leaves the most room in each block. None of one block: sending to
  // oneself is no cluster's business, to the device's memory checker an error.
  for (int cluster_size = max_cluster_size; cluster_size >= 2; --cluster_size)
    for (const int tokens_per_tile : {16, 8})
      for (const int panel_columns : panels)
        for (const Roles& role : roles)
          list.push_back(candidate(problem, cluster_size, tokens_per_tile, panel_columns, role));
  return list;
}

}  // namespace mhcjit::codegen
