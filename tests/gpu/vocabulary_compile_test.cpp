// The vocabulary's kernels through the real compiler, without a GPU: a hardware run must not be where their first
// error is found.
#include <gtest/gtest.h>

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

class VocabularySource : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(VocabularySource, Compiles) {
  const auto [library, architecture] = GetParam();
  const auto location = value_of(runtime::locate_nvrtc(library, [](const char*) -> const char* { return nullptr; }));
  const auto* nvrtc = value_of(runtime::Nvrtc::load(location));
  const auto templates = value_of(runtime::load_templates(""));
  const auto identity = value_of(runtime::identify(location));
  ASSERT_FALSE(HasFailure());
  const auto output = value_of(
      nvrtc->compile({vocabulary_source, templates->headers, runtime::compile_options(architecture, identity), ""}));
  EXPECT_EQ(output.log.find("warning"), std::string::npos) << output.log;
  EXPECT_NE(output.cubin.find("vocabulary_shuffle_xor"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(, VocabularySource,
                         ::testing::Combine(::testing::Values(NVRTC_13, NVRTC_12),
                                            ::testing::Values("sm_80", "sm_90a", "sm_100a", "sm_120a")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) == std::string(NVRTC_13) ? "NVRTC_13_"
                                                                                               : "NVRTC_12_") +
                                  std::get<1>(info.param);
                         });

}  // namespace
}  // namespace mhcjit::gpu
