// pre_backward on tensor cores that every architecture has, for every problem. The first kernel makes each token's
// record for dx. The second makes dx and the sums over tokens of dphi and dgamma. The third adds those up. Few tokens
// are one split, or the splits of a cluster's blocks: then the second kernel finishes the sums itself.
//
// The kernels are templates/pre_backward/coefficients.cuh, dx.cuh and phi.cuh.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "codegen/clusters.h"
#include "codegen/divide_up.h"
#include "codegen/pre_backward/families.h"
#include "codegen/pre_backward/tiles_per_sum.h"
#include "codegen/vectors.h"
#include "codegen/workspace.h"
#include "support/error.h"
#include "templates/pre_backward/portable_work.cuh"

namespace mhcjit::codegen {
namespace {

constexpr std::string_view family_name = "portable";
constexpr int coefficient_threads = 256;
constexpr int tile_tokens = 16;
constexpr int most_stages = 4;
constexpr int fewest_stages = 2;

struct Tiling {
  Problem problem;
  int vec_size = 0;           // elements of x in one load: at most 16 bytes, divides D
  int dx_vec_size = 0;        // in one copy of the second kernel: the same, or 16 bytes whatever D is
  int threads_per_token = 0;  // where a group of threads works on one token
  int row_blocks = 0;         // blocks that share out the rows of phi
  int streams_per_block = 0;
  int warps_per_stream = 0;
  int tiles_per_warp = 0;             // 16 columns each
  int blocks_per_multiprocessor = 0;  // blocks that multiply at once
  int pipeline_stages = 0;            // tiles of tokens that a block holds
  bool phi_in_registers = false;
  bool adds_in_cluster = false;    // the second kernel has room for sums of a cluster's blocks
  int splits_in_dx = 0;            // splits of the tokens, at most, that the second kernel adds up; 0: the third does
  int max_splits = 0;              // splits that are summed apart for dphi
  int max_coefficient_blocks = 0;  // the first kernel's

  int dx_warps() const { return streams_per_block * warps_per_stream; }
  int block_columns() const { return warps_per_stream * tiles_per_warp * 16; }  // each stream's
  // If rows are not aligned to copies, a stream's first column may be the last of a sector of memory. Only tokens that
  // lie so many apart begin alike: they are a phase. A split sums up tokens of one phase.
  bool is_aligned() const { return problem.d % dx_vec_size == 0; }
  int sector_elements() const { return 32 / bytes_of(problem.dtype); }
  int phases() const {
    const std::int64_t multiple = problem.columns() & -problem.columns();
    return is_aligned() ? 1 : static_cast<int>(std::max<std::int64_t>(1, sector_elements() / multiple));
  }
  std::int64_t dx_blocks() const {  // blocks that share out rows and columns
    const std::int64_t columns = problem.d + (is_aligned() ? 0 : sector_elements() - 1);
    return row_blocks * divide_up(columns, block_columns()) * divide_up(problem.n, streams_per_block);
  }
  int tokens_per_group_block() const { return coefficient_threads / threads_per_token; }
  // The third kernel's warps share out rows.
  int phi_warps() const { return std::clamp(problem.rows(), 8, 24); }
  bool is_scaled() const { return problem.dtype != DType::fp32 && !problem.has_fp32_dx; }  // dh_mix, for dx
  int row_tiles() const { return static_cast<int>(divide_up(problem.rows(), 8)); }
  int sum_tiles() const { return static_cast<int>(divide_up(row_tiles(), row_blocks)); }  // a block's
  int dx_steps() const { return static_cast<int>(divide_up(problem.rows(), 16)); }
  bool adds_in_dx() const { return splits_in_dx != 0; }
  int phi_operands() const { return tiles_per_warp * dx_steps() * (is_scaled() ? 1 : 2); }  // a warp's
};

// templates/pre_backward/token_record.cuh lays a record out.
int record_bytes(const Tiling& tiling) {
  const int dx_rows = tiling.dx_steps() * 16;
  const int rows = tiling.is_scaled() ? tiling.row_tiles() * 8 * 2 + dx_rows : dx_rows * 2;
  const auto units = static_cast<int>(divide_up(rows * 2 + 8 + tiling.problem.n * 4, 16));
  return (units | 1) * 16;
}

// A stage holds x of each stream, dh_in and the records of a tile of tokens.
int stage_bytes(const Tiling& tiling) {
  const int row_bytes = tiling.block_columns() * bytes_of(tiling.problem.dtype) + 16;
  const int of_dh_in = tiling.is_aligned() ? row_bytes : row_bytes + 2 * 16;
  return tile_tokens * (tiling.streams_per_block * row_bytes + of_dh_in + record_bytes(tiling));
}

// The size of a block's sums for dphi, all of them.
int sums_bytes(const Tiling& tiling) {
  return tiling.dx_warps() * tiling.tiles_per_warp * tiling.sum_tiles() * warp_size * 16;
}

int dx_smem_bytes(const Tiling& tiling) {
  const int phi = tiling.phi_in_registers ? 0 : tiling.dx_warps() * tiling.phi_operands() * warp_size * 16;
  constexpr int barrier = 16;
  const int received = tiling.adds_in_cluster ? barrier + sums_bytes(tiling) : 0;
  return std::max(tiling.pipeline_stages * stage_bytes(tiling) + phi + received, tiling.problem.rows() * 4);
}

int coefficients_smem_bytes(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  return (coefficient_threads / warp_size * problem.n + tiling.tokens_per_group_block() * 2 * problem.rows()) * 4;
}

int phi_columns_per_block(const Tiling& tiling) { return warp_size * std::min(tiling.vec_size, 4); }
int phi_smem_bytes(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  return std::max(problem.has_gamma ? tiling.phi_warps() * phi_columns_per_block(tiling) : 0, problem.rows()) * 4;
}

// Registers of a thread that multiplies, at most, as the assembler reports them: sums, phi, x and products of its
// tiles, the scalars of four tokens, and the loop's own.
int registers_needed(const Tiling& tiling, bool phi_in_registers) {
  // Ends of unaligned rows take some, more if every warp copies dh_in too. An older architecture makes a store of
  // matrices from shuffles, which takes some too.
  const int end = tiling.streams_per_block == 1 ? 24 : tiling.phases() > 1 ? 4 : 8;
  const int ends = tiling.is_aligned() ? 0 : tiling.problem.architecture.major < 9 ? 32 : end;
  const int loop = (tiling.sum_tiles() > 4 ? 80 : 60) + ends;
  const int x = tiling.problem.dtype == DType::bf16 ? 4 : tiling.problem.dtype == DType::fp16 ? 12 : 16;
  const int phi = phi_in_registers ? tiling.phi_operands() * 4 : 8;
  return tiling.tiles_per_warp * (tiling.sum_tiles() * 4 + x + 8) + phi + loop;
}
// A multiprocessor's four schedulers share out the warps, each with registers of its own.
int registers_available(const Tiling& tiling) {
  constexpr int schedulers = 4;
  const auto warps_of_scheduler =
      static_cast<int>(divide_up(tiling.dx_warps() * tiling.blocks_per_multiprocessor, schedulers));
  return std::min(255, registers_per_multiprocessor / schedulers / warp_size / warps_of_scheduler / 8 * 8);
}

// The driver adds this to a block's shared memory.
constexpr int reserved_smem_bytes = 1024;
bool smem_fits(const Tiling& tiling, const Device& device) {
  const int block_bytes = dx_smem_bytes(tiling);
  return block_bytes <= max_opt_in_smem_bytes &&
         (block_bytes + reserved_smem_bytes) * tiling.blocks_per_multiprocessor <= device.smem_bytes_per_multiprocessor;
}

std::int64_t tokens_of_phase(const Tiling& tiling, std::int64_t tokens) { return divide_up(tokens, tiling.phases()); }
std::int64_t tiles_of_phase(const Tiling& tiling, std::int64_t tokens) {
  return divide_up(tokens_of_phase(tiling, tokens), tile_tokens);
}

// Returns the most splits of each phase. With more, the third kernel would wait longer for its splits, eight at a time,
// than a block of the second takes for the tiles of one.
std::int64_t most_splits(const Tiling& tiling, std::int64_t tokens) {
  const std::int64_t tiles = tiles_of_phase(tiling, tokens);
  if (tiling.adds_in_dx())
    return std::min<std::int64_t>(tiling.max_splits, std::bit_floor(static_cast<std::uint64_t>(tiles)));
  const auto balanced = static_cast<std::int64_t>(std::sqrt(8.0 * static_cast<double>(tiles)));
  const std::int64_t each = tiling.max_splits / tiling.phases();
  return std::min({each == 0 ? std::int64_t{tiling.max_splits} : each, tiles, balanced});
}

// Returns the fewest splits whose longest has no more tiles.
std::int64_t splits_of_phase(const Tiling& tiling, std::int64_t tokens) {
  if (tiling.adds_in_dx()) return most_splits(tiling, tokens);
  const std::int64_t tiles = tiles_of_phase(tiling, tokens);
  return divide_up(tiles, divide_up(tiles, most_splits(tiling, tokens)));
}
std::int64_t token_splits(const Tiling& tiling, std::int64_t tokens) {
  return splits_of_phase(tiling, tokens) * tiling.phases();
}
// Returns the splits that are summed at once.
std::int64_t splits_at_once(const Tiling& tiling, std::int64_t tokens) {
  return std::min<std::int64_t>(token_splits(tiling, tokens), tiling.max_splits);
}

int coefficient_blocks(const Tiling& tiling, std::int64_t tokens) {
  return static_cast<int>(
      std::min<std::int64_t>(divide_up(tokens, tiling.tokens_per_group_block()), tiling.max_coefficient_blocks));
}

// Loads of x in flight need registers, more of them with more streams.
int coefficient_blocks_per_multiprocessor(const Problem& problem) {
  return problem.n <= 4 ? 4 : problem.n <= 8 ? 3 : 1;
}

// The workspace's regions.
struct Regions {
  std::size_t records = 0;        // [T] of record_bytes
  std::size_t bias_partials = 0;  // float [2, M, bias_slots]
  std::size_t phi_partials = 0;   // float [token_splits, M, n*D]
  std::size_t total_bytes = 0;

  Regions(const Tiling& tiling, std::int64_t tokens) {
    if (tokens == 0) return;
    const Problem& problem = tiling.problem;
    Workspace workspace;
    records = workspace.add(tokens_of_phase(tiling, tokens) * tiling.phases() * (record_bytes(tiling) / 4));
    bias_partials = workspace.add(std::int64_t{coefficient_blocks(tiling, tokens)} * 2 * problem.rows());
    // The size does not use token_splits(), which can be smaller for more tokens.
    phi_partials = workspace.add(most_splits(tiling, tokens) * tiling.phases() * problem.rows() * problem.columns());
    total_bytes = workspace.end();
  }
};

Kernel kernel(const Tiling& tiling, std::string_view stem, std::string_view plan, int vec_size, int threads,
              int min_blocks, int smem_bytes, std::vector<Constant> constants) {
  constants.push_back({"vec_size", vec_size});
  constants.push_back({"threads_per_block", threads});
  return {.name = fmt::format("pre_backward_{}", stem),
          .header = fmt::format("pre_backward/{}.cuh", stem),
          .plan = std::string(plan),
          .work = "PortableBackwardWork",
          .work_bytes = sizeof(PortableBackwardWork),
          .constants = with_shape(tiling.problem, std::move(constants)),
          .threads_per_block = threads,
          .min_blocks_per_multiprocessor = min_blocks,
          .dynamic_smem_bytes = smem_bytes};
}

std::vector<Kernel> kernels_of(const Tiling& tiling) {
  const Problem& problem = tiling.problem;
  const Constant gamma = {"has_gamma", problem.has_gamma};
  const Constant fp32_dx = {"has_fp32_dx", problem.has_fp32_dx};
  std::vector<Kernel> kernels = {
      kernel(tiling, "coefficients", "PreBackwardCoefficients", tiling.vec_size, coefficient_threads,
             coefficient_blocks_per_multiprocessor(problem), coefficients_smem_bytes(tiling),
             {{"threads_per_token", tiling.threads_per_token}, fp32_dx}),
      kernel(tiling, "dx", "PreBackwardDx", tiling.dx_vec_size, tiling.dx_warps() * warp_size,
             tiling.blocks_per_multiprocessor, dx_smem_bytes(tiling),
             {gamma,
              fp32_dx,
              {"row_blocks", tiling.row_blocks},
              {"streams_per_block", tiling.streams_per_block},
              {"warps_per_stream", tiling.warps_per_stream},
              {"tiles_per_warp", tiling.tiles_per_warp},
              {"pipeline_stages", tiling.pipeline_stages},
              {"phi_in_registers", tiling.phi_in_registers},
              {"adds_in_cluster", tiling.adds_in_cluster}})};
  if (tiling.splits_in_dx > 1) kernels[1].max_cluster_size = tiling.splits_in_dx;
  if (!tiling.adds_in_dx()) {
    kernels[1].makes = {"dx", "dphi", "dgamma"};
    kernels.push_back(kernel(tiling, "phi", "PreBackwardPhi", tiling.vec_size, tiling.phi_warps() * warp_size, 1,
                             phi_smem_bytes(tiling), {gamma}));
    kernels[2].makes = {"dphi", "dgamma", "dalpha", "dbias"};
  }
  if (problem.architecture.major < 9) return kernels;
  // Few tokens gain what the second kernel does before the first ends. Many lose more, since the first kernel's loads
  // fill its L1 cache.
  kernels[0].leaves_shared_memory = tiling.adds_in_dx();
  for (std::size_t i = 1; i < kernels.size(); ++i) kernels[i].overlaps_previous = true;
  return kernels;
}

class Portable final : public Plan {
 public:
  Portable(const Tiling& tiling, Parameters parameters)
      : Plan(tiling.problem, family_name, std::move(parameters)), tiling_(tiling) {
    kernels_ = kernels_of(tiling);
  }

  Grid grid(std::size_t kernel, std::int64_t tokens, const Device&) const override {
    // One block more, or one cluster more, sums up dbias and dalpha.
    const std::int64_t splits = splits_at_once(tiling_, tokens);
    switch (kernel) {
      case 0: return grid_of_blocks(coefficient_blocks(tiling_, tokens));
      case 1:
        if (!tiling_.adds_in_dx()) return grid_of_blocks(tiling_.dx_blocks(), splits);
        if (tiling_.splits_in_dx == 1) return grid_of_blocks(tiling_.dx_blocks() + 1);
        return grid_of_clusters(tiling_.dx_blocks() + 1, static_cast<int>(splits));
      default: return grid_of_blocks(divide_up(problem().columns(), phi_columns_per_block(tiling_)) + 1);
    }
  }

  // The constants are fitted to an H200, aligned rows, n = 2, 4, 6 and 8, D 1280 to 8192, T 1 to 16384: 6 % root mean
  // square.
  double cost_us(std::int64_t tokens, const Device& device) const override {
    constexpr double launches = 2400.0;  // of the first two kernels
    // phi is packed while the first kernel runs.
    const double first = std::max(coefficients_clocks(tokens, device), packing_clocks());
    return device.microseconds(launches + first + dx_clocks(tokens, device) + phi_clocks(tokens));
  }

  std::size_t workspace_bytes(std::int64_t tokens) const override { return Regions(tiling_, tokens).total_bytes; }
  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    const Regions regions(tiling_, tokens);
    *static_cast<PortableBackwardWork*>(work) = {
        .records = region<unsigned int>(workspace, regions.records),
        .bias_partials = region<float>(workspace, regions.bias_partials),
        .phi_partials = region<float>(workspace, regions.phi_partials),
        .bias_slots = coefficient_blocks(tiling_, tokens),
        .token_splits = static_cast<int>(token_splits(tiling_, tokens)),
        .phases = tiling_.phases(),
        .tiles_per_sum = tiles_per_sum_of_portable,
        .adds_splits_up_later = tiling_.adds_in_dx() ? 0 : 1,
    };
  }

 private:
  static constexpr double l2_bytes_per_clock = 2070.0;

  double x_bytes(std::int64_t tokens) const {
    return static_cast<double>(tokens) * static_cast<double>(problem().columns()) * bytes_of(problem().dtype);
  }
  double phi_bytes() const { return 4.0 * problem().rows() * static_cast<double>(problem().columns()); }

  // x and dh_in come from memory; narrow loads need more instructions.
  double coefficients_clocks(std::int64_t tokens, const Device& device) const {
    // A group waits for each of its loads of a token, one step through a stream after the other, and then makes the
    // token's record.
    constexpr double token = 2500.0;
    constexpr double load = 1170.0;
    const double loads_of_token =
        static_cast<double>(divide_up(problem().d, std::int64_t{tiling_.threads_per_token} * tiling_.vec_size));
    const double bytes = x_bytes(tokens) * (1.0 + 1.0 / problem().n);
    const double loads = bytes / (tiling_.vec_size * bytes_of(problem().dtype));
    const double instructions = loads * (4.0 + 3.0 * tiling_.vec_size) / warp_size / (4.0 * device.multiprocessors);
    const double steps =
        std::ceil(static_cast<double>(tokens) / (tiling_.tokens_per_group_block() * tiling_.max_coefficient_blocks));
    // Less of the L1 cache holds fewer loads under way.
    const double memory = bytes / device.bytes_per_clock * (tiling_.adds_in_dx() ? 1.1 : 1.0);
    return std::max({memory, instructions, steps * (token + load * loads_of_token)});
  }

  // A warp waits for phi's rows, sixteen at a time. Operands that go to shared memory are packed one after the other.
  double packing_clocks() const {
    constexpr double rows_at_once = 2300.0;
    constexpr double operand = 6600.0;
    return tiling_.phi_in_registers ? rows_at_once * tiling_.dx_steps()
                                    : operand * tiling_.dx_steps() * tiling_.tiles_per_warp;
  }

  double dx_clocks(std::int64_t tokens, const Device& device) const {
    constexpr double clocks_per_product = 16.5;  // products that add to the same sums wait for one another
    // A block's, while its neighbours work. Warps whose rows begin anywhere reach it at different times.
    const double barrier = tiling_.is_aligned() ? 270.0 : 68.0 * tiling_.dx_warps();
    constexpr double part_of_memory = 0.63;  // that reads and writes of parts of rows reach
    const Problem& shape = problem();
    const double streams = tiling_.streams_per_block;
    const double blocks = static_cast<double>(tiling_.dx_blocks());
    const double splits = static_cast<double>(splits_at_once(tiling_, tokens));
    const bool adds_in_cluster = tiling_.adds_in_dx() && splits > 1.0;
    // The multiprocessors that blocks are shared out among, one for each.
    const double places = adds_in_cluster ? device.clusters_at_once[static_cast<int>(splits)] * splits
                                          : static_cast<double>(device.multiprocessors);
    const double at_once = places * tiling_.blocks_per_multiprocessor;
    const double waves = std::ceil(blocks * splits / at_once);
    const double turns = std::ceil(static_cast<double>(token_splits(tiling_, tokens)) / splits);
    const auto tiles_of_split =
        static_cast<double>(divide_up(tiles_of_phase(tiling_, tokens), splits_of_phase(tiling_, tokens)));
    const double steps = waves * turns * tiles_of_split;
    const double running = std::min(at_once, blocks * splits);
    // Blocks on a multiprocessor. They fill one after the other if none has room beside the first kernel's blocks.
    const double neighbours = fits_beside_first(tokens, device)
                                  ? std::ceil(running / places)
                                  : std::min(running, static_cast<double>(tiling_.blocks_per_multiprocessor));

    // A tile of tokens costs memory, the L2 cache and instructions of all blocks that run at once, or one block's
    // latency.
    const double tile_bytes = 16.0 * tile_tokens * tiling_.tiles_per_warp * bytes_of(shape.dtype);  // a warp's
    const double read_and_written = tile_bytes * tiling_.dx_warps() * (2.0 + 1.0 / shape.n) / tiling_.row_blocks;
    // Unaligned rows cost more: blocks write a line of 128 bytes in parts, and phi is packed only when the previous
    // kernel has ended. Elements of two bytes are waited for one tile at a time. Fitted to n = 4, D = 5129 at T 1024 to
    // 8192.
    const int copy_bytes = tiling_.dx_vec_size * bytes_of(shape.dtype);
    const bool is_aligned = tiling_.is_aligned();
    const double line_parts = is_aligned || tiling_.tiles_per_warp * 16 * bytes_of(shape.dtype) >= 128
                                  ? 0.0
                                  : 83.0 / (tiling_.block_columns() * bytes_of(shape.dtype));
    const double slower_step = !is_aligned ? 1.16 : copy_bytes < 16 ? 2.0 : 1.0;
    const double unaligned_start = is_aligned ? 0.0 : 40000.0;
    const double memory = running * read_and_written * (1.0 + line_parts) / (part_of_memory * device.bytes_per_clock);
    const double copied = tile_bytes * tiling_.warps_per_stream * (2.0 * streams + 1.0) +
                          static_cast<double>(tile_tokens) * record_bytes(tiling_);
    const double l2 = running * copied / l2_bytes_per_clock;
    const double terms = shape.dtype == DType::bf16 ? 2.0 : 3.0;
    const double products =
        tiling_.tiles_per_warp * (tiling_.sum_tiles() * terms + tiling_.dx_steps() * (tiling_.is_scaled() ? 2.0 : 6.0));
    const double copies = tile_bytes / warp_size / (tiling_.dx_vec_size * bytes_of(shape.dtype));
    const double instructions = 155.0 + products + tiling_.sum_tiles() +
                                tiling_.dx_steps() * (1.0 + tiling_.tiles_per_warp) + 324.0 * tiling_.tiles_per_warp +
                                12.0 * copies;
    const double issue = neighbours * tiling_.dx_warps() / 4.0 * std::max(instructions, products * clocks_per_product);
    // Blocks that do not fill the device take a tile's latency.
    const double alone = 6600.0 / tiling_.dx_warps() + (tiling_.adds_in_dx() ? 0.0 : 770.0) + 8.2 * products;
    const double step = std::max({memory, l2, issue, alone}) + barrier / neighbours;

    // A block reads its phi and writes its sums; with one split it reads phi once more. Rows of fewer columns than a
    // line of 128 bytes has cost more.
    const double line_of_block = tiling_.block_columns() * 4 < 128 ? 1.39 : 1.0;
    const double bytes_of_block = 2.0 * phi_bytes() / blocks;
    constexpr double bytes_per_clock = 19.5;  // a multiprocessor's
    constexpr double part_of_memory_for_phi = 0.75;
    const double ends =
        std::max({waves * neighbours * bytes_of_block / bytes_per_clock, splits * phi_bytes() / l2_bytes_per_clock,
                  2.0 * phi_bytes() / (part_of_memory_for_phi * device.bytes_per_clock)}) *
        line_of_block;
    constexpr double later_block = 200.0;  // the second of a multiprocessor, and so on
    const double exchange = adds_in_cluster ? 1730.0 + 10.0 * splits * splits : 0.0;
    return unaligned_start + steps * step * slower_step + turns * ends + exchange + later_block * (neighbours - 1.0);
  }

  // Whether a multiprocessor that runs its share of the first kernel's blocks has registers for one of the second's.
  bool fits_beside_first(std::int64_t tokens, const Device& device) const {
    const std::int64_t of_first = divide_up(coefficient_blocks(tiling_, tokens), device.multiprocessors) *
                                  (registers_per_multiprocessor / coefficient_blocks_per_multiprocessor(problem()));
    return registers_per_multiprocessor - of_first >= registers_available(tiling_) * tiling_.dx_warps() * warp_size;
  }

  double phi_clocks(std::int64_t tokens) const {
    if (tiling_.adds_in_dx()) return 0.0;
    constexpr double launch = 4800.0;
    constexpr double latency = 900.0;  // latency of the splits that are loaded at once
    const double splits = static_cast<double>(token_splits(tiling_, tokens));
    const double rows = static_cast<double>(divide_up(problem().rows(), tiling_.phi_warps()));
    return launch +
           std::max((splits + 2.0) * phi_bytes() / l2_bytes_per_clock, rows * std::ceil(splits / 8.0) * latency);
  }

  const Tiling tiling_;
};

// Whether a device that may have clusters has room for their sums beside everything else.
bool has_room_for_sums(Tiling tiling, const Device& device) {
  tiling.adds_in_cluster = tiling.problem.architecture.major >= 9 && tiling.row_blocks == 1 && tiling.phases() == 1;
  return tiling.adds_in_cluster && smem_fits(tiling, device);
}

// Finds the most blocks of a multiprocessor that registers and shared memory allow. Returns "", or why there are none.
std::string fit(Tiling& tiling, const Device& device) {
  constexpr int threads_per_multiprocessor = 1536;
  constexpr int most_blocks = 4;
  if (tiling.block_columns() / 2 >= tiling.problem.d && tiling.block_columns() > 16)
    return fmt::format("{} columns are twice as many as D has", tiling.block_columns());
  if (tiling.adds_in_dx() && tiling.row_blocks > 1)
    return fmt::format("{} rows are of several blocks, none of which can make dgamma", tiling.problem.rows());
  if (tiling.dx_warps() > 16) return fmt::format("{} warps, allowed: up to 16", tiling.dx_warps());
  std::string reason;
  for (tiling.blocks_per_multiprocessor = most_blocks; tiling.blocks_per_multiprocessor >= 1;
       --tiling.blocks_per_multiprocessor) {
    if (tiling.blocks_per_multiprocessor * tiling.dx_warps() * warp_size > threads_per_multiprocessor) continue;
    const int registers = registers_available(tiling);
    tiling.phi_in_registers = tiling.sum_tiles() <= 10 && registers_needed(tiling, true) <= registers;
    reason = fmt::format("{} tiles of {} rows need {} registers a thread", tiling.tiles_per_warp, tiling.problem.rows(),
                         registers_needed(tiling, false));
    if (registers_needed(tiling, tiling.phi_in_registers) > registers) continue;
    for (tiling.pipeline_stages = most_stages; tiling.pipeline_stages >= fewest_stages; --tiling.pipeline_stages)
      if (smem_fits(tiling, device)) {
        tiling.adds_in_cluster = has_room_for_sums(tiling, device);
        return "";
      }
    reason = fmt::format("two tiles of tokens and phi need {} bytes of shared memory, a multiprocessor of {} has {}",
                         dx_smem_bytes(tiling) + stage_bytes(tiling), to_string(tiling.problem.architecture),
                         device.smem_bytes_per_multiprocessor);
  }
  return reason;
}

// Returns "", or why the blocks of a cluster cannot add up their splits.
std::string cluster_unsupported(const Tiling& tiling, const Device& device) {
  if (auto reason = clusters_unsupported(tiling.problem, device); !reason.empty()) return reason;
  if (!tiling.adds_in_cluster)
    return fmt::format("sums of {} bytes do not fit beside {} bytes of tiles and phi", sums_bytes(tiling),
                       dx_smem_bytes(tiling));
  if (const int tiles = tiling.dx_warps() * tiling.tiles_per_warp; tiles % tiling.splits_in_dx != 0)
    return fmt::format("{} tiles of sums do not divide among {} blocks", tiles, tiling.splits_in_dx);
  return "";
}

// Returns the splits whose blocks fill one wave, or two if one would leave much of the device idle. A wave more costs
// about 9 us on an H200 at n = 6, D 2560, T 8192.
int splits_that_fill(const Tiling& tiling, const Device& device) {
  const std::int64_t at_once = std::int64_t{device.multiprocessors} * tiling.blocks_per_multiprocessor;
  const std::int64_t one_wave = std::max<std::int64_t>(1, at_once / tiling.dx_blocks());
  const std::int64_t two_waves = 2 * at_once / tiling.dx_blocks();
  return static_cast<int>(tiling.phases() == 1 && 2 * two_waves >= 5 * one_wave ? two_waves : one_wave);
}

Candidate candidate(Tiling tiling, const Device& device) {
  Candidate result;
  tiling.dx_vec_size = 16 / bytes_of(tiling.problem.dtype);
  // The second kernel adds up splits only if there is one phase.
  if (tiling.adds_in_dx() && tiling.phases() > 1) tiling.dx_vec_size = tiling.vec_size;
  result.rejected = fit(tiling, device);
  result.parameters = {{"tiles_per_warp", tiling.tiles_per_warp},
                       {"warps_per_stream", tiling.warps_per_stream},
                       {"streams_per_block", tiling.streams_per_block},
                       {"splits_in_dx", tiling.splits_in_dx}};
  if (result.rejected.empty() && tiling.splits_in_dx > 1) result.rejected = cluster_unsupported(tiling, device);
  if (!result.rejected.empty()) return result;
  tiling.max_splits = tiling.adds_in_dx() ? tiling.splits_in_dx : splits_that_fill(tiling, device);
  result.plan = std::make_shared<Portable>(tiling, result.parameters);
  return result;
}

std::vector<Candidate> candidates(const Problem& problem, const Device& device) {
  constexpr int most_streams_per_block = 8;
  Tiling tiling = {.problem = problem};
  tiling.vec_size = vec_size_of(problem);
  tiling.threads_per_token = most_threads_per_token(problem, tiling.vec_size, coefficient_threads);
  tiling.max_coefficient_blocks = device.multiprocessors * coefficient_blocks_per_multiprocessor(problem);
  // With the sums of so many tiles a warp still has registers for the rest.
  constexpr std::int64_t most_row_tiles = 21;
  tiling.row_blocks = static_cast<int>(divide_up(tiling.row_tiles(), most_row_tiles));
  std::vector<Candidate> list;
  int streams_before = 0;
  for (const int parts : {1, 2, 4, 8}) {
    tiling.streams_per_block = static_cast<int>(divide_up(problem.n, parts));
    if (tiling.streams_per_block > most_streams_per_block || tiling.streams_per_block == streams_before) continue;
    streams_before = tiling.streams_per_block;
    for (const int warps_per_stream : {2, 1, 4, 8})
      for (const int tiles_per_warp : {2, 1, 4})
        for (const int splits_in_dx : {0, 1, 2, 4, 8, 16}) {
          tiling.warps_per_stream = warps_per_stream;
          tiling.tiles_per_warp = tiles_per_warp;
          tiling.splits_in_dx = splits_in_dx;
          list.push_back(candidate(tiling, device));
        }
  }
  return list;
}

}  // namespace

constinit const Family pre_backward_portable = {family_name, candidates};

}  // namespace mhcjit::codegen
