// One problem with random inputs, run on the CPU operator with guard words around every output and workspace, and
// outputs poisoned beforehand: an element that is not written stays NaN and fails every comparison.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "codegen/problem.h"
#include "oracle/compare.h"
#include "oracle/pre.h"
#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "runtime/cpu/pre_cpu.h"

namespace mhcjit::runtime::cpu {

using Bytes = std::vector<std::byte>;
using Tensors = std::map<std::string, Bytes>;

class Guarded {
 public:
  explicit Guarded(std::size_t size) : bytes_(size + 2 * guard, poison) {
    std::fill_n(bytes_.begin(), guard, guard_value);
    std::fill_n(bytes_.end() - guard, guard, guard_value);
  }

  std::byte* data() { return bytes_.data() + guard; }
  Bytes content() const { return {bytes_.begin() + guard, bytes_.end() - guard}; }
  bool guards_are_intact() const {
    const auto is_guard = [](std::byte value) { return value == guard_value; };
    return std::all_of(bytes_.begin(), bytes_.begin() + guard, is_guard) &&
           std::all_of(bytes_.end() - guard, bytes_.end(), is_guard);
  }

 private:
  static constexpr std::ptrdiff_t guard = 64;
  static constexpr std::byte poison{0xff};
  static constexpr std::byte guard_value{0xa5};
  Bytes bytes_;
};

// The outputs of one call. Null for those in `unwanted`.
class Outputs {
 public:
  explicit Outputs(std::set<std::string> unwanted) : unwanted_(std::move(unwanted)) {}

  // `initial` replaces the poison.
  void* add(const std::string& name, std::size_t size, const Tensors& initial = {}) {
    if (unwanted_.contains(name)) return nullptr;
    Guarded& buffer = buffers_.try_emplace(name, size).first->second;
    if (const auto found = initial.find(name); found != initial.end()) {
      std::copy(found->second.begin(), found->second.end(), buffer.data());
    }
    return buffer.data();
  }

  float* add_floats(const std::string& name, std::int64_t count, const Tensors& initial = {}) {
    return reinterpret_cast<float*>(add(name, static_cast<std::size_t>(count) * sizeof(float), initial));
  }

  Tensors take() const {
    Tensors tensors;
    for (const auto& [name, buffer] : buffers_) {
      EXPECT_TRUE(buffer.guards_are_intact()) << name;
      if (name != "workspace") tensors[name] = buffer.content();
    }
    return tensors;
  }

 private:
  std::set<std::string> unwanted_;
  std::map<std::string, Guarded> buffers_;
};

struct CpuCase {
  explicit CpuCase(const oracle::RandomOptions& random)
      : options(random), inputs(oracle::random_inputs(random)), gradients(oracle::random_output_gradients(random)) {}

  oracle::RandomOptions options;
  oracle::Inputs inputs;
  oracle::OutputGradients gradients;  // an emptied one is passed as a null pointer

  codegen::Problem problem(codegen::Op op) const;
  // Tokens [first, first + count) alone.
  CpuCase tokens(std::int64_t first, std::int64_t count) const;
};

struct BackwardOptions {
  std::set<std::string> unwanted;
  Tensors initial;  // where present, the outputs' content before the call
  bool accumulate_dx = false;
  bool accumulate_parameters = false;
};

// h_in, h_post, h_res and, unless unwanted, inv_rms, h_mix and h_pre.
Tensors run_forward(const CpuCase& c, unsigned threads, const std::set<std::string>& unwanted = {});
// `saved` is what run_forward returned.
Tensors run_backward(const CpuCase& c, const Tensors& saved, unsigned threads, const BackwardOptions& options = {});

oracle::Backward oracle_backward(const CpuCase& c);
mhcjit_dtype dtype_of(const CpuCase& c, const std::string& name);
std::vector<double> values_of(const CpuCase& c, const Tensors& tensors, const std::string& name);
void expect_within_bound(const CpuCase& c, const Tensors& tensors, const std::string& name,
                         const std::vector<double>& reference);
void expect_within_bounds(const CpuCase& c, const Tensors& tensors, const oracle::Forward& reference);
void expect_within_bounds(const CpuCase& c, const Tensors& tensors, const oracle::Backward& reference);

}  // namespace mhcjit::runtime::cpu
