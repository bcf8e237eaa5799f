// pre_forward in one pass: the tilings that are legal for a problem, and the resources that they need. The kernel is
// templates/pre_forward/one_pass.cuh.
#include <algorithm>
#include <array>
#include <cmath>

#include "codegen/clusters.h"
#include "codegen/divide_up.h"
#include "codegen/pre_forward/families.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "one_pass";
constexpr int helper_warps = 4;      // producer, reducer, two finalisers
constexpr int wide_row_bytes = 128;  // a panel's
constexpr int max_stages = 8;

// A block's warps share out the work and the registers in one of these ways. The sum of registers over all warps is at
// most what the block is launched with: a request beyond that would wait for ever.
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

struct Tiling {
  Problem problem;
  int threads_per_block = 0;
  int cluster_size = 0;           // blocks that share a tile of tokens, each with a slice of every stream's columns
  int tokens_per_tile = 0;        // 8 or 16
  int pipeline_stages = 0;        // tiles of x that a block holds
  int panel_columns = 0;          // 128 bytes, or 64
  int panels_per_stream = 0;      // in a slice
  int gemm_warps = 0;             // warps that multiply x with phi
  int row_groups = 0;             // groups of gemm warps that share out the rows of phi: 1 or 2
  int apply_warps = 0;            // warps that make h_in
  int k_steps_per_warp = 0;       // steps of 16 columns that a gemm warp multiplies
  int phi_register_operands = 0;  // a gemm warp's 16 x 16 operands of phi there; the others are in shared memory
  int gemm_registers = 0;         // of each thread of a role; 0: as many as it is launched with
  int apply_registers = 0;
  int helper_registers = 0;
};

// phi has so many blocks of eight rows, and as many 16 x 16 tiles in two terms.
int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int slice_columns(const Tiling& tiling) { return tiling.panels_per_stream * tiling.panel_columns; }  // one stream's
int k_steps(const Tiling& tiling) { return tiling.problem.n * slice_columns(tiling) / 16; }
int tile_bytes(const Tiling& tiling) {
  return tiling.problem.n * slice_columns(tiling) * tiling.tokens_per_tile * bytes_of(tiling.problem.dtype);
}
bool is_split(const Problem& problem) { return problem.dtype == DType::fp32; }  // x is, into two terms
int widest_panel(const Problem& problem) { return wide_row_bytes / bytes_of(problem.dtype); }
// Warps of a row group, each with its own columns. The other row group's warps have the same columns.
int column_groups(const Tiling& tiling) { return tiling.gemm_warps / tiling.row_groups; }
int token_groups(const Tiling& tiling) { return tiling.tokens_per_tile / 8; }
int steps_per_panel(const Tiling& tiling) { return tiling.panel_columns / 16; }
int steps_per_load(const Tiling& tiling) { return is_split(tiling.problem) ? 1 : 2 / token_groups(tiling); }

int stage_bytes(const Tiling& tiling) {
  constexpr int padding = 32;
  const int phi_row_bytes = tiling.problem.n * slice_columns(tiling) * 4 + padding;
  const int phi_rows = std::min(8, tiling.tokens_per_tile * bytes_of(tiling.problem.dtype) / 4);
  return static_cast<int>(divide_up(std::max(phi_rows * phi_row_bytes, tile_bytes(tiling)), 1024)) * 1024;
}

int registers_at_launch(const Tiling& tiling) {
  return std::min(255, registers_per_multiprocessor / tiling.threads_per_block / 8 * 8);
}

// One row group has so many operands a step.
int row_blocks_per_warp(const Tiling& tiling) { return row_blocks(tiling.problem) / tiling.row_groups; }
// A gemm warp multiplies with so many operands of phi.
int phi_operands(const Tiling& tiling) { return row_blocks_per_warp(tiling) * tiling.k_steps_per_warp; }
int shared_phi_bytes(const Tiling& tiling) {
  return tiling.gemm_warps * (phi_operands(tiling) - tiling.phi_register_operands) * warp_size * 16;
}

// A gemm warp's steps lie as the template says it. Both layouts make the addresses constants beyond that of the first.
bool has_whole_panels(const Tiling& tiling) { return tiling.k_steps_per_warp % steps_per_panel(tiling) == 0; }
bool shares_panels(const Tiling& tiling) {
  return !has_whole_panels(tiling) && steps_per_load(tiling) == 1 &&
         column_groups(tiling) % steps_per_panel(tiling) == 0;
}

// The operands of phi that a gemm warp's registers hold beside the sums and the loop's own, as the assembler reports
// it. x in fp32 and its terms take more. Other steps have addresses of their own. If some operands are in shared
// memory, the assembler keeps two operands in flight, and about as many words more as there are steps unless warps
// share panels.
int operands_in_registers(const Tiling& tiling) {
  constexpr int slack = 8;
  const int loop = is_split(tiling.problem) ? 18 + 16 * token_groups(tiling) : 24;
  constexpr int operand = 4;
  const int available = tiling.gemm_registers != 0 ? tiling.gemm_registers : registers_at_launch(tiling) - slack;
  const int tiles = row_blocks_per_warp(tiling);
  // Each group of tokens has squares of its own. Those of fp32 are no product.
  const int squares = is_split(tiling.problem) ? 1 : token_groups(tiling) / tiling.row_groups;
  const int sums = (tiles * token_groups(tiling) + squares) * 4;
  const int scales = tiling.problem.dtype == DType::fp16 ? tiles + 2 : 0;
  const int left = available - sums - scales - loop;
  const int addresses = has_whole_panels(tiling) || shares_panels(tiling) ? 0 : tiling.k_steps_per_warp;
  // Registers that a role asks for come without slack.
  const int spare = tiling.gemm_registers != 0 ? operand + 1 : 0;
  if (left - addresses >= phi_operands(tiling) * operand + spare) return phi_operands(tiling);
  int kept = tiling.k_steps_per_warp;
  if (shares_panels(tiling))
    kept = is_split(tiling.problem) ? 4 * operand : 0;
  else if (tiling.row_groups > 1 && tiling.problem.dtype == DType::bf16)
    kept += operand;  // as much as scales of fp16, or terms of fp32, are counted with
  // sm_100a takes two words more: n = 4, D = 8192 in bf16 with 200 registers spills without them.
  if (tiling.problem.architecture.major >= 10 && !is_split(tiling.problem)) kept += 2;
  return (left - kept) / operand - 2;
}

int smem_bytes(const Tiling& tiling) {
  const int blocks = row_blocks(tiling.problem);
  const int token_sum_bytes = (blocks * 8 + 4) * 4;
  const int partial_bytes = column_groups(tiling) * tiling.tokens_per_tile * token_sum_bytes;
  const int gamma_bytes = tiling.problem.has_gamma ? tiling.problem.n * slice_columns(tiling) * 4 : 0;
  const int owned = static_cast<int>(divide_up(tiling.tokens_per_tile, tiling.cluster_size));
  const int h_bytes = tiling.tokens_per_tile * static_cast<int>(divide_up(tiling.problem.n, 4)) * 16;
  const int barrier_bytes = (6 * tiling.pipeline_stages + 2) * 8;
  return tiling.pipeline_stages * (stage_bytes(tiling) + owned * tiling.cluster_size * token_sum_bytes + h_bytes) +
         shared_phi_bytes(tiling) + std::max(partial_bytes, gamma_bytes) + barrier_bytes;
}

// Registers of a thread that makes h_in, as the assembler reports it.
int apply_registers_needed(const Problem& problem) { return 36 + 2 * problem.n; }

// Chooses the most of phi in registers, then the most stages. Returns "", or why that does not fit.
std::string fit(Tiling& tiling) {
  constexpr int fewest_stages = 3;
  if (tiling.apply_registers != 0 && tiling.apply_registers < apply_registers_needed(tiling.problem))
    return fmt::format("{} registers of an apply warp, {} streams need {}", tiling.apply_registers, tiling.problem.n,
                       apply_registers_needed(tiling.problem));
  tiling.phi_register_operands = operands_in_registers(tiling);
  if (tiling.phi_register_operands < 0)
    return fmt::format("{} registers of a gemm warp do not hold even the sums of {} rows",
                       tiling.gemm_registers != 0 ? tiling.gemm_registers : registers_at_launch(tiling),
                       tiling.problem.rows());
  for (tiling.pipeline_stages = max_stages; tiling.pipeline_stages >= fewest_stages; --tiling.pipeline_stages)
    if (smem_bytes(tiling) <= max_opt_in_smem_bytes) return "";
  tiling.pipeline_stages = fewest_stages;
  return fmt::format("{} stages need {} bytes of shared memory with {} bytes of phi, a block has {}", fewest_stages,
                     smem_bytes(tiling), shared_phi_bytes(tiling), max_opt_in_smem_bytes);
}

// Clocks of a tile's products, on the tensor core that has the most warps. The low terms of x in fp32 meet only
// operands with high terms of phi, and its squares are no product.
double products_clocks(const Tiling& tiling) {
  constexpr double clocks_per_product = 7.3;
  const double tiles = row_blocks_per_warp(tiling);
  const double operands = is_split(tiling.problem) ? tiles + std::ceil(tiles / 2.0) : tiles + 1.0 / tiling.row_groups;
  return operands * token_groups(tiling) * tiling.k_steps_per_warp *
         static_cast<double>(divide_up(tiling.gemm_warps, 4)) * clocks_per_product;
}

// Clocks in which the apply warps make a tile's h_in.
double apply_clocks(const Tiling& tiling) { return tile_bytes(tiling) / (tiling.apply_warps * 16.0); }

// Clocks from the copy of a tile to the release of its stage: memory's latency, the products, the exchange in the
// cluster, h_in.
double latency_clocks(const Tiling& tiling) {
  constexpr double memory_and_exchange = 5710.0;
  return memory_and_exchange + products_clocks(tiling) + apply_clocks(tiling);
}

// Clocks of a tile's bytes, x in and h_in out, at a multiprocessor's share of the device's rate.
double memory_clocks(const Tiling& tiling, const Device& device) {
  const int multiprocessors = device.clusters_at_once[tiling.cluster_size] * tiling.cluster_size;
  return tile_bytes(tiling) * (1.0 + 1.0 / tiling.problem.n) * multiprocessors / device.bytes_per_clock;
}

// Clocks of a tile's traffic in shared memory: x once for each row group and once for h_in, phi, partial sums.
double shared_clocks(const Tiling& tiling) {
  constexpr double bytes_per_clock = 128.0;
  const double sums_bytes = (row_blocks_per_warp(tiling) * 8.0 + 4.0) * 4.0;
  return ((1.0 + tiling.row_groups) * tile_bytes(tiling) + shared_phi_bytes(tiling) +
          2.0 * tiling.gemm_warps * tiling.tokens_per_tile * sums_bytes) /
         bytes_per_clock;
}

// Clocks in which the one reducer waits for a tile's partial sums, then adds and sends four sums a lane at a time.
// Fitted to an H200, n = 4, D 1280 to 4096, tiles whose bytes take less.
double reduction_clocks(const Tiling& tiling) {
  constexpr double wait = 580.0;
  constexpr double clocks_per_step = 150.0;
  const std::int64_t chunks = std::int64_t{tiling.tokens_per_tile} * (row_blocks(tiling.problem) * 2 + 1);
  return wait + static_cast<double>(divide_up(chunks, warp_size)) * clocks_per_step;
}

// The ratio of the time to that of the bytes, for many tokens.
double ratio_to_floor(const Tiling& tiling, const Device& device) {
  const double memory = memory_clocks(tiling, device);
  const std::array parts = {memory,
                            products_clocks(tiling),
                            shared_clocks(tiling),
                            reduction_clocks(tiling),
                            apply_clocks(tiling),
                            latency_clocks(tiling) / tiling.pipeline_stages};
  // The parts overlap, but each holds up the slowest one more as it comes nearer to it. 5 and 6 rank the candidates of
  // an H200 best; with 4 the choice for n = 2, D 4096 takes 3 % more.
  constexpr double exponent = 5.0;
  double sum = 0.0;
  for (const double part : parts) sum += std::pow(part / memory, exponent);
  const double waste =
      static_cast<double>(tiling.cluster_size) * slice_columns(tiling) / static_cast<double>(tiling.problem.d);
  // Wide panels win among candidates that are alike so far: a row of x is 128 bytes, not two of 64.
  const double narrow_panels = tiling.panel_columns < widest_panel(tiling.problem) ? 0.02 : 0.0;
  // Apply warps with few registers read few values of x at a time. With 96 they are mostly within 1 % of 112, but 3 %
  // slower at n = 4, D 1280 and 7168, T 16384.
  const int apply_registers = tiling.apply_registers != 0 ? tiling.apply_registers : registers_at_launch(tiling);
  const double few_values = apply_registers <= 64 ? 0.02 : apply_registers <= 96 ? 0.002 : 0.0;
  return waste * std::pow(sum, 1.0 / exponent) + narrow_panels + few_values;
}

std::vector<Constant> constants(const Tiling& tiling) {
  return with_shape(tiling.problem, {{"has_gamma", tiling.problem.has_gamma},
                                     {"scales_phi", tiling.problem.dtype == DType::fp16},
                                     {"threads_per_block", tiling.threads_per_block},
                                     {"cluster_size", tiling.cluster_size},
                                     {"tokens_per_tile", tiling.tokens_per_tile},
                                     {"pipeline_stages", tiling.pipeline_stages},
                                     {"panel_columns", tiling.panel_columns},
                                     {"panels_per_stream", tiling.panels_per_stream},
                                     {"gemm_warps", tiling.gemm_warps},
                                     {"row_groups", tiling.row_groups},
                                     {"apply_warps", tiling.apply_warps},
                                     {"k_steps_per_warp", tiling.k_steps_per_warp},
                                     {"phi_register_operands", tiling.phi_register_operands},
                                     {"gemm_registers", tiling.gemm_registers},
                                     {"apply_registers", tiling.apply_registers},
                                     {"helper_registers", tiling.helper_registers}});
}

class OnePass final : public Plan {
 public:
  OnePass(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    kernels_ = {{.name = "pre_forward_one_pass",
                 .header = "pre_forward/one_pass.cuh",
                 .plan = "PreForwardOnePass",
                 .constants = constants(tiling),
                 .threads_per_block = tiling.threads_per_block,
                 .dynamic_smem_bytes = smem_bytes(tiling),
                 .maps = {{"x", tiling.panel_columns, tiling.tokens_per_tile, tiling.problem.n}},
                 .max_cluster_size = tiling.cluster_size,
                 .is_persistent = true}};
  }

  Grid grid(std::size_t, std::int64_t tokens, const Device&) const override {
    const std::int64_t tiles = divide_up(tokens, tiling_.tokens_per_tile);
    return grid_of_clusters(std::min(tiles, max_blocks / tiling_.cluster_size), tiling_.cluster_size);
  }

  std::string order() const override {
    return problem().dtype == DType::bf16
               ? one_pass_order(tiling_.cluster_size, tiling_.panel_columns, column_groups(tiling_))
               : Plan::order();
  }

  double cost_us(std::int64_t tokens, const Device& device) const override {
    // The launch with the first rows of phi; eight more rows after eight, beside which the first tile comes; the bytes
    // of a wave, which fill and drain the pipeline. Fitted to an H200, n = 4 and 6, D 1280 to 8192, T 256 to 32768: 6 %
    // root mean square. n = 2 takes up to 13 % less.
    constexpr double launch_us = 2.6;
    constexpr double eight_rows_us = 1.84;
    const double tile_us = device.microseconds(products_clocks(tiling_) + apply_clocks(tiling_));
    const double rows_us = tile_us + eight_rows_us * (row_blocks(problem()) - 1);
    const std::int64_t wave = std::int64_t{device.clusters_at_once[tiling_.cluster_size]} * tiling_.tokens_per_tile;
    const double bytes = floor_clocks(problem(), tokens + wave, device);
    return launch_us + std::max(device.microseconds(latency_clocks(tiling_)), rows_us) +
           device.microseconds(ratio_to_floor(tiling_, device) * bytes);
  }

 private:
  const Tiling tiling_;
};

// Gives a legal tiling the most of phi in registers and the most stages. Returns "", or why the tiling is not legal.
std::string reject(Tiling& tiling, const Device& device) {
  const Problem& problem = tiling.problem;
  const int cluster_size = tiling.cluster_size;
  const int panel_columns = tiling.panel_columns;
  // A second row group of fewer blocks saves less than its reads of x cost.
  constexpr int fewest_blocks_of_group = 3;
  // The loop over operands is unrolled, which limits their number.
  constexpr int most_operands = 128;
  const std::int64_t slice = slice_columns(tiling);
  const int blocks = row_blocks(problem);
  if (auto reason = persistent_tiles_unsupported(problem, device); !reason.empty()) return reason;
  if (panel_columns != widest_panel(problem) && slice % widest_panel(problem) == 0)
    return fmt::format("{} panels of {} columns are whole wider ones", tiling.panels_per_stream, panel_columns);
  if ((cluster_size - 1) * slice >= problem.d)
    return fmt::format("{} blocks of {} columns leave the last without any", cluster_size, slice);
  if (slice * problem.n * 4 > 65536)
    return fmt::format("a row of phi over {} columns of {} streams does not fit a stage", slice, problem.n);
  if (blocks % tiling.row_groups != 0)
    return fmt::format("{} blocks of eight rows do not divide among {} row groups", blocks, tiling.row_groups);
  if (tiling.row_groups > 1 && blocks / tiling.row_groups < fewest_blocks_of_group)
    return fmt::format("{} blocks of eight rows are too few for {} row groups", blocks, tiling.row_groups);
  if (token_groups(tiling) % tiling.row_groups != 0)
    return fmt::format("{} tokens do not divide among {} row groups", tiling.tokens_per_tile, tiling.row_groups);
  if (k_steps(tiling) % column_groups(tiling) != 0)
    return fmt::format("{} steps of 16 columns do not divide among {} warps", k_steps(tiling), column_groups(tiling));
  if (phi_operands(tiling) > most_operands)
    return fmt::format("{} operands of phi a warp are long to compile, allowed: up to {}", phi_operands(tiling),
                       most_operands);
  if (tiling.k_steps_per_warp % steps_per_load(tiling) != 0)
    return fmt::format("{} steps a warp, tiles of 8 tokens load two at a time", tiling.k_steps_per_warp);
  return fit(tiling);
}

Candidate candidate(const Problem& problem, int cluster_size, int tokens_per_tile, int panel_columns, const Roles& role,
                    const Device& device) {
  Candidate result;
  Tiling tiling = {.problem = problem};
  tiling.cluster_size = cluster_size;
  tiling.tokens_per_tile = tokens_per_tile;
  tiling.panel_columns = panel_columns;
  tiling.panels_per_stream = static_cast<int>(divide_up(divide_up(problem.d, panel_columns), cluster_size));
  tiling.gemm_warps = role.gemm_warps;
  tiling.row_groups = role.row_groups;
  tiling.apply_warps = role.apply_warps;
  tiling.gemm_registers = role.gemm_registers;
  tiling.apply_registers = role.apply_registers;
  tiling.helper_registers = role.helper_registers;
  tiling.threads_per_block = (role.gemm_warps + role.apply_warps + helper_warps) * warp_size;
  tiling.k_steps_per_warp = k_steps(tiling) / column_groups(tiling);

  result.rejected = reject(tiling, device);
  result.parameters = {{"cluster_size", cluster_size},         {"tokens_per_tile", tokens_per_tile},
                       {"panel_columns", panel_columns},       {"gemm_warps", role.gemm_warps},
                       {"row_groups", role.row_groups},        {"apply_warps", role.apply_warps},
                       {"gemm_registers", role.gemm_registers}};
  if (result.rejected.empty()) result.plan = std::make_shared<OnePass>(tiling, result.parameters);
  return result;
}

// Candidates are all combinations of cluster size, tile and roles that the problem's columns divide into.
std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  // Rows of 64 bytes hold a single step of fp32, whose reads would have bank conflicts.
  std::vector<int> panels = {widest_panel(problem)};
  if (!is_split(problem)) panels.push_back(widest_panel(problem) / 2);
  std::vector<Candidate> list;
  // The largest cluster first: of equal cost it leaves the most room in each block. No cluster of one:
  // compute-sanitizer rejects st.async to the own block.
  for (int cluster_size = max_cluster_size; cluster_size >= 2; --cluster_size)
    for (const int tokens_per_tile : {16, 8})
      for (const int panel_columns : panels)
        for (const Roles& role : roles)
          list.push_back(candidate(problem, cluster_size, tokens_per_tile, panel_columns, role, device));
  return list;
}

}  // namespace

std::string one_pass_order(int cluster_size, int panel_columns, int column_groups) {
  return fmt::format("cluster_size={} panel_columns={} column_groups={}", cluster_size, panel_columns, column_groups);
}

constinit const Family pre_forward_one_pass = {family_name, candidates};

}  // namespace mhcjit::codegen
