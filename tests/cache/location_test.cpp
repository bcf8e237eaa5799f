// The cache must never land in the current folder or in /tmp because a variable is missing, empty or relative.
#include "cache/location.h"

#include <map>

#include <gtest/gtest.h>

namespace mhcjit::cache {
namespace {

std::string root_with(const std::map<std::string, std::string>& environment) {
  return default_root([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(DefaultRoot, TakesTheFirstVariableThatIsSet) {
  EXPECT_EQ(root_with({{"MHCJIT_CACHE_DIR", "/a"}, {"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}), "/a");
  EXPECT_EQ(root_with({{"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}), "/b/mhcjit");
  EXPECT_EQ(root_with({{"HOME", "/c"}}), "/c/.cache/mhcjit");
}

TEST(DefaultRoot, PassesOverEmptyAndRelativeValues) {
  EXPECT_EQ(root_with({{"MHCJIT_CACHE_DIR", "a"}, {"XDG_CACHE_HOME", "./b"}, {"HOME", "/c"}}), "/c/.cache/mhcjit");
  EXPECT_EQ(root_with({{"MHCJIT_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/b"}}), "/b/mhcjit");
}

TEST(DefaultRoot, IsNoPlaceAtAllWhenNothingIsUsable) {
  EXPECT_EQ(root_with({}), "");
  EXPECT_EQ(root_with({{"MHCJIT_CACHE_DIR", ".."}, {"XDG_CACHE_HOME", "x"}, {"HOME", ""}}), "");
}

}  // namespace
}  // namespace mhcjit::cache
