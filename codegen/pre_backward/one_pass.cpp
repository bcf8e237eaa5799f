// pre_backward in one pass: the tilings that are legal for a problem, and the resources that they need. The kernels are
// templates/pre_backward/one_pass.cuh and one_pass_finish.cuh.
#include <algorithm>
#include <array>

#include "codegen/clusters.h"
#include "codegen/divide_up.h"
#include "codegen/pre_backward/families.h"
#include "codegen/pre_backward/tiles_per_sum.h"
#include "codegen/workspace.h"
#include "support/error.h"
#include "templates/pre_backward/one_pass_work.cuh"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "one_pass";
constexpr int tokens_per_tile = 16;
constexpr int dot_warps = 4;
constexpr int coefficient_warps = 2;  // of a tile
constexpr int panel_row_bytes = 128;  // a wide panel's
constexpr int max_stages = 6;
constexpr int finish_threads = 256;
constexpr int short_wait_ns = 200;
constexpr int long_wait_ns = 600;

// A block's warps share out its registers in one of these ways. The sum over all warps is at most what the block is
// launched with: a request beyond that would wait for ever.
struct Roles {
  int consumer_warps;
  int consumer_registers;
  int dot_registers;
  int helper_registers;
  int coefficient_pairs = 1;  // that take turns at tiles
};

constexpr std::array<Roles, 6> roles = {{
    {8, 192, 56, 72},
    {8, 184, 56, 88},
    {8, 176, 56, 104},
    {8, 152, 88, 120},
    {12, 112, 56, 88},
    {8, 136, 56, 72, 2},
}};

// The rings beside that of x and dh_in hold so many tiles each. The rest of the shared memory goes to x and dh_in.
struct Rings {
  int coefficient_slots;
  int scalar_slots;
  int exchange_slots;
};

constexpr std::array<Rings, 5> rings = {{{4, 4, 4}, {2, 2, 4}, {2, 1, 4}, {1, 2, 4}, {1, 2, 2}}};

struct Tiling {
  Problem problem;
  bool uses_clusters = false;  // else the launch is cooperative
  int group_blocks = 0;        // blocks that share a tile of tokens, each with a slice of every stream's columns
  int panel_columns = 0;       // 128 bytes, or 64
  int panels_per_stream = 0;   // in a slice
  Roles role = {};
  Rings ring = {};
  int first_wait_ns = 0;    // before a block reads other blocks' sums from the L2 cache
  int pipeline_stages = 0;  // tiles of x and dh_in that a block holds
  int max_groups = 0;       // groups that the workspace has room for
};

int row_blocks(const Problem& problem) { return static_cast<int>(divide_up(problem.rows(), 8)); }
int slice_columns(const Tiling& tiling) { return tiling.panels_per_stream * tiling.panel_columns; }
int warps_per_stream(const Tiling& tiling) { return tiling.role.consumer_warps / tiling.problem.n; }
int steps(const Tiling& tiling) { return slice_columns(tiling) / 16 / warps_per_stream(tiling); }
int block_tiles(const Tiling& tiling) { return tiling.role.consumer_warps * steps(tiling); }
// Warps of helpers come in whole warp groups: the producer, the coefficient warps, and that of scalars.
int helper_warps(const Roles& role) {
  return static_cast<int>(divide_up(2 + role.coefficient_pairs * coefficient_warps, 4)) * 4;
}
int threads_per_block(const Tiling& tiling) {
  return (tiling.role.consumer_warps + dot_warps + helper_warps(tiling.role)) * warp_size;
}
int logit_floats(const Problem& problem) { return row_blocks(problem) * 8 + 4; }
std::int64_t phi_floats(const Tiling& tiling) {  // a group's
  return std::int64_t{tiling.group_blocks} * block_tiles(tiling) * row_blocks(tiling.problem) * warp_size * 4;
}
std::int64_t tiles(std::int64_t tokens) { return divide_up(tokens, tokens_per_tile); }
int groups_at_once(const Tiling& tiling, const Device& device) {
  return tiling.uses_clusters ? device.clusters_at_once[tiling.group_blocks]
                              : device.multiprocessors / tiling.group_blocks;
}
std::int64_t max_groups(const Tiling& tiling, std::int64_t tokens) {
  return std::min<std::int64_t>(tiles(tokens), tiling.max_groups);
}
int widest_panel(const Problem& problem) { return panel_row_bytes / bytes_of(problem.dtype); }
// phi and dx's products are in two bf16 terms each.
bool splits_phi(const Problem& problem) { return problem.dtype == DType::fp32; }
int received_bytes(const Tiling& tiling) {  // a tile's partial sums
  return tokens_per_tile * tiling.group_blocks * static_cast<int>(divide_up(tiling.problem.n, 4)) * 16;
}

int smem_bytes(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  const int n = problem.n;
  const int panel_bytes = tokens_per_tile * tiling.panel_columns * bytes_of(problem.dtype);
  const int stage_bytes = tiling.panels_per_stream * (n + 1) * panel_bytes;
  const int phi_bytes = block_tiles(tiling) * row_blocks(problem) * warp_size * (splits_phi(problem) ? 16 : 8);
  const int mix_row_bytes = (row_blocks(problem) | 1) * 16;
  const int coefficient_bytes = tokens_per_tile * ((splits_phi(problem) ? 2 : 3) * mix_row_bytes + (2 + n) * 4);
  const int scalar_bytes = tokens_per_tile * (problem.rows() + n * n + 3 * n + 1) * 4;
  const int barriers = 2 * (tiling.pipeline_stages + tiling.ring.coefficient_slots + tiling.ring.scalar_slots) +
                       tiling.ring.exchange_slots * 3 / 2 + 1;
  return tiling.pipeline_stages * stage_bytes + phi_bytes + tiling.ring.coefficient_slots * coefficient_bytes +
         tiling.ring.scalar_slots * scalar_bytes +
         (tiling.uses_clusters ? tiling.ring.exchange_slots * received_bytes(tiling) : 0) + barriers * 8;
}

// Registers of a thread, as the assembler reports them beside the sums that it keeps.
int consumer_registers_needed(const Tiling& tiling) {
  const int blocks = row_blocks(tiling.problem);
  const int sums = steps(tiling) * blocks * 4;
  // The operands are dh_mix in both forms, and phi of this step and the next.
  const int operands = splits_phi(tiling.problem) ? blocks * (4 + 4) + blocks * 8 : blocks * (4 + 2) + blocks * 4;
  // fp32 keeps x's two terms, and x and dh_in of this step and the next instead of pairs. sm_100a keeps more.
  const int of_fp32 = tiling.problem.architecture.major < 10 ? 32 : 44;
  const int elements = splits_phi(tiling.problem) ? of_fp32 : 0;
  const int others = tiling.problem.dtype == DType::bf16 ? 46 : 48;  // bf16 becomes fp32 in place
  return sums + operands + elements + others;
}
int dot_registers_needed(const Problem& problem) { return 30 + 6 * problem.n; }
int helper_registers_needed(const Tiling& tiling) {
  // The sums of every fourth block are loaded at once.
  const int blocks = static_cast<int>(divide_up(tiling.group_blocks, 4));
  const int sums_under_way = tiling.uses_clusters ? 2 : blocks * static_cast<int>(divide_up(tiling.problem.n, 4)) * 4;
  return 28 + 7 * 2 * row_blocks(tiling.problem) + sums_under_way;
}

// Chooses the most stages that fit. Returns "", or why none do.
std::string fit(Tiling& tiling) {
  constexpr int fewest_stages = 2;
  const auto lacks = [&](int given, int needed, std::string_view warps) {
    return fmt::format("{} registers of a {} warp, it needs {}", given, warps, needed);
  };
  const Roles& role = tiling.role;
  if (const int needed = consumer_registers_needed(tiling); role.consumer_registers < needed)
    return lacks(role.consumer_registers, needed, "consumer");
  if (const int needed = dot_registers_needed(tiling.problem); role.dot_registers < needed)
    return lacks(role.dot_registers, needed, "dot");
  if (const int needed = helper_registers_needed(tiling); role.helper_registers < needed)
    return lacks(role.helper_registers, needed, "coefficient");
  for (tiling.pipeline_stages = max_stages; tiling.pipeline_stages >= fewest_stages; --tiling.pipeline_stages)
    if (smem_bytes(tiling) <= max_opt_in_smem_bytes) return "";
  tiling.pipeline_stages = fewest_stages;
  return fmt::format("{} stages need {} bytes of shared memory, a block has {}", fewest_stages, smem_bytes(tiling),
                     max_opt_in_smem_bytes);
}

// Returns "", or why the tiling is not legal.
std::string reject(Tiling& tiling, const Device& device) {
  const Problem& problem = tiling.problem;
  const std::int64_t slice = slice_columns(tiling);
  if (problem.has_fp32_dx && problem.dtype != DType::fp32)
    return "dx takes the place of x, whose elements are of 16 bits";
  if (auto reason = persistent_tiles_unsupported(problem, device); !reason.empty()) return reason;
  if (tiling.max_groups == 0)
    return fmt::format("{} blocks are more than {} multiprocessors", tiling.group_blocks, device.multiprocessors);
  if (tiling.panel_columns != widest_panel(problem) && slice % widest_panel(problem) == 0)
    return fmt::format("{} panels of {} columns are whole wider ones", tiling.panels_per_stream, tiling.panel_columns);
  if ((tiling.group_blocks - 1) * slice >= problem.d)
    return fmt::format("{} blocks of {} columns leave the last without any", tiling.group_blocks, slice);
  if (tiling.role.consumer_warps % problem.n != 0)
    return fmt::format("{} consumer warps do not divide among {} streams", tiling.role.consumer_warps, problem.n);
  const Rings& ring = tiling.ring;
  if (const int slots = std::min({ring.coefficient_slots, ring.scalar_slots, ring.exchange_slots / 2});
      tiling.role.coefficient_pairs > slots)
    return fmt::format("{} pairs of coefficient warps share {} slots", tiling.role.coefficient_pairs, slots);
  const int warps = warps_per_stream(tiling);
  const int tiles_per_panel = tiling.panel_columns / 16;
  if (slice / 16 % warps != 0 || (warps % tiles_per_panel != 0 && tiles_per_panel % warps != 0))
    return fmt::format("{} column tiles of a stream do not divide among {} warps", slice / 16, warps);
  return fit(tiling);
}

class OnePass final : public Plan {
 public:
  OnePass(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    const Problem& problem = tiling.problem;
    Kernel main = {.name = "pre_backward_one_pass",
                   .header = "pre_backward/one_pass.cuh",
                   .plan = "PreBackwardOnePass",
                   .work = "OnePassBackwardWork",
                   .work_bytes = sizeof(OnePassBackwardWork),
                   .constants = with_shape(problem, {{"has_gamma", problem.has_gamma},
                                                     {"threads_per_block", threads_per_block(tiling)},
                                                     {"group_blocks", tiling.group_blocks},
                                                     {"uses_clusters", tiling.uses_clusters},
                                                     {"pipeline_stages", tiling.pipeline_stages},
                                                     {"coefficient_slots", tiling.ring.coefficient_slots},
                                                     {"scalar_slots", tiling.ring.scalar_slots},
                                                     {"exchange_slots", tiling.ring.exchange_slots},
                                                     {"first_wait_ns", tiling.first_wait_ns},
                                                     {"panel_columns", tiling.panel_columns},
                                                     {"panels_per_stream", tiling.panels_per_stream},
                                                     {"consumer_warps", tiling.role.consumer_warps},
                                                     {"coefficient_pairs", tiling.role.coefficient_pairs},
                                                     {"consumer_registers", tiling.role.consumer_registers},
                                                     {"dot_registers", tiling.role.dot_registers},
                                                     {"helper_registers", tiling.role.helper_registers}}),
                   .threads_per_block = threads_per_block(tiling),
                   .dynamic_smem_bytes = smem_bytes(tiling),
                   .maps = {{"x", tiling.panel_columns, tokens_per_tile, problem.n},
                            {"dh_in", tiling.panel_columns, tokens_per_tile, 1, false},
                            {"dx", tiling.panel_columns, tokens_per_tile, problem.n}},
                   .max_cluster_size = tiling.uses_clusters ? tiling.group_blocks : 0,
                   .is_persistent = tiling.uses_clusters,
                   .is_cooperative = !tiling.uses_clusters,
                   .min_blocks = tiling.uses_clusters ? 0 : tiling.group_blocks};
    Kernel finish = {.name = "pre_backward_one_pass_finish",
                     .header = "pre_backward/one_pass_finish.cuh",
                     .plan = "PreBackwardOnePassFinish",
                     .work = "OnePassBackwardWork",
                     .work_bytes = sizeof(OnePassBackwardWork),
                     .constants = with_shape(problem, {{"has_gamma", problem.has_gamma},
                                                       {"threads_per_block", finish_threads},
                                                       {"group_blocks", tiling.group_blocks},
                                                       {"slice", slice_columns(tiling)},
                                                       {"block_tiles", block_tiles(tiling)},
                                                       {"coefficient_pairs", tiling.role.coefficient_pairs},
                                                       {"warps_per_stream", warps_per_stream(tiling)},
                                                       {"steps", steps(tiling)}}),
                     .threads_per_block = finish_threads,
                     .overlaps_previous = true,
                     .makes = {"dphi", "dgamma", "dalpha", "dbias"}};
    kernels_ = {std::move(main), std::move(finish)};
  }

  Grid grid(std::size_t kernel, std::int64_t tokens, const Device& device) const override {
    const std::int64_t groups = std::min<std::int64_t>(max_groups(tiling_, tokens), groups_at_once(tiling_, device));
    if (kernel == 0)
      return tiling_.uses_clusters ? grid_of_clusters(groups, tiling_.group_blocks)
                                   : grid_of_blocks(groups * tiling_.group_blocks);
    const std::int64_t phi_blocks =
        divide_up(std::int64_t{tiling_.group_blocks} * block_tiles(tiling_), finish_threads / warp_size);
    return grid_of_blocks(phi_blocks + 1);
  }

  // The constants are fitted to an H200, n = 2 and 4, D from 1280 to 8192. The error is at most 6 %, for fp32 through
  // the L2 cache 9 %.
  double cost_us(std::int64_t tokens, const Device& device) const override {
    const Problem& problem = tiling_.problem;
    const int n = problem.n;
    const int blocks = row_blocks(problem);
    const int at_once = groups_at_once(tiling_, device);
    // The fixed part is the launch, the first tile and the drain of the last.
    const double fixed_us = tiling_.uses_clusters ? 6.7 : 11.0;
    // A block packs its phi and writes as many sums for dphi, which the second kernel adds up. Fitted to n = 2 and 4.
    constexpr double phi_bytes_per_clock = 5.2;
    const double phi = 4.0 * static_cast<double>(phi_floats(tiling_)) / tiling_.group_blocks / phi_bytes_per_clock;
    // In a round each group works on a tile. The slowest of three bounds its clocks: the tile's bytes at the device's
    // rate; the consumers, two warps on a scheduler; a coefficient warp, which other blocks' sums reach late through
    // the L2 cache.
    const double bytes = static_cast<double>(tokens_per_tile) * static_cast<double>(problem.d) * (2.0 * n + 1.0) *
                         bytes_of(problem.dtype);
    const double memory = bytes * at_once / device.bytes_per_clock;
    const double math = (500.0 + steps(tiling_) * (90.0 + 70.0 * blocks)) * tiling_.role.consumer_warps / 8.0;
    const double coefficients = (tiling_.uses_clusters ? 1250.0 + 275.0 * n : 3700.0) / tiling_.role.coefficient_pairs;
    // The latency runs from the copy of a tile to the release of its stage.
    const double latency = (tiling_.uses_clusters ? 9300.0 : 14500.0) + math;
    // Among plans that are alike so far the one with the most to spare wins.
    constexpr double reserve = 0.02;
    const double clocks = (std::max({memory, math, coefficients, latency / tiling_.pipeline_stages}) +
                           reserve * (math + coefficients + latency / tiling_.pipeline_stages)) *
                          (waits_well() ? 1.0 : 1.08);
    return fixed_us + device.microseconds(phi + static_cast<double>(divide_up(tiles(tokens), at_once)) * clocks);
  }

  std::size_t workspace_bytes(std::int64_t tokens) const override {
    return tokens == 0 ? 0 : Regions(tiling_, tokens).total_bytes;
  }
  std::size_t zeroed_bytes(std::int64_t tokens) const override { return exchange_bytes(tiling_, tokens); }
  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    const Regions regions(tiling_, tokens);
    *static_cast<OnePassBackwardWork*>(work) = {.exchange = region<unsigned>(workspace, regions.exchange),
                                                .phi_sums = region<float>(workspace, regions.phi_sums),
                                                .logit_sums = region<float>(workspace, regions.logit_sums),
                                                .groups = region<int>(workspace, regions.groups),
                                                .tiles_per_sum = tiles_per_sum_of_one_pass};
  }

 private:
  // Reads that come too early slow down all of memory, by up to 20 %. With five stages the sums come sooner, and
  // waiting for longer costs 8 %. Measured at n = 4, D 5120, 7168 and 8192.
  bool waits_well() const {
    return tiling_.uses_clusters ||
           tiling_.first_wait_ns == (tiling_.pipeline_stages >= 5 ? short_wait_ns : long_wait_ns);
  }

  static std::size_t exchange_bytes(const Tiling& tiling, std::int64_t tokens) {
    if (tiling.uses_clusters) return 0;
    return static_cast<std::size_t>(max_groups(tiling, tokens)) * tiling.ring.exchange_slots * received_bytes(tiling);
  }

  struct Regions {
    std::size_t exchange;  // first, since it begins as zeros
    std::size_t phi_sums;
    std::size_t logit_sums;
    std::size_t groups;
    std::size_t total_bytes;

    Regions(const Tiling& tiling, std::int64_t tokens) {
      Workspace workspace;
      const std::int64_t count = max_groups(tiling, tokens);
      exchange = workspace.add(static_cast<std::int64_t>(exchange_bytes(tiling, tokens) / 4));
      phi_sums = workspace.add(count * phi_floats(tiling));
      logit_sums =
          workspace.add(count * tiling.role.coefficient_pairs * coefficient_warps * logit_floats(tiling.problem));
      groups = workspace.add(1);
      total_bytes = workspace.end();
    }
  };

  const Tiling tiling_;
};

Candidate candidate(const Problem& problem, bool uses_clusters, int group_blocks, int panel_columns, const Roles& role,
                    const Rings& ring, int first_wait_ns, const Device& device) {
  Candidate result;
  Tiling tiling = {.problem = problem,
                   .uses_clusters = uses_clusters,
                   .group_blocks = group_blocks,
                   .panel_columns = panel_columns,
                   .role = role,
                   .ring = ring,
                   .first_wait_ns = first_wait_ns};
  tiling.panels_per_stream = static_cast<int>(divide_up(divide_up(problem.d, panel_columns), group_blocks));
  tiling.max_groups = groups_at_once(tiling, device);
  result.rejected = reject(tiling, device);
  result.parameters = {{"uses_clusters", uses_clusters},
                       {"group_blocks", group_blocks},
                       {"panel_columns", panel_columns},
                       {"consumer_warps", role.consumer_warps},
                       {"consumer_registers", role.consumer_registers},
                       {"coefficient_slots", ring.coefficient_slots},
                       {"scalar_slots", ring.scalar_slots},
                       {"exchange_slots", ring.exchange_slots},
                       {"first_wait_ns", first_wait_ns}};
  if (result.rejected.empty()) result.plan = std::make_shared<OnePass>(tiling, result.parameters);
  return result;
}

std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  std::vector<Candidate> list;
  const auto add = [&](bool uses_clusters, int group_blocks, int panel_columns) {
    const std::vector<int> waits = uses_clusters ? std::vector{0} : std::vector{short_wait_ns, long_wait_ns};
    for (const Roles& role : roles)
      for (const Rings& ring : rings)
        for (const int wait : waits)
          list.push_back(candidate(problem, uses_clusters, group_blocks, panel_columns, role, ring, wait, device));
  };
  std::vector<int> panels = {widest_panel(problem)};
  if (problem.dtype != DType::fp32) panels.push_back(widest_panel(problem) / 2);
  for (const int panel_columns : panels) {
    // No cluster of one: compute-sanitizer rejects st.async to the own block.
    for (int blocks = max_cluster_size; blocks >= 2; --blocks) add(true, blocks, panel_columns);
    // Without a cluster every number of panels that a slice may have is a candidate.
    constexpr int most_panels = 10;
    constexpr int most_blocks = 32;  // the sums of more come so late that another family is faster
    int last = 0;
    for (int count = 1; count <= most_panels; ++count) {
      const auto blocks = static_cast<int>(divide_up(problem.d, std::int64_t{count} * panel_columns));
      if (blocks >= 2 && blocks <= most_blocks && blocks != last) add(false, blocks, panel_columns);
      last = blocks;
    }
  }
  return list;
}

}  // namespace

constinit const Family pre_backward_one_pass = {family_name, candidates};

}  // namespace mhcjit::codegen
