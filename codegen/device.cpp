#include "codegen/device.h"

#include <charconv>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

// The driver's answers for an H100, which are an H200's too. A cluster stays within a group of multiprocessors: two of
// them have 18, five have 16, one has 8, and eight multiprocessors stand in pairs.
constexpr std::array<int, max_cluster_size + 1> hopper_clusters() {
  std::array<int, max_cluster_size + 1> clusters = {};
  for (int size = 1; size <= max_cluster_size; ++size)
    clusters[size] = 2 * (18 / size) + 5 * (16 / size) + 8 / size + (size <= 2 ? 8 / size : 0);
  return clusters;
}

// An H200's clock under load and bytes a clock are measured. The others have the boost clock of the datasheet, and its
// bandwidth over that clock; an a100 and a b200 have not been measured.
constexpr Device a100 = {"a100", 108, 164 * 1024, 1.41, 1445.0, {}};
constexpr Device rtx4090 = {"rtx4090", 128, 100 * 1024, 2.52, 400.0, {}};
constexpr Device h200 = {"h200", 132, 228 * 1024, 1.755, 2370.0, hopper_clusters()};
constexpr Device b200 = {"b200", 148, 228 * 1024, 1.85, 4320.0, hopper_clusters()};
constexpr Device rtx5090 = {"rtx5090", 170, 100 * 1024, 2.41, 743.0, {}};

}  // namespace

std::string to_string(const Architecture& architecture) {
  std::string text = fmt::format("sm_{}{}", architecture.major, architecture.minor);
  if (architecture.suffix != 0) text += architecture.suffix;
  return text;
}

llvm::Expected<Architecture> parse_architecture(std::string_view text) {
  std::string_view digits = text;
  Architecture architecture;
  int number = 0;
  bool valid = digits.starts_with("sm_");
  if (valid) {
    digits.remove_prefix(3);
    if (digits.ends_with('a') || digits.ends_with('f')) {
      architecture.suffix = digits.back();
      digits.remove_suffix(1);
    }
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    valid = error == std::errc() && end == digits.data() + digits.size() && digits.size() >= 2 && digits.size() <= 3;
  }
  if (!valid || number < 80)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                      "architecture is '{}', allowed: sm_80 and newer, such as sm_80, sm_89, sm_90a, sm_100a, sm_120a",
                      text);
  architecture.major = number / 10;
  architecture.minor = number % 10;
  return architecture;
}

Architecture architecture_of_device(int major, int minor) { return {major, minor, major >= 9 ? 'a' : '\0'}; }

Device Device::without_clusters() const {
  Device device = *this;
  device.clusters_at_once = {};
  return device;
}

Device Device::with_multiprocessors(int count) const {
  Device device = *this;
  device.multiprocessors = count;
  if (count == multiprocessors) return device;
  // A cut-down device does not tell its groups of multiprocessors: it gets the same shares of the whole.
  for (int size = 1; size <= max_cluster_size; ++size) {
    const int clusters = clusters_at_once[size] * count / multiprocessors;
    device.clusters_at_once[size] = clusters_at_once[size] == 0 ? 0 : clusters < 1 ? 1 : clusters;
  }
  return device;
}

const Device& device_of(const Architecture& architecture) {
  switch (architecture.major) {
    case 8: return architecture.minor == 0 || architecture.minor == 7 ? a100 : rtx4090;
    case 9: return h200;
    case 10: return b200;
    default: return rtx5090;
  }
}

}  // namespace mhcjit::codegen
