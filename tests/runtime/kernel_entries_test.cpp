// A kernel is an entry of the cache: a problem has several, problems share them, and what is wrong with one is no
// matter of the others. Its key is its own text, the headers that it includes, the options and the compiler, and
// nothing else.
#include <algorithm>

#include "codegen/emit.h"
#include "runtime/kernel_unit.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

class KernelEntries : public FakeGpuTest {
 protected:
  // Prepares the problem with a new engine and says what that compiled.
  std::vector<std::string> compiled_by(const mhcjit_problem& problem, const char* plan = nullptr) {
    compiler().take_compiled();
    EXPECT_NE(prepare(make_engine(plan), problem), nullptr);
    return sorted(compiler().take_compiled());
  }

  std::vector<std::string> entry_paths() const {
    std::vector<std::string> paths;
    for (const auto& file : std::filesystem::directory_iterator(cache_dir))
      if (file.path().extension() == ".mhcjit") paths.push_back(file.path());
    return sorted(paths);
  }

  // The entry of this kernel. Its key has the name.
  std::string entry_of(const std::string& kernel) const {
    for (const std::string& path : entry_paths())
      if (read_file(path).find(" kernel=" + kernel + "\n") != std::string::npos) return path;
    ADD_FAILURE() << "there is no entry of " << kernel;
    return "";
  }

  static constexpr mhcjit_problem plain_backward = {.op = MHCJIT_PRE_BACKWARD, .n = 4, .d = 256, .dtype = MHCJIT_BF16};
};

TEST_F(KernelEntries, AColdPreparePublishesOneForEachKernel) {
  for (const mhcjit_problem& problem : {forward_problem, backward_problem}) {
    std::filesystem::remove_all(cache_dir);
    EXPECT_EQ(compiled_by(problem), sorted(kernels_of(problem)));
    EXPECT_EQ(entry_paths().size(), kernels_of(problem).size());
    for (const std::string& kernel : kernels_of(problem)) EXPECT_NE(entry_of(kernel), "");
  }
}

// Gamma is a matter of two kernels of backward alone; batch invariance of none.
TEST_F(KernelEntries, ProblemsShareTheirKernels) {
  const std::vector<std::string> of_gamma = {"mhcjit_pre_backward_dx", "mhcjit_pre_backward_phi"};
  mhcjit_problem invariant = plain_backward;
  invariant.batch_invariant = 1;
  for (const bool same_engine : {true, false}) {
    std::filesystem::remove_all(cache_dir);
    EnginePtr engine = make_engine(plan_of_three_kernels);
    prepare(engine, backward_problem);
    const std::size_t entries = entry_paths().size();
    compiler().take_compiled();
    if (!same_engine) engine = make_engine(plan_of_three_kernels);
    prepare(engine, plain_backward);
    EXPECT_EQ(sorted(compiler().take_compiled()), of_gamma);
    EXPECT_EQ(entry_paths().size(), entries + of_gamma.size());
    EXPECT_EQ(counters(engine).disk_hits, same_engine ? 0u : entries - of_gamma.size());
    prepare(engine, invariant);
    EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{});
    EXPECT_EQ(entry_paths().size(), entries + of_gamma.size());
  }
}

TEST_F(KernelEntries, Fp32DxIsAMatterOfDxAndOfWhatItReads) {
  mhcjit_problem fp32_dx = plain_backward;
  fp32_dx.fp32_dx = 1;
  compiled_by(plain_backward, plan_of_three_kernels);
  EXPECT_EQ(compiled_by(fp32_dx, plan_of_three_kernels),
            (std::vector<std::string>{"mhcjit_pre_backward_coefficients", "mhcjit_pre_backward_dx"}));
}

// The one bucket of a batch-invariant problem is the other's last.
TEST_F(KernelEntries, BatchInvarianceSharesAllButTheKernelOfFewTokens) {
  const EnginePtr engine = make_engine();
  mhcjit_problem invariant = forward_problem;
  invariant.batch_invariant = 1;
  mhcjit_compile_result result = {};
  ASSERT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", &result), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(result.cache_hit, 0);
  compiler().take_compiled();
  ASSERT_EQ(mhcjit_compile(engine.get(), &invariant, "sm_90a", &result), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{"mhcjit_pre_forward_few_tokens"});
}

TEST_F(KernelEntries, ADamagedOneIsCompiledAgainAlone) {
  EXPECT_EQ(compiled_by(forward_problem).size(), kernels_of(forward_problem).size());
  const std::string kernel = "mhcjit_pre_forward_one_pass", path = entry_of(kernel), sound = read_file(path);
  std::string bytes = sound;
  bytes[bytes.size() - 20] ^= 1;
  write_file(path, bytes);
  EXPECT_EQ(compiled_by(forward_problem), std::vector<std::string>{kernel});
  EXPECT_EQ(read_file(path).size(), sound.size());
  EXPECT_EQ(compiled_by(forward_problem), std::vector<std::string>{});
}

class KernelKey : public KernelEntries {
 protected:
  static codegen::Problem problem() { return llvm::cantFail(codegen::from_public(forward_problem, {9, 0, 'a'})); }

  static std::string digest(const codegen::Kernel& kernel) {
    const auto templates = llvm::cantFail(runtime::load_templates(""));
    const runtime::CompilerIdentity compiler = {};
    const auto request = runtime::compile_request(problem(), kernel, *templates, compiler);
    return runtime::key_of(problem(), kernel, request, compiler).digest();
  }
};

TEST_F(KernelKey, HasNothingOfTheLaunch) {
  const codegen::PlanPtr plan = buckets_of(forward_problem, plan_without_clusters).front().plan;
  const codegen::Kernel& kernel = plan->kernels()[1];
  const std::string before = digest(kernel);
  codegen::Kernel other = kernel;
  other.max_cluster_size += 2;
  other.is_persistent = !other.is_persistent;
  other.is_cooperative = !other.is_cooperative;
  other.min_blocks += 2;
  other.overlaps_previous = !other.overlaps_previous;
  other.makes = {"h_in"};
  ASSERT_FALSE(other.maps.empty());
  other.maps[0].tokens *= 2;
  EXPECT_EQ(digest(other), before);
  other.dynamic_smem_bytes += 16;
  EXPECT_NE(digest(other), before);
  other = kernel;
  other.constants.push_back({"another", std::int64_t{1}});
  EXPECT_NE(digest(other), before);
}

// Narrow and wide clusters are launched from one cubin.
TEST_F(KernelKey, IsThatOfPlansWhichDifferInTheLaunchAlone) {
  const auto plan_of = [](const char* wanted) { return buckets_of(forward_problem, wanted).back().plan; };
  const codegen::PlanPtr narrow = plan_of("two_pass uses_wgmma=1 row_blocks=1 compiled_cluster_size=2 cluster_size=2");
  const codegen::PlanPtr wide = plan_of("two_pass uses_wgmma=1 row_blocks=1 compiled_cluster_size=2 cluster_size=8");
  ASSERT_NE(to_string(*narrow), to_string(*wide));
  ASSERT_EQ(narrow->kernels().size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(digest(narrow->kernels()[i]), digest(wide->kernels()[i]));
}

class TemplateFolder : public KernelEntries {
 protected:
  void SetUp() override {
    KernelEntries::SetUp();
    for (const runtime::Header& header : llvm::cantFail(runtime::load_templates(""))->headers) {
      const std::filesystem::path path = templates + "/" + std::string(header.name);
      std::filesystem::create_directories(path.parent_path());
      write_file(path, std::string(header.text));
    }
    compiled_by(backward_problem, plan_of_three_kernels);
  }

  void change(const std::string& header) {
    const std::string path = templates + "/" + header;
    write_file(path, read_file(path) + "// changed\n");
  }

  // What an engine with templates from the folder compiles.
  std::vector<std::string> compiled_from_folder() {
    mhcjit_engine_options chosen = options();
    chosen.template_dir = templates.c_str();
    chosen.plan = plan_of_three_kernels;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    const EnginePtr owned(engine);
    compiler().take_compiled();
    EXPECT_NE(prepare(owned, backward_problem), nullptr);
    return sorted(compiler().take_compiled());
  }

  const std::string templates = folder / "templates";
};

TEST_F(TemplateFolder, AHeaderThatAKernelDoesNotIncludeIsNoMatterOfIt) {
  EXPECT_EQ(compiled_from_folder(), std::vector<std::string>{}) << "the same templates in a folder";
  change("pre_forward/one_pass.cuh");
  EXPECT_EQ(compiled_from_folder(), std::vector<std::string>{});
  change("pre_backward/dx.cuh");
  EXPECT_EQ(compiled_from_folder(), std::vector<std::string>{"mhcjit_pre_backward_dx"});
  change("pre_backward/args.cuh");
  EXPECT_EQ(compiled_from_folder(), sorted(kernels_of(backward_problem, plan_of_three_kernels)));
  // Included by what the kernels include.
  change("device/device.cuh");
  EXPECT_EQ(compiled_from_folder(), sorted(kernels_of(backward_problem, plan_of_three_kernels)));
  EXPECT_EQ(compiled_from_folder(), std::vector<std::string>{});
}

}  // namespace
}  // namespace mhcjit::test
