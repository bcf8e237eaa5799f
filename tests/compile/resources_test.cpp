// Every kind of kernel through the real compiler, for each architecture: it compiles without a warning, nothing is kept
// in local memory, and registers and shared memory stay within what the launch plan counts on.
#include <algorithm>
#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/operators.h"
#include "runtime/compiler_identity.h"
#include "runtime/kernel_unit.h"
#include "runtime/nvrtc.h"
#include "runtime/ptxas_log.h"
#include "runtime/template_set.h"
#include "support/error.h"
#include "tests/compile/cheapest_plan.h"

namespace mhcjit::runtime {
namespace {

using codegen::DType;
using codegen::Problem;

template <typename T>
T value_of(llvm::Expected<T> expected) {
  if (expected) return std::move(*expected);
  ADD_FAILURE() << take_failure(expected.takeError()).text;
  return T();
}

// One NVRTC and the embedded templates.
class Toolchain {
 public:
  explicit Toolchain(const char* path)
      : location_(value_of(locate_nvrtc(path, [](const char*) -> const char* { return nullptr; }))),
        identity_(value_of(identify(location_))),
        nvrtc_(value_of(Nvrtc::load(location_))),
        templates_(value_of(load_templates(""))) {}

  CompileRequest request(const Problem& problem, const codegen::Kernel& kernel) const {
    return compile_request(problem, kernel, *templates_, identity_);
  }
  CompileOutput compile(const CompileRequest& request) const { return value_of(nvrtc_->compile(request)); }
  const CompilerIdentity& identity() const { return identity_; }

 private:
  NvrtcLocation location_;
  CompilerIdentity identity_;
  const Nvrtc* nvrtc_;
  std::shared_ptr<const TemplateSet> templates_;
};

void expect_within_budget(const codegen::Kernel& kernel, const CompileOutput& output) {
  SCOPED_TRACE(kernel.name);
  EXPECT_FALSE(output.cubin.empty());
  EXPECT_EQ(output.log.find("warning"), std::string::npos) << output.log;
  const std::vector<cache::KernelResources> kernels = parse_ptxas_log(output.log);
  ASSERT_EQ(kernels.size(), 1U) << output.log;
  const cache::KernelResources& resources = kernels.front();
  EXPECT_EQ(resources.name, kernel.entry());
  EXPECT_EQ(resources.spill_store_bytes, 0);
  EXPECT_EQ(resources.spill_load_bytes, 0);
  EXPECT_EQ(resources.static_smem_bytes, 0);
  EXPECT_GT(resources.registers, 0);
  // The register file of a multiprocessor has 65536; the assembler hands them out to a warp in groups of 256.
  const int registers_per_block = (resources.registers + 7) / 8 * 8 * kernel.threads_per_block;
  EXPECT_LE(registers_per_block * kernel.min_blocks_per_multiprocessor, codegen::registers_per_multiprocessor);
  const std::regex frame("([0-9]+) bytes stack frame");
  for (std::sregex_iterator match(output.log.begin(), output.log.end(), frame), end; match != end; ++match)
    EXPECT_EQ((*match)[1], "0") << output.log;
}

constexpr std::int64_t many_tokens = 8192;

struct Shape {
  int n;
  std::int64_t d;
  DType dtype;
  bool has_gamma;
  bool has_fp32_dx = false;
};

// Plans of one family, with clusters or without.
struct Kind {
  const codegen::Operator* op;
  std::string_view family;
  bool uses_clusters;
};
constexpr Kind one_pass = {&codegen::pre_forward, "one_pass", true};
constexpr Kind few_tokens = {&codegen::pre_forward, "few_tokens", true};
constexpr Kind two_pass = {&codegen::pre_forward, "two_pass", false};
constexpr Kind two_pass_in_clusters = {&codegen::pre_forward, "two_pass", true};
constexpr Kind backward = {&codegen::pre_backward, "portable", false};
constexpr Kind backward_one_pass = {&codegen::pre_backward, "one_pass", true};

struct Case {
  const char* nvrtc;
  Kind kind;
  Problem problem;

  const codegen::Family& family() const {
    const auto named = [&](const codegen::Family* family) { return family->name == kind.family; };
    return **std::ranges::find_if(kind.op->families, named);
  }
};

std::vector<Case> cases() {
  std::vector<Case> list;
  const auto add = [&](const Kind& kind, const char* nvrtc, const std::vector<Shape>& shapes) {
    for (const char* name : {"sm_80", "sm_90a", "sm_100a", "sm_120a"}) {
      const codegen::Architecture architecture = llvm::cantFail(codegen::parse_architecture(name));
      if (kind.uses_clusters && !codegen::device_of(architecture).has_clusters()) continue;
      for (const Shape& shape : shapes)
        list.push_back(
            {nvrtc,
             kind,
             {kind.op, shape.n, shape.d, shape.dtype, shape.has_gamma, false, architecture, shape.has_fp32_dx}});
    }
  };
  const std::vector<Shape> every_kind = {
      {4, 4096, DType::bf16, true},  {4, 127, DType::fp16, true},   {16, 7168, DType::bf16, true},
      {8, 2048, DType::fp32, false}, {1, 8, DType::bf16, true},     {3, 5129, DType::fp32, true},
      {2, 1922, DType::bf16, false}, {6, 2560, DType::fp16, false},
  };
  add(backward, NVRTC_13, every_kind);
  // Each width of a load of 16 bits whose stores are of fp32.
  add(backward, NVRTC_13,
      {{4, 4096, DType::bf16, true, true}, {4, 127, DType::fp16, true, true}, {2, 1922, DType::bf16, false, true}});
  // Rows that begin anywhere, of x that is an operand as it stands: several phases, and one, which has clusters too.
  add(backward, NVRTC_13, {{4, 5129, DType::bf16, true}, {3, 5129, DType::bf16, false}, {4, 5132, DType::bf16, true}});
  add(two_pass, NVRTC_13, every_kind);
  // One block of rows and several, one block a multiprocessor and two, each dtype, each width of a load.
  add(two_pass, NVRTC_13,
      {{4, 4096, DType::bf16, false},
       {4, 4096, DType::fp16, true},
       {4, 4096, DType::fp32, false},
       {6, 2560, DType::bf16, true},
       {6, 2560, DType::fp32, true},
       {8, 2048, DType::bf16, true},
       {8, 2048, DType::fp16, true},
       {12, 1000, DType::fp16, true},
       {1, 1280, DType::bf16, false},
       {5, 1923, DType::bf16, true},
       {8, 127, DType::fp16, true}});
  // Each kernel that multiplies, with the shares of registers and of columns that are chosen.
  add(two_pass_in_clusters, NVRTC_13,
      {{8, 2048, DType::bf16, true},
       {8, 2048, DType::fp16, false},
       {8, 2048, DType::fp32, true},
       {10, 1024, DType::bf16, false},
       {12, 2048, DType::bf16, true},
       {4, 4100, DType::bf16, true},
       {4, 4100, DType::fp16, true},
       {6, 4100, DType::bf16, false},
       {4, 127, DType::bf16, true},
       {7, 4096, DType::bf16, true},
       {16, 1024, DType::fp16, false},
       {1, 124, DType::bf16, false}});
  // The shapes of models, other n, every dtype, with and without gamma.
  add(one_pass, NVRTC_13,
      {{4, 4096, DType::bf16, true},  {4, 4096, DType::fp16, false}, {4, 7168, DType::bf16, true},
       {4, 7168, DType::fp16, true},  {4, 5120, DType::bf16, false}, {4, 2560, DType::fp16, true},
       {4, 1920, DType::bf16, true},  {4, 1280, DType::bf16, false}, {2, 4096, DType::bf16, true},
       {6, 2560, DType::bf16, true},  {6, 2560, DType::fp16, true},  {6, 2048, DType::fp16, false},
       {8, 1024, DType::bf16, true},  {3, 1000, DType::fp16, false}, {1, 512, DType::bf16, true},
       {4, 4096, DType::fp32, true},  {4, 2560, DType::fp32, false}, {4, 1280, DType::fp32, true},
       {6, 1280, DType::fp32, false}, {8, 1000, DType::fp32, true},  {4, 7168, DType::fp32, false},
       {4, 8192, DType::bf16, false}, {5, 2048, DType::bf16, true},  {6, 1920, DType::bf16, false}});
  // One chunk of columns a warp and several, rows that do not fill a block of eight, each dtype, all of phi and a ring.
  add(few_tokens, NVRTC_13,
      {{4, 4096, DType::bf16, true},
       {4, 4096, DType::fp16, true},
       {4, 7168, DType::bf16, false},
       {4, 128, DType::bf16, false},
       {2, 4096, DType::fp16, false},
       {6, 2560, DType::bf16, false},
       {8, 2048, DType::bf16, false},
       {3, 1004, DType::bf16, true},
       {4, 1004, DType::bf16, false},
       {1, 8192, DType::bf16, false},
       {4, 4096, DType::fp32, true},
       {8, 2048, DType::fp32, true},
       {6, 2560, DType::bf16, true},
       {10, 1000, DType::fp16, true}});
  // The shapes of models, other n, each dtype, with and without gamma; in clusters and in larger groups of blocks;
  // eight consumer warps and twelve.
  add(backward_one_pass, NVRTC_13,
      {{4, 4096, DType::bf16, true},
       {4, 4096, DType::fp16, false},
       {4, 2560, DType::bf16, true},
       {4, 2560, DType::fp16, true},
       {4, 1280, DType::bf16, false},
       {4, 1280, DType::fp16, true},
       {4, 1920, DType::bf16, true},
       {4, 7168, DType::bf16, true},
       {4, 7168, DType::fp16, true},
       {4, 5120, DType::bf16, false},
       {3, 1000, DType::bf16, true},
       {3, 2560, DType::fp16, true},
       {2, 4096, DType::bf16, true},
       {2, 1920, DType::fp16, false},
       {1, 2048, DType::bf16, true},
       {1, 520, DType::fp16, true},
       {4, 1280, DType::fp32, true},
       {4, 2560, DType::fp32, true},
       {2, 1280, DType::fp32, false}});

  add(backward, NVRTC_12, {{4, 4096, DType::bf16, true}});
  add(backward_one_pass, NVRTC_12, {{4, 4096, DType::bf16, true}, {4, 2560, DType::fp16, true}});
  add(two_pass, NVRTC_12, {{4, 4096, DType::bf16, true}, {8, 2048, DType::bf16, true}});
  add(one_pass, NVRTC_12, {{4, 4096, DType::bf16, true}, {6, 2560, DType::bf16, true}});
  return list;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const auto& [nvrtc, kind, problem] = info.param;
  return fmt::format("{}_{}_{}{}_n{}_d{}_{}{}{}{}", to_string(problem.architecture), kind.op->name, kind.family,
                     kind.uses_clusters ? "_in_clusters" : "", problem.n, problem.d, to_string(problem.dtype),
                     problem.has_gamma ? "_gamma" : "", problem.has_fp32_dx ? "_fp32_dx" : "",
                     nvrtc == std::string_view(NVRTC_12) ? "_nvrtc12" : "");
}

class Resources : public testing::TestWithParam<Case> {};

// The family's best for many tokens, and all that the library compiles for the problem.
TEST_P(Resources, EveryKernelFits) {
  const auto& [nvrtc, kind, problem] = GetParam();
  const Toolchain toolchain(nvrtc);
  std::vector<codegen::PlanPtr> plans = {
      test::cheapest_plan(problem, GetParam().family(), kind.uses_clusters, many_tokens)};
  ASSERT_NE(plans.front(), nullptr) << to_string(problem) << ": no legal plan";
  for (const codegen::Bucket& bucket : value_of(codegen::choose(problem))) plans.push_back(bucket.plan);
  std::set<std::string> compiled;
  for (const codegen::PlanPtr& plan : plans) {
    SCOPED_TRACE(to_string(problem) + ": " + to_string(*plan));
    for (const codegen::Kernel& kernel : plan->kernels()) {
      const CompileRequest request = toolchain.request(problem, kernel);
      if (compiled.insert(request.source).second) expect_within_budget(kernel, toolchain.compile(request));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Resources, testing::ValuesIn(cases()), name_of);

TEST(Resources, EveryFamilyHasCases) {
  const std::vector<Case> all = cases();
  for (const codegen::Operator* op : codegen::operators())
    for (const codegen::Family* family : op->families)
      EXPECT_TRUE(std::ranges::any_of(all, [&](const Case& one) { return &one.family() == family; }))
          << op->name << " " << family->name;
}

// Equal requests give equal bytes: without that, two machines could not share a cache.
TEST(Compiler, IsDeterministic) {
  const Problem problem = {&codegen::pre_forward, 4, 256, DType::bf16, true, false, {9, 0, 'a'}};
  const Toolchain toolchain(NVRTC_13);
  for (const codegen::Family* family : problem.op->families)
    for (const bool uses_clusters : {false, true}) {
      const codegen::PlanPtr plan = test::cheapest_plan(problem, *family, uses_clusters, many_tokens);
      if (!plan) continue;
      for (const codegen::Kernel& kernel : plan->kernels()) {
        const CompileRequest request = toolchain.request(problem, kernel);
        const std::string first = toolchain.compile(request).cubin;
        EXPECT_FALSE(first.empty());
        EXPECT_EQ(first, toolchain.compile(request).cubin) << kernel.name;
      }
    }
}

// A test that a budget can be missed: a kernel that indexes a register array at run time has a stack frame.
TEST(Resources, ALocalArrayIsSeen) {
  const Toolchain toolchain(NVRTC_13);
  CompileRequest request;
  request.source =
      "extern \"C\" __global__ void local(float* x, int step) {\n"
      "  float a[64];\n"
      "  for (int k = 0; k < 64; ++k) a[k] = x[k];\n"
      "  for (int k = 0; k < 64; ++k) a[k * step % 64] += a[k];\n"
      "  for (int k = 0; k < 64; ++k) x[k] = a[k];\n"
      "}\n";
  request.options = compile_options("sm_90a", toolchain.identity());
  const std::string log = toolchain.compile(request).log;
  EXPECT_EQ(log.find(" 0 bytes stack frame"), std::string::npos) << log;
  EXPECT_NE(log.find("bytes stack frame"), std::string::npos) << log;
}

}  // namespace
}  // namespace mhcjit::runtime
