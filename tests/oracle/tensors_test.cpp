// What backward takes from forward: all that one writes and the other reads, each tensor where it belongs.
#include "oracle/tensors.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace mhcjit::oracle {
namespace {

template <typename Args>
std::set<std::string_view> tensors_of(Use use) {
  Args args = {};
  std::set<std::string_view> names;
  visit_tensors({.T = 1, .n = 4, .D = 8, .has_gamma = true}, args, [&](const Tensor& tensor, auto&) {
    if (tensor.use == use) names.insert(tensor.name);
  });
  return names;
}

TEST(SavedByForward, IsWhatForwardWritesAndBackwardReads) {
  std::set<std::string_view> expected = tensors_of<mhcjit_pre_forward_args>(Use::output);
  const std::set<std::string_view> read = tensors_of<mhcjit_pre_backward_args>(Use::input);
  std::erase_if(expected, [&](std::string_view name) { return !read.contains(name); });
  ASSERT_EQ(expected.size(), 4u);

  std::map<std::string_view, std::vector<double>> given;
  const Forward saved = saved_by_forward([&](const char* name) {
    const auto number = static_cast<double>(given.size() + 1);
    return given[name] = std::vector<double>(3, number);
  });
  std::set<std::string_view> asked;
  for (const auto& [name, values] : given) asked.insert(name);
  EXPECT_EQ(asked, expected);
  const Values taken = values_of({}, saved, {});
  for (const auto& [name, values] : given) {
    const std::span<const double> there = taken.at(name);
    EXPECT_EQ(std::vector<double>(there.begin(), there.end()), values) << name;
  }
}

}  // namespace
}  // namespace mhcjit::oracle
