// How an operator is computed: a family lists candidates, a candidate is a plan or the reason why it is not legal, a
// plan is the kernels of one call with their grids, cost and workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "codegen/operator.h"

namespace mhcjit::codegen {

// A member of the struct that an emitted unit hands to its template.
struct Constant {
  std::string_view name;
  std::variant<std::int64_t, bool> value;
};

// n, d, rows and columns, which the struct of every kernel has, and `more`.
std::vector<Constant> with_shape(const Problem& problem, std::vector<Constant> more);

// The box that TMA loads and stores move of a tensor [T, n, D] or [T, D]. Its tensor map has the dimensions {D, T, n},
// where n may be 1.
struct TensorMap {
  std::string_view tensor;
  int columns = 0;
  int tokens = 0;
  int streams = 0;
  bool has_streams = true;  // [T, n, D]
  bool has_x_dtype = true;  // else fp32

  bool operator==(const TensorMap&) const = default;
};
inline constexpr std::size_t max_tensor_maps = 4;  // of a kernel

// One launch and one cubin.
struct Kernel {
  // These decide the cubin. emit() turns them into text.
  std::string name;       // "OPERATOR_PART": the template's function; the entry is "mhcjit_" + name
  std::string header;     // "OPERATOR/FILE.cuh"
  std::string plan;       // the template's plan struct, which asserts the shared memory
  std::string work = {};  // the struct of the family's own arguments, beside those of the operator; "": none
  std::size_t work_bytes = 0;
  std::vector<Constant> constants;
  int threads_per_block = 0;
  int min_blocks_per_multiprocessor = 1;
  int dynamic_smem_bytes = 0;
  std::vector<TensorMap> maps = {};

  // How it is launched.
  int max_cluster_size = 0;           // blocks of x that are launched together, at most; 0: each by itself
  bool is_persistent = false;         // no more blocks than the device runs at once: each steps through the tokens
  bool is_cooperative = false;        // its blocks wait for one another: all run at the same time
  int min_blocks = 0;                 // of a cooperative kernel: the device must run as many at the same time
  bool leaves_shared_memory = false;  // its multiprocessors keep it for blocks of the next kernel, which overlaps it
  bool overlaps_previous = false;     // begins before the call's kernel before it has ended, and waits for it itself
  // Outputs that it contributes to; where none of them is wanted it is not launched. Empty: all.
  std::vector<std::string_view> makes = {};

  std::string entry() const { return "mhcjit_" + name; }
};

struct Grid {
  std::uint32_t x = 0;
  std::uint32_t y = 1;
  std::uint32_t cluster_size = 0;  // blocks of x that are launched together; 0: each by itself

  bool operator==(const Grid&) const = default;
};

// The most blocks of a launch, in x.
inline constexpr std::int64_t max_blocks = (std::int64_t{1} << 31) - 1;

inline Grid grid_of_blocks(std::int64_t x, std::int64_t y = 1) {
  return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y)};
}
inline Grid grid_of_clusters(std::int64_t clusters, int cluster_size) {
  return {static_cast<std::uint32_t>(clusters * cluster_size), 1, static_cast<std::uint32_t>(cluster_size)};
}

// Parameters tell a candidate from the others of its family: the axes of a sweep.
using Parameters = std::vector<std::pair<std::string_view, std::int64_t>>;

// Immutable, so every member may be called from any number of threads at the same time.
class Plan {
 public:
  virtual ~Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const Problem& problem() const { return problem_; }
  std::string_view family() const { return family_; }
  const Parameters& parameters() const { return parameters_; }
  std::optional<std::int64_t> parameter(std::string_view name) const;
  // In the order of their launches.
  const std::vector<Kernel>& kernels() const { return kernels_; }
  // True if some of its blocks must run at the same time, in clusters or in a cooperative launch: a device may have no
  // room for them.
  bool uses_clusters() const;

  // Blocks of a kernel's launch for T >= 1 tokens; of a persistent kernel, the most that have something to do. On the
  // launch path.
  virtual Grid grid(std::size_t kernel, std::int64_t tokens, const Device& device) const = 0;

  // In which order a token's sums are added: plans of a problem that say the same give every per-token output the same
  // bits.
  virtual std::string order() const;

  // Estimated time of a call on the device, T >= 1.
  virtual double cost_us(std::int64_t tokens, const Device& device) const = 0;

  // Bytes that a call needs; never less for more tokens. On the launch path.
  virtual std::size_t workspace_bytes(std::int64_t /*tokens*/) const { return 0; }

  // The first bytes of the workspace, a multiple of 16, that are zero when the first kernel begins. On the launch path.
  virtual std::size_t zeroed_bytes(std::int64_t /*tokens*/) const { return 0; }

  // Writes the kernels' `work` struct, with pointers into `workspace`. On the launch path.
  virtual void fill_work(std::int64_t /*tokens*/, void* /*workspace*/, void* /*work*/) const {}

 protected:
  Plan(const Problem& problem, std::string_view family, Parameters parameters)
      : problem_(problem), family_(family), parameters_(std::move(parameters)) {}

  std::vector<Kernel> kernels_;

 private:
  const Problem problem_;
  const std::string_view family_;
  const Parameters parameters_;
};

using PlanPtr = std::shared_ptr<const Plan>;

// Room for the largest `work` struct.
inline constexpr std::size_t max_work_bytes = 256;

// "cluster_size=16 tokens_per_tile=16"
std::string to_string(const Parameters& parameters);
// "FAMILY cluster_size=16 tokens_per_tile=16": how logs, records and users name a plan.
std::string plan_name(std::string_view family, const Parameters& parameters);
std::string to_string(const Plan& plan);

struct Candidate {
  PlanPtr plan;  // null where it is not legal
  Parameters parameters;
  std::string rejected;  // "" or why it is not legal

  bool legal() const { return plan != nullptr; }
};

struct Family {
  std::string_view name;
  // Deterministic. `problem` has passed check().
  std::vector<Candidate> (*candidates)(const Problem& problem, const Device& device);
};

}  // namespace mhcjit::codegen
