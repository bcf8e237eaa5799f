// The family's kernel goes through the compiler and the cache as the library's do. Apart from walk_test.cpp, since a
// process has one NVRTC, the real one or a fake.
#include "runtime/builder.h"
#include "support/error.h"
#include "tests/family/rows.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::test {
namespace {

template <typename T>
T value_of(llvm::Expected<T> expected) {
  if (expected) return std::move(*expected);
  throw std::runtime_error(take_failure(expected.takeError()).text);
}

// The folder of templates is the library's with the family's own beside them.
class FamilyCompiled : public testing::TestWithParam<const char*> {};

TEST_P(FamilyCompiled, IsCompiledAndKept) {
  const TemporaryFolder folder;
  runtime::Settings settings;
  settings.cache_root = folder.path();
  settings.nvrtc_path = NVRTC_13;
  settings.template_dir = TEMPLATES;
  codegen::Problem problem = small_problem();
  problem.architecture = value_of(codegen::parse_architecture(GetParam()));
  for (const bool is_kept : {false, true}) {
    runtime::Builder builder(settings);
    const runtime::Builder::Built built = value_of(builder.build({problem, "rows"}));
    ASSERT_EQ(built.compiled->built.size(), 1u);
    EXPECT_EQ(built.cache_hit, is_kept);
    const cache::KernelResources& resources = built.compiled->built.front()->compiled.resources;
    EXPECT_EQ(resources.name, "mhcjit_pre_forward_rows");
    EXPECT_GT(resources.registers, 0);
    EXPECT_EQ(resources.spill_store_bytes, 0);
    EXPECT_EQ(resources.spill_load_bytes, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, FamilyCompiled, testing::Values("sm_80", "sm_90a", "sm_120a"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace mhcjit::test
