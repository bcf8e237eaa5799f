// Child processes, for what cannot be done to the test's own (dying in the middle, another user's rights, a small disk)
// and for what several do at the same time.
#pragma once

#include <cstdlib>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace mhcjit::cache {

// A forked child that ends with the result of `body` (0 to 255) as its exit status.
template <typename Body>
pid_t start_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  return child;
}

// Waits for the child's end. Its exit status, or -1 when a signal ended it.
inline int wait_for_child(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The same of a child that runs `body`.
template <typename Body>
int status_of_child(Body&& body) {
  return wait_for_child(start_child(body));
}

// Runs `body` in `count` children at the same time, each with its number from 0, and expects 0 of each.
template <typename Body>
void expect_children_succeed(int count, Body&& body) {
  std::vector<pid_t> children;
  for (int number = 0; number < count; ++number) children.push_back(start_child([&] { return body(number); }));
  for (int number = 0; number < count; ++number) EXPECT_EQ(wait_for_child(children[number]), 0) << "child " << number;
}

}  // namespace mhcjit::cache
