// Every kind of kernel through the real compiler, for each architecture: it compiles without a warning, nothing is kept
// in local memory, and registers and shared memory stay within what the launch plan counts on.
#include <algorithm>
#include <regex>
#include <span>

#include <gtest/gtest.h>

#include "codegen/heuristic.h"
#include "runtime/compiler.h"
#include "runtime/kernel_units.h"
#include "runtime/nvrtc.h"
#include "runtime/ptxas_log.h"
#include "runtime/template_set.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

using codegen::DType;
using codegen::KernelTemplate;
using codegen::Op;
using codegen::Problem;

struct Compiled {
  codegen::KernelSpec spec;
  std::string log;
  std::vector<cache::KernelResources> kernels;
};

template <typename T>
T value_of(llvm::Expected<T> expected) {
  if (expected) return std::move(*expected);
  ADD_FAILURE() << take_failure(expected.takeError()).text;
  return T();
}

// All kernels of all problems at the same time.
std::vector<Compiled> compile(const char* nvrtc_path, const std::vector<Problem>& problems,
                              KernelTemplate kernel_template) {
  Compiler compiler(nvrtc_path, {});
  const auto identities = value_of(compiler.identities());
  const auto templates = value_of(load_templates(""));
  if (identities.empty() || templates == nullptr) return {};
  std::vector<Compiled> compiled;
  std::vector<CompileRequest> requests;
  std::vector<std::size_t> owners;  // of each request, in `compiled`
  for (const Problem& problem : problems) {
    compiled.push_back({value_of(codegen::choose_spec(problem, kernel_template)), "", {}});
    for (CompileRequest& request : compile_requests(compiled.back().spec, *templates, identities.front())) {
      requests.push_back(std::move(request));
      owners.push_back(compiled.size() - 1);
    }
  }
  const std::vector<CompileOutput> outputs = value_of(compiler.compile(requests));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_FALSE(outputs[i].cubin.empty());
    compiled[owners[i]].log += outputs[i].log + '\n';
  }
  for (Compiled& one : compiled) one.kernels = parse_ptxas_log(one.log);
  return compiled;
}

void expect_within_budget(const Compiled& compiled) {
  SCOPED_TRACE(to_string(compiled.spec));
  EXPECT_EQ(compiled.log.find("warning"), std::string::npos) << compiled.log;
  const std::vector<codegen::StagePlan> stages = codegen::stages(compiled.spec);
  EXPECT_EQ(compiled.kernels.size(), stages.size()) << compiled.log;
  for (const codegen::StagePlan& stage : stages) {
    SCOPED_TRACE(stage.name);
    const auto kernel = std::find_if(compiled.kernels.begin(), compiled.kernels.end(),
                                     [&](const cache::KernelResources& one) { return one.name == stage.entry(); });
    ASSERT_NE(kernel, compiled.kernels.end()) << compiled.log;
    EXPECT_EQ(kernel->spill_store_bytes, 0);
    EXPECT_EQ(kernel->spill_load_bytes, 0);
    EXPECT_EQ(kernel->static_smem_bytes, 0);
    EXPECT_GT(kernel->registers, 0);
    // The register file of a multiprocessor has 65536; the assembler hands them out to a warp in groups of 256.
    const int registers_per_block = (kernel->registers + 7) / 8 * 8 * stage.threads_per_block;
    EXPECT_LE(registers_per_block * stage.min_blocks_per_multiprocessor, 65536);
  }
  const std::regex frame("([0-9]+) bytes stack frame");
  for (std::sregex_iterator match(compiled.log.begin(), compiled.log.end(), frame), end; match != end; ++match)
    EXPECT_EQ((*match)[1], "0") << compiled.log;
}

struct Shape {
  int n;
  std::int64_t d;
  DType dtype;
  bool has_gamma;
};

constexpr Op forward[] = {Op::pre_forward};
constexpr Op both[] = {Op::pre_forward, Op::pre_backward};

class Resources : public testing::TestWithParam<const char*> {
 protected:
  // Each operator of each shape, for the architecture that is the parameter.
  static void expect_fits(KernelTemplate kernel_template, const char* nvrtc, std::span<const Op> ops,
                          std::initializer_list<Shape> shapes) {
    const codegen::Architecture architecture = value_of(codegen::parse_architecture(GetParam()));
    std::vector<Problem> problems;
    for (const Shape& shape : shapes)
      for (const Op op : ops)
        problems.push_back({op, shape.n, shape.d, shape.dtype, shape.has_gamma, false, architecture});
    const std::vector<Compiled> compiled = compile(nvrtc, problems, kernel_template);
    EXPECT_EQ(compiled.size(), problems.size());
    for (const Compiled& one : compiled) expect_within_budget(one);
  }
};

TEST_P(Resources, EveryKindOfKernelFits) {
  expect_fits(KernelTemplate::portable, NVRTC_13, both,
              {{4, 4096, DType::bf16, true},
               {4, 127, DType::fp16, true},
               {16, 7168, DType::bf16, true},
               {8, 2048, DType::fp32, false},
               {1, 8, DType::bf16, true},
               {3, 5129, DType::fp32, true},
               {2, 1922, DType::bf16, false},
               {6, 2560, DType::fp16, false}});
}

TEST_P(Resources, TheUsualShapeFitsWithTheOlderCompiler) {
  expect_fits(KernelTemplate::portable, NVRTC_12, both, {{4, 4096, DType::bf16, true}});
}

// On devices with clusters.
class OnePassResources : public Resources {};

// The shapes of models, other n, every dtype, with and without gamma: of all that nothing is kept in local
// memory.
TEST_P(OnePassResources, EveryKindOfKernelFits) {
  expect_fits(KernelTemplate::one_pass, NVRTC_13, forward,
              {{4, 4096, DType::bf16, true},  {4, 4096, DType::fp16, false}, {4, 7168, DType::bf16, true},
               {4, 7168, DType::fp16, true},  {4, 5120, DType::bf16, false}, {4, 2560, DType::fp16, true},
               {4, 1920, DType::bf16, true},  {4, 1280, DType::bf16, false}, {2, 4096, DType::bf16, true},
               {6, 2560, DType::bf16, true},  {6, 2560, DType::fp16, true},  {6, 2048, DType::fp16, false},
               {8, 1024, DType::bf16, true},  {3, 1000, DType::fp16, false}, {1, 512, DType::bf16, true},
               {4, 4096, DType::fp32, true},  {4, 2560, DType::fp32, false}, {4, 1280, DType::fp32, true},
               {6, 1280, DType::fp32, false}, {8, 1000, DType::fp32, true},  {4, 7168, DType::fp32, false},
               {4, 8192, DType::bf16, false}, {5, 2048, DType::bf16, true},  {6, 1920, DType::bf16, false}});
}

TEST_P(OnePassResources, TheUsualShapesFitWithTheOlderCompiler) {
  expect_fits(KernelTemplate::one_pass, NVRTC_12, forward,
              {{4, 4096, DType::bf16, true}, {6, 2560, DType::bf16, true}});
}

// pre_forward with one block of rows and several, one block a multiprocessor and two, each dtype, each width of a load.
TEST_P(Resources, EveryKindOfForwardKernelFits) {
  expect_fits(KernelTemplate::portable, NVRTC_13, forward,
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
}

TEST_P(Resources, ForwardOfEightStreamsFitsWithTheOlderCompiler) {
  expect_fits(KernelTemplate::portable, NVRTC_12, forward, {{8, 2048, DType::bf16, true}});
}

// Each kernel that multiplies, launched as clusters, with the shares of registers and of columns that are chosen.
TEST_P(OnePassResources, EveryKindOfKernelOfTwoPassesFits) {
  expect_fits(KernelTemplate::two_pass, NVRTC_13, forward,
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
}

// One chunk of columns a warp and several, rows that do not fill a block of eight, each dtype, all of phi and a ring.
TEST_P(OnePassResources, EveryKindOfKernelForFewTokensFits) {
  expect_fits(KernelTemplate::few_tokens, NVRTC_13, forward,
              {{4, 4096, DType::bf16, true},
               {4, 4096, DType::fp16, true},
               {4, 7168, DType::bf16, false},
               {4, 128, DType::bf16, false},
               {2, 4096, DType::fp16, false},
               {6, 2560, DType::bf16, false},
               {8, 2048, DType::bf16, false},
               {3, 1004, DType::bf16, true},
               {1, 8192, DType::bf16, false},
               {4, 4096, DType::fp32, true},
               {8, 2048, DType::fp32, true},
               {6, 2560, DType::bf16, true},
               {10, 1000, DType::fp16, true}});
}

INSTANTIATE_TEST_SUITE_P(Architectures, OnePassResources, testing::Values("sm_90a", "sm_100a"),
                         [](const auto& info) { return std::string(info.param); });

INSTANTIATE_TEST_SUITE_P(Architectures, Resources, testing::Values("sm_80", "sm_90a", "sm_100a", "sm_120a"),
                         [](const auto& info) { return std::string(info.param); });

// Equal requests give equal bytes: without that, two machines could not share a cache.
TEST(Compiler, IsDeterministic) {
  const Problem problem = {Op::pre_forward, 4, 256, DType::bf16, true, false, {9, 0, 'a'}};
  const NvrtcLocation location = value_of(locate_nvrtc(NVRTC_13, [](const char*) -> const char* { return nullptr; }));
  const Nvrtc* nvrtc = value_of(Nvrtc::load(location));
  ASSERT_NE(nvrtc, nullptr);
  const auto spec = value_of(codegen::choose_spec(problem, KernelTemplate::portable));
  const auto templates = value_of(load_templates(""));
  for (const CompileRequest& request : compile_requests(spec, *templates, value_of(identify(location)))) {
    const std::string first = value_of(nvrtc->compile(request)).cubin;
    EXPECT_FALSE(first.empty());
    EXPECT_EQ(first, value_of(nvrtc->compile(request)).cubin);
  }
}

// A test that a budget can be missed: a kernel that indexes a register array at run time has a stack frame.
TEST(Resources, ALocalArrayIsSeen) {
  const NvrtcLocation location = value_of(locate_nvrtc(NVRTC_13, [](const char*) -> const char* { return nullptr; }));
  const Nvrtc* nvrtc = value_of(Nvrtc::load(location));
  ASSERT_NE(nvrtc, nullptr);
  CompileRequest request;
  request.source =
      "extern \"C\" __global__ void local(float* x, int step) {\n"
      "  float a[64];\n"
      "  for (int k = 0; k < 64; ++k) a[k] = x[k];\n"
      "  for (int k = 0; k < 64; ++k) a[k * step % 64] += a[k];\n"
      "  for (int k = 0; k < 64; ++k) x[k] = a[k];\n"
      "}\n";
  request.options = compile_options("sm_90a", value_of(identify(location)));
  const std::string log = value_of(nvrtc->compile(request)).log;
  EXPECT_EQ(log.find(" 0 bytes stack frame"), std::string::npos) << log;
  EXPECT_NE(log.find("bytes stack frame"), std::string::npos) << log;
}

}  // namespace
}  // namespace mhcjit::runtime
