// What was chosen for a problem: every compile-time constant of its kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codegen/problem.h"

namespace mhcjit::codegen {

// The kernels of an operator, in the order of their launches.
enum class Stage {
  // pre_forward, portable and two passes
  pack_phi,
  project,
  project_wgmma,  // in its place
  apply,          // portable alone: of two passes the projection makes the outputs too
  // pre_forward, one pass
  one_pass,
  // pre_forward, few tokens: beside either of the others
  few_tokens,
  // pre_backward
  coefficients,
  dx,
  phi_partials,
  phi,
  bias,
};

// The kernels that an operator is made of. Portable: every problem on every architecture. Two passes: the portable
// kernels of pre_forward on devices with clusters, where the blocks of a tile of tokens make its outputs as soon as it
// is projected. One pass: pre_forward on devices with clusters, where phi fits. Few tokens: pre_forward on devices with
// clusters, fast where the launch is most of the time; right for any number of tokens, and mostly a part of a spec of
// another template.
enum class KernelTemplate { portable, two_pass, one_pass, few_tokens };

std::string_view to_string(KernelTemplate kernel_template);
llvm::Expected<KernelTemplate> parse_kernel_template(std::string_view text);

// A constant that a template or an operator does not use is 0.
struct KernelSpec {
  Problem problem;
  KernelTemplate kernel_template = KernelTemplate::portable;

  int threads_per_block = 0;

  // portable
  int vec_size = 0;           // elements of x in one load: at most 16 bytes, divides D
  int row_blocks = 0;         // blocks that share out rows
  int threads_per_token = 0;  // where a group of threads works on one token

  // portable pre_forward, two_pass
  int tokens_per_warp = 0;
  int row_tiles = 0;  // of eight rows of phi that a block keeps sums for
  int k_splits = 0;   // ranges of columns that are summed apart
  int columns_per_split = 0;
  int columns_per_sum = 0;            // that are summed by the tensor cores alone; of fp16, that have one scale
  int pack_columns = 0;               // of phi, that a block packs
  int blocks_per_multiprocessor = 0;  // that multiply, at once
  int uses_wgmma = 0;                 // 1: warp groups multiply, in chunks of columns of one stream

  // portable pre_forward, two_pass, one_pass
  int pipeline_stages = 0;  // chunks of columns, or tiles of tokens, of x that a block holds

  // portable pre_backward
  int rows_per_thread = 0;  // rows of phi that a thread keeps sums for
  int row_warps = 0;        // warps of a block that share out rows
  int dx_columns_per_block = 0;
  int dx_tokens_per_thread = 0;
  int max_dx_token_blocks = 0;  // blocks that step through the tokens together
  int max_bias_slots = 0;       // groups of tokens that are summed apart for dbias and dalpha
  int max_token_splits = 0;     // ranges of tokens that are summed apart for dphi

  // two_pass, one_pass
  int cluster_size = 0;  // blocks that share a tile of tokens; of one pass, each a slice of every stream's columns

  // two_pass
  int wide_cluster_size = 0;         // the same in calls of few tokens, whose tiles do not fill the device
  std::int64_t wide_max_tokens = 0;  // which are those with no more

  // one_pass
  int tokens_per_tile = 0;    // 8 or 16
  int panel_columns = 0;      // of 128 bytes, or of 64
  int panels_per_stream = 0;  // in a slice
  int gemm_warps = 0;         // warps that multiply x with phi
  int row_groups = 0;         // of gemm warps, that share out the rows of phi: 1 or 2
  int apply_warps = 0;        // warps that make h_in
  int k_steps_per_warp = 0;   // steps of 16 columns that a gemm warp multiplies
  int phi_register_operands =
      0;                   // of a gemm warp's 16 x 16 operands of phi, those in registers; the others in shared memory
  int gemm_registers = 0;  // of each thread of a role; 0: as many as it is launched with
  int apply_registers = 0;
  int helper_registers = 0;

  // few_tokens, alone or beside another template
  std::int64_t few_max_tokens = 0;  // calls with no more tokens are its own; 0: it is not there
  int few_cluster_size = 0;         // blocks that share a group of tokens, each a slice of the columns of every stream
  int few_gemm_warps = 0;           // of a block
  int few_chunks_per_warp = 0;      // of 16 columns
  int few_stages = 0;               // streams of phi that a warp holds

  int rows_per_block() const { return rows_per_thread * row_warps; }
  int padded_rows() const { return rows_per_block() * row_blocks; }
  int tokens_per_group_block() const { return threads_per_block / threads_per_token; }
  int widest_cluster_size() const { return std::max(cluster_size, wide_cluster_size); }
  int cluster_size_for(std::int64_t tokens) const {
    return tokens <= wide_max_tokens ? wide_cluster_size : cluster_size;
  }

  auto operator<=>(const KernelSpec&) const = default;
};

// The members that the templates read, in the order in which they are emitted.
std::vector<std::pair<std::string, std::int64_t>> constants(const KernelSpec& spec);

// "pre_forward n=4 D=4096 bf16 sm_90a: vec_size=8 threads_per_block=256 ...": how logs and tools name a spec.
std::string to_string(const KernelSpec& spec);

// What one copy takes of x, by way of a tensor map with dimensions {D, T, n}.
struct TensorBox {
  int columns = 0;
  int tokens = 0;
  int streams = 0;

  bool operator==(const TensorBox&) const = default;
};

// How a stage's kernel is compiled and launched. The emitted unit asserts that the device code agrees.
struct StagePlan {
  Stage stage;
  std::string name;  // "pre_forward_project": its template's file and function; the entry is "mhcjit_" + name
  std::string plan;  // the template's plan struct
  int min_blocks_per_multiprocessor = 1;
  int dynamic_smem_bytes = 0;
  int threads_per_block = 0;
  int cluster_size = 0;            // blocks of x that are launched together, at most; 0: each by itself
  bool is_persistent = false;      // no more blocks than the device runs at once: each steps through the tokens
  TensorBox box = {};              // of the tensor map of x that is its second argument; else empty
  bool overlaps_previous = false;  // begins before the operator's kernel before it has ended, and waits for it itself
  // Numbers of tokens that it serves.
  std::int64_t min_tokens = 0;
  std::int64_t max_tokens = codegen::max_tokens;

  std::string entry() const { return "mhcjit_" + name; }
  bool takes_tensor_map() const { return box != TensorBox{}; }
  std::string constants() const { return plan + "Spec"; }  // the emitted struct
  bool serves(std::int64_t tokens) const { return min_tokens <= tokens && tokens <= max_tokens; }
};

std::vector<StagePlan> stages(const KernelSpec& spec);

struct Grid {
  std::uint32_t x = 0;
  std::uint32_t y = 1;
  std::uint32_t cluster_size = 0;  // blocks of x that are launched together; 0: each by itself

  bool operator==(const Grid&) const = default;
};

// Blocks of a stage's launch for T >= 1 tokens; of a persistent stage, the most that have something to do.
Grid grid_of(const KernelSpec& spec, Stage stage, std::int64_t tokens);

}  // namespace mhcjit::codegen
