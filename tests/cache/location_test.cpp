// The cache must never land in the current folder or in /tmp because a variable is missing, empty or relative.
#include "cache/location.h"

#include <map>

#include <gtest/gtest.h>

namespace mhcjit::cache {
namespace {

using Environment = std::map<std::string, std::string>;

auto lookup_in(const Environment& environment) {
  return [&environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  };
}

std::string root_with(const Environment& environment) { return default_root(lookup_in(environment)); }

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

TEST(ReadOnlyRoots, AreTheAbsolutePathsOfAColonList) {
  const auto roots_with = [](const Environment& environment) {
    return default_read_only_roots(lookup_in(environment));
  };
  EXPECT_EQ(roots_with({{"MHCJIT_CACHE_RO", ":/a:b:/c d::./e:"}}), (std::vector<std::string>{"/a", "/c d"}));
  EXPECT_EQ(roots_with({{"MHCJIT_CACHE_RO", ""}}), std::vector<std::string>{});
  EXPECT_EQ(roots_with({}), std::vector<std::string>{});
}

TEST(RuntimeFolder, IsBelowTheSystemsOrNowhere) {
  const auto folder_with = [](const Environment& environment) { return runtime_folder(lookup_in(environment)); };
  EXPECT_EQ(folder_with({{"XDG_RUNTIME_DIR", "/run/user/7"}}), "/run/user/7/mhcjit");
  EXPECT_EQ(folder_with({{"XDG_RUNTIME_DIR", "run"}}), "");
  EXPECT_EQ(folder_with({}), "");
}

}  // namespace
}  // namespace mhcjit::cache
