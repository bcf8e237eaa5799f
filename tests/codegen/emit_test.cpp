// The emitted unit of a kernel: one golden a family, compared exactly, and what does and does not change the text.
//
// MHCJIT_UPDATE_GOLDENS=1 in the environment rewrites the goldens in the source tree.
#include "codegen/emit.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

std::string golden_path(const Operator& op, const Family& family) {
  return fmt::format("{}/{}_{}.cu", GOLDEN_DIR, op.name, family.name);
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The first legal candidate, which no change of a cost moves, and of its kernels the middle one.
std::string emitted(const Operator& op, const Family& family) {
  const Problem problem = {&op, 4, 4096, DType::bf16, true, false, hopper};
  for (const Candidate& candidate : family.candidates(problem, device_of(problem.architecture)))
    if (candidate.legal()) return emit(problem, candidate.plan->kernels()[candidate.plan->kernels().size() / 2]);
  return "";
}

TEST(Emit, MatchesTheGoldenOfEachFamily) {
  const bool updates = std::getenv("MHCJIT_UPDATE_GOLDENS") != nullptr;
  for (const Operator* op : operators())
    for (const Family* family : op->families) {
      const std::string path = golden_path(*op, *family);
      const std::string text = emitted(*op, *family);
      if (updates) std::ofstream(path) << text;
      EXPECT_EQ(text, read(path)) << path << "; where the change is meant, MHCJIT_UPDATE_GOLDENS=1 rewrites it";
    }
}

TEST(Emit, EveryPartOfTheProblemChangesTheText) {
  const Problem base = {&pre_forward, 4, 256, DType::bf16, false, false, hopper};
  std::vector<Problem> others(5, base);
  others[0].n = 3;
  others[1].d = 128;
  others[2].dtype = DType::fp16;
  others[3].has_gamma = true;
  others[4].architecture = {8, 0, 0};
  const auto texts = [](const Problem& problem) { return texts_of(problem, llvm::cantFail(choose(problem))); };
  for (const Problem& other : others) EXPECT_NE(texts(other), texts(base)) << to_string(other);
  Problem backward = base;
  backward.op = &pre_backward;
  EXPECT_NE(texts(backward), texts(base));
  Problem fp32_dx = backward;
  fp32_dx.has_fp32_dx = true;
  EXPECT_NE(texts(fp32_dx), texts(backward));
}

// A cubin serves every T and every launch: no number of these is in its text, which its cache key holds.
TEST(Emit, HasNothingOfTheLaunch) {
  for (const Operator* op : operators()) {
    const Problem problem = {op, 8, 2048, DType::bf16, true, false, hopper};
    for_legal_plans(problem, [&](const Plan& plan) {
      for (const Kernel& kernel : plan.kernels()) {
        Kernel launched = kernel;
        launched.max_cluster_size += 1;
        launched.is_persistent = !kernel.is_persistent;
        launched.is_cooperative = !kernel.is_cooperative;
        launched.overlaps_previous = !kernel.overlaps_previous;
        launched.leaves_shared_memory = !kernel.leaves_shared_memory;
        launched.makes.emplace_back("h_in");
        EXPECT_EQ(emit(problem, launched), emit(problem, kernel)) << kernel.name;
      }
    });
    Problem invariant = problem;
    invariant.batch_invariant = true;
    const PlanPtr plan = llvm::cantFail(choose(problem)).back().plan;
    for (const Kernel& kernel : plan->kernels()) EXPECT_EQ(emit(invariant, kernel), emit(problem, kernel));
  }
}

TEST(Emit, HasAllThatDecidesTheCubin) {
  for (const Operator* op : operators()) {
    const Problem problem = {op, 4, 4096, DType::bf16, true, false, hopper};
    for_legal_plans(problem, [&](const Plan& plan) {
      for (const Kernel& kernel : plan.kernels()) {
        const std::string text = emit(problem, kernel);
        const auto expect_changed = [&](const char* what, auto change) {
          Kernel changed = kernel;
          change(changed);
          EXPECT_NE(emit(problem, changed), text) << kernel.name << " " << what;
        };
        expect_changed("name", [](Kernel& k) { k.name += "x"; });
        expect_changed("header", [](Kernel& k) { k.header += "x"; });
        expect_changed("plan", [](Kernel& k) { k.plan += "x"; });
        expect_changed("work", [](Kernel& k) { k.work += "x"; });
        expect_changed("threads", [](Kernel& k) { k.threads_per_block += 32; });
        expect_changed("blocks", [](Kernel& k) { k.min_blocks_per_multiprocessor += 1; });
        expect_changed("shared memory", [](Kernel& k) { k.dynamic_smem_bytes += 16; });
        expect_changed("maps", [](Kernel& k) { k.maps.push_back({"x", 8, 8, 1}); });
        if (!kernel.work.empty()) expect_changed("work bytes", [](Kernel& k) { k.work_bytes += 8; });
        for (std::size_t i = 0; i < kernel.constants.size(); ++i)
          expect_changed("constant",
                         [i](Kernel& k) { std::visit([](auto& value) { value = !value; }, k.constants[i].value); });
      }
    });
  }
}

// Kernels of the same name in a problem's buckets are one text or have one each; those that are shared are compiled
// once.
TEST(Emit, GivesKernelsThatBucketsShareOneText) {
  const Problem problem = forward_of(8, 2048);
  const std::vector<Bucket> buckets = llvm::cantFail(choose(problem, {.wanted = "two_pass compiled_cluster_size=2"}));
  ASSERT_EQ(buckets.size(), 2u) << "clusters of two sizes, of one kernel";
  EXPECT_NE(buckets[0].plan->parameter("cluster_size"), buckets[1].plan->parameter("cluster_size"));
  EXPECT_EQ(texts_of(problem, buckets).size(), buckets[0].plan->kernels().size());
}

}  // namespace
}  // namespace mhcjit::codegen
