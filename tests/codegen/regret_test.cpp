// What `choose` costs on the devices that were measured: the time of the plan that it gives, over that of the fastest
// candidate. The measurements are docs/results/DEVICE/candidates.tsv, which `mhcjit bench --candidates` writes.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

// One measured shape.
struct Shape {
  Problem problem;
  std::int64_t tokens = 0;

  auto operator<=>(const Shape&) const = default;
};

// The times of the candidates that were right, by the name of their plan.
using Times = std::map<std::string, double>;

struct Measurements {
  Architecture architecture;
  std::map<Shape, Times> shapes;
};

// What the choice may lose on a device. More is lost where the measurements show that the cost does not see what
// decides: at few tokens the parts of a launch that it holds for constant, and loads of less than 4 bytes.
struct Bounds {
  double many_tokens;   // T >= 8192, the largest
  double mean;          // of all shapes, geometric
  double few_tokens;    // T < 8192
  double narrow_loads;  // rows that are no multiple of 4 bytes
  int unmeasured;       // shapes whose chosen plan the measurements do not have
};

const std::map<std::string, Bounds> bounds = {
    {"h200", {.many_tokens = 1.03, .mean = 1.012, .few_tokens = 1.055, .narrow_loads = 1.085, .unmeasured = 0}},
    // Planned as an H200, whose memory is faster: clusters that keep up with less win here.
    {"h100", {.many_tokens = 1.075, .mean = 1.025, .few_tokens = 1.095, .narrow_loads = 1.045, .unmeasured = 0}},
};

Measurements read(const std::filesystem::path& path) {
  Measurements measured;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    constexpr std::string_view architecture = "# architecture: ";
    if (line.starts_with(architecture))
      measured.architecture = llvm::cantFail(parse_architecture(line.substr(architecture.size())));
    if (line.starts_with('#') || line.starts_with("op\t")) continue;
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
    EXPECT_EQ(fields.size(), 13u) << path << ": " << line;
    if (fields.size() != 13) continue;
    const Shape shape = {{llvm::cantFail(parse_operator(fields[0])), std::stoi(fields[1]), std::stoll(fields[2]),
                          llvm::cantFail(parse_dtype(fields[4])), fields[5] == "1", false, measured.architecture},
                         std::stoll(fields[3])};
    if (fields[12] == "1") measured.shapes[shape][fields[6] + ' ' + fields[7]] = std::stod(fields[8]);
  }
  return measured;
}

double allowed(const Shape& shape, const Bounds& bounds) {
  constexpr std::int64_t many_tokens = 8192;
  if (shape.problem.d * bytes_of(shape.problem.dtype) % 4 != 0) return bounds.narrow_loads;
  return shape.tokens < many_tokens ? bounds.few_tokens : bounds.many_tokens;
}

class Regret : public testing::TestWithParam<std::string> {};

TEST_P(Regret, StaysWithinItsBounds) {
  const std::string& device = GetParam();
  ASSERT_TRUE(bounds.contains(device)) << "state what the choice may lose on it";
  const Bounds& bound = bounds.at(device);
  const Measurements measured = read(std::filesystem::path(RESULTS_DIR) / device / "candidates.tsv");
  ASSERT_GE(measured.shapes.size(), 20u);

  std::string table;
  double logarithms = 0.0;
  int judged = 0;
  int beyond = 0;
  for (const auto& [shape, times] : measured.shapes) {
    const std::string chosen = to_string(*bucket_of(llvm::cantFail(choose(shape.problem)), shape.tokens).plan);
    const auto best = std::ranges::min_element(times, {}, [](const auto& one) { return one.second; });
    const std::string name = fmt::format("{} T={}", to_string(shape.problem), shape.tokens);
    const auto found = times.find(chosen);
    if (found == times.end()) {
      table += fmt::format("{}: not measured: {}\n", name, chosen);
      continue;
    }
    const double ratio = found->second / best->second;
    ++judged;
    logarithms += std::log(ratio);
    const bool is_beyond = ratio > allowed(shape, bound);
    beyond += is_beyond ? 1 : 0;
    table += fmt::format("{}: {:.4f}, allowed {:.4f}{}: {:.2f} us {}; best {:.2f} us {}\n", name, ratio,
                         allowed(shape, bound), is_beyond ? " BEYOND" : "", found->second, chosen, best->second,
                         best->first);
  }
  EXPECT_EQ(beyond, 0) << table;
  EXPECT_LE(std::exp(logarithms / judged), bound.mean) << table;
  EXPECT_LE(static_cast<int>(measured.shapes.size()) - judged, bound.unmeasured) << table;
}

std::vector<std::string> measured_devices() {
  std::vector<std::string> devices;
  for (const auto& folder : std::filesystem::directory_iterator(RESULTS_DIR))
    if (exists(folder.path() / "candidates.tsv")) devices.push_back(folder.path().filename());
  std::ranges::sort(devices);
  return devices;
}

INSTANTIATE_TEST_SUITE_P(Devices, Regret, testing::ValuesIn(measured_devices()),
                         [](const auto& info) { return info.param; });

TEST(RegretDevices, AllThatHaveBoundsAreMeasured) {
  for (const auto& [device, bound] : bounds)
    EXPECT_TRUE(exists(std::filesystem::path(RESULTS_DIR) / device / "candidates.tsv")) << device;
}

}  // namespace
}  // namespace mhcjit::codegen
