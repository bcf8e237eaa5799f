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

std::string root_with(const Environment& environment) {
  std::vector<PassedOver> passed_over;
  return default_root(lookup_in(environment), passed_over);
}

std::vector<std::string> texts(const std::vector<PassedOver>& places) {
  std::vector<std::string> texts;
  texts.reserve(places.size());
  for (const PassedOver& place : places) texts.push_back(to_string(place));
  return texts;
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

TEST(DefaultRoot, NamesWhatItPassesOver) {
  const auto passed_over_with = [](const Environment& environment) {
    std::vector<PassedOver> places;
    default_root(lookup_in(environment), places);
    return texts(places);
  };
  EXPECT_EQ(passed_over_with({{"MHCJIT_CACHE_DIR", "a"}, {"XDG_CACHE_HOME", "~/b"}, {"HOME", "/c"}}),
            (std::vector<std::string>{"MHCJIT_CACHE_DIR is 'a', allowed: an absolute path; it is not used",
                                      "XDG_CACHE_HOME is '~/b', allowed: an absolute path (no shell has replaced the "
                                      "~: write $HOME); it is not used"}));
  EXPECT_EQ(passed_over_with({{"MHCJIT_CACHE_DIR", "/a"}, {"XDG_CACHE_HOME", "b"}, {"HOME", "c"}}),
            std::vector<std::string>{})
      << "nobody looks there";
  EXPECT_EQ(passed_over_with({{"MHCJIT_CACHE_DIR", ""}, {"HOME", "/c"}}), std::vector<std::string>{});
}

TEST(ReadOnlyRoots, AreTheAbsolutePathsOfAColonList) {
  std::vector<PassedOver> places;
  const auto roots_with = [&places](const Environment& environment) {
    places.clear();
    return default_read_only_roots(lookup_in(environment), places);
  };
  EXPECT_EQ(roots_with({{"MHCJIT_CACHE_RO", ":/a:b:/c d::./e:"}}), (std::vector<std::string>{"/a", "/c d"}));
  EXPECT_EQ(texts(places),
            (std::vector<std::string>{"MHCJIT_CACHE_RO is 'b', allowed: an absolute path; it is not used",
                                      "MHCJIT_CACHE_RO is './e', allowed: an absolute path; it is not used"}));
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
