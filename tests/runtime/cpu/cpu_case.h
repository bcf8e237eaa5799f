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

#include "codegen/operators.h"
#include "oracle/outputs.h"
#include "oracle/pre.h"
#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "runtime/cpu/pre_backward.h"
#include "runtime/cpu/pre_forward.h"
#include "tests/guarded_buffer.h"

namespace mhcjit::runtime::cpu {

using Bytes = std::vector<std::byte>;
using Tensors = std::map<std::string, Bytes>;

// The outputs of one call. Null for those in `unwanted`.
class Outputs {
 public:
  explicit Outputs(std::set<std::string> unwanted) : unwanted_(std::move(unwanted)) {}

  // `initial` replaces the poison.
  void* add(const std::string& name, std::size_t size, const Tensors& initial = {}) {
    if (unwanted_.contains(name)) return nullptr;
    const auto found = initial.find(name);
    return (found == initial.end() ? buffers_.try_emplace(name, size) : buffers_.try_emplace(name, found->second))
        .first->second.data();
  }

  Tensors take() const {
    Tensors tensors;
    for (const auto& [name, buffer] : buffers_) {
      EXPECT_TRUE(buffer.intact()) << name;
      if (name != "workspace") tensors[name].assign(buffer.content().begin(), buffer.content().end());
    }
    return tensors;
  }

 private:
  std::set<std::string> unwanted_;
  std::map<std::string, test::GuardedBuffer> buffers_;
};

struct CpuCase {
  explicit CpuCase(const oracle::RandomOptions& random, bool has_fp32_dx = false)
      : options(random),
        fp32_dx(has_fp32_dx),
        inputs(oracle::random_inputs(random)),
        gradients(oracle::random_output_gradients(random)) {}

  oracle::RandomOptions options;
  bool fp32_dx = false;
  oracle::Inputs inputs;
  oracle::OutputGradients gradients;  // an emptied one is passed as a null pointer

  codegen::Problem problem(const codegen::Operator& op) const;
  oracle::DTypes dtypes() const { return {options.dtype, fp32_dx}; }
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
std::vector<double> values_of(const CpuCase& c, const Tensors& tensors, const std::string& name);
// `reference` is an oracle::Forward or an oracle::Backward.
template <typename Reference>
void expect_right(const CpuCase& c, const Tensors& tensors, const Reference& reference);

}  // namespace mhcjit::runtime::cpu
