// Kernels are planned for an architecture, and for one of its devices, on which grids and costs depend.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <llvm/Support/Error.h>

namespace mhcjit::codegen {

// Compute capability with its suffix, as NVRTC's --gpu-architecture takes it: sm_80, sm_90a, sm_100f.
struct Architecture {
  int major = 0;
  int minor = 0;
  char suffix = 0;  // 'a', 'f' or 0

  auto operator<=>(const Architecture&) const = default;
};

std::string to_string(const Architecture& architecture);
llvm::Expected<Architecture> parse_architecture(std::string_view text);

// The architecture that kernels are compiled for on a device of this compute capability: from 9.0 on the
// architecture-specific one.
Architecture architecture_of_device(int major, int minor);

inline constexpr int warp_size = 32;
inline constexpr int max_cluster_size = 16;
inline constexpr int registers_per_multiprocessor = 65536;
// The most that a block may ask for on a device with clusters.
inline constexpr int max_opt_in_smem_bytes = 227 * 1024;

struct Device {
  std::string_view name;
  int multiprocessors = 0;
  int smem_bytes_per_multiprocessor = 0;
  double clock_ghz = 0;        // of the multiprocessors under load
  double bytes_per_clock = 0;  // of device memory, read plus written
  // Clusters of each size that run at once, with a multiprocessor for each block; all 0: the device has no clusters.
  std::array<int, max_cluster_size + 1> clusters_at_once = {};

  bool has_clusters() const { return clusters_at_once[1] > 0; }
  // The same device as far as a launch without clusters goes.
  Device without_clusters() const;
  // The same kind of device with this many multiprocessors.
  Device with_multiprocessors(int count) const;
  double microseconds(double clocks) const { return clocks / (clock_ghz * 1e3); }
};

// The device that stands for an architecture if there is none to ask: a100, rtx4090, h200, b200, rtx5090. Every machine
// chooses kernels by it, so that a warm-up without a GPU compiles those that a job asks for.
const Device& device_of(const Architecture& architecture);

}  // namespace mhcjit::codegen
