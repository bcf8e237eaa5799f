// A child process for what cannot be done to the test's own: dying in the middle, another user's rights, a small disk.
#pragma once

#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace mhcjit::cache {

// Runs `body` in a forked child; its result (0 to 255) is the child's exit status, -1 when a signal ended it.
template <typename Body>
int status_of_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace mhcjit::cache
