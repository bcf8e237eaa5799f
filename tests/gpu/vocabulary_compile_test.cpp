// The kernels that are not the library's own through the real compiler, without a GPU: a hardware run must not be where
// their first error is found.
#include <gtest/gtest.h>

#include "holder.h"
#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"
#include "runtime/template_set.h"
#include "support/error.h"
#include "vocabulary.h"

namespace mhcjit::gpu {
namespace {

template <typename T>
T value_of(llvm::Expected<T> expected) {
  if (expected) return std::move(*expected);
  ADD_FAILURE() << take_failure(expected.takeError()).text;
  return T();
}

// The cubin, "" when there is none.
std::string compile(const char* library, const char* architecture, const char* source) {
  const auto location = value_of(runtime::locate_nvrtc(library, [](const char*) -> const char* { return nullptr; }));
  const auto* nvrtc = value_of(runtime::Nvrtc::load(location));
  const auto templates = value_of(runtime::load_templates(""));
  const auto identity = value_of(runtime::identify(location));
  if (::testing::Test::HasFailure()) return "";
  const auto output =
      value_of(nvrtc->compile({source, templates->headers, runtime::compile_options(architecture, identity), ""}));
  EXPECT_EQ(output.log.find("warning"), std::string::npos) << output.log;
  return output.cubin;
}

using Parameters = std::tuple<const char*, const char*>;

std::string name_of(const ::testing::TestParamInfo<Parameters>& info) {
  return std::string(std::get<0>(info.param) == std::string(NVRTC_13) ? "NVRTC_13_" : "NVRTC_12_") +
         std::get<1>(info.param);
}

class VocabularySource : public ::testing::TestWithParam<Parameters> {};

TEST_P(VocabularySource, Compiles) {
  const auto [library, architecture] = GetParam();
  EXPECT_NE(compile(library, architecture, vocabulary_source).find("vocabulary_multiply_add_bf16"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, VocabularySource,
                         ::testing::Combine(::testing::Values(NVRTC_13, NVRTC_12),
                                            ::testing::Values("sm_80", "sm_90a", "sm_100a", "sm_120a")),
                         name_of);

class AsyncVocabularySource : public ::testing::TestWithParam<Parameters> {};

TEST_P(AsyncVocabularySource, Compiles) {
  const auto [library, architecture] = GetParam();
  EXPECT_NE(compile(library, architecture, async_vocabulary_source).find("vocabulary_copy_box"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, AsyncVocabularySource,
                         ::testing::Combine(::testing::Values(NVRTC_13, NVRTC_12),
                                            ::testing::Values("sm_90a", "sm_100a", "sm_120a")),
                         name_of);

class WgmmaVocabularySource : public ::testing::TestWithParam<Parameters> {};

TEST_P(WgmmaVocabularySource, Compiles) {
  const auto [library, architecture] = GetParam();
  EXPECT_NE(compile(library, architecture, wgmma_vocabulary_source).find("vocabulary_wgmma_bf16_64"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, WgmmaVocabularySource,
                         ::testing::Combine(::testing::Values(NVRTC_13, NVRTC_12), ::testing::Values("sm_90a")),
                         name_of);

class HolderSource : public ::testing::TestWithParam<Parameters> {};

TEST_P(HolderSource, Compiles) {
  const auto [library, architecture] = GetParam();
  EXPECT_NE(compile(library, architecture, holder_source).find("hold"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, HolderSource,
                         ::testing::Combine(::testing::Values(NVRTC_13, NVRTC_12),
                                            ::testing::Values("sm_80", "sm_90a", "sm_100a", "sm_120a")),
                         name_of);

}  // namespace
}  // namespace mhcjit::gpu
