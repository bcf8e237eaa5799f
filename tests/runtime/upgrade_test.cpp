// The compiler is upgraded under a running fleet: kernels of another compiler are misses, whichever process asks and in
// whichever direction the upgrade goes, and a process that met the old compiler goes on.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

namespace fs = std::filesystem;

struct Counts {
  std::uint64_t misses = 0;
  std::uint64_t disk_hits = 0;

  bool operator==(const Counts&) const = default;
};

std::ostream& operator<<(std::ostream& stream, const Counts& counts) {
  return stream << counts.misses << " misses, " << counts.disk_hits << " disk hits";
}

class UpgradeTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    nvrtc_path = folder / "nvrtc/libnvrtc.so.13";
    fs::create_directory(folder / "nvrtc");
    fs::copy_file(fs::path(FAKE_NVRTC).replace_filename("libnvrtc-builtins.so.13.0"),
                  folder / "nvrtc/libnvrtc-builtins.so.13.0");
    install(read_file(FAKE_NVRTC));
  }

  // As a package manager does: another file takes the name, and who has the old one open keeps it.
  void install(const std::string& bytes) {
    write_file(nvrtc_path + ".new", bytes);
    fs::rename(nvrtc_path + ".new", nvrtc_path);
  }

  // The compiler with one byte of its GNU build-id changed: another build.
  static std::string other_build() {
    std::string bytes = read_file(FAKE_NVRTC);
    // Name size 4, a SHA-1's 20 bytes, type 3, "GNU".
    const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);
    const std::size_t at = bytes.find(note);
    if (at == std::string::npos) {
      ADD_FAILURE() << FAKE_NVRTC << " has no build-id";
      return bytes;
    }
    bytes[at + note.size()] ^= 1;
    return bytes;
  }

  Counts prepare_all(const EnginePtr& engine, const std::vector<mhcjit_problem>& problems) {
    for (const mhcjit_problem& problem : problems) prepare(engine, problem);
    mhcjit_counters counters = {};
    EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
    EXPECT_EQ(counters.corrupt_entries, 0u);
    return {counters.misses, counters.disk_hits};
  }

  // A failed expectation in `body` fails the test.
  template <typename Body>
  void in_a_process(Body&& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      ::_exit(HasFailure() ? 1 : 0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }

  // A process that finds the compiler anew counts this for these problems.
  void expect_counts(const Counts& counts, const std::vector<mhcjit_problem>& problems, const std::string& reason) {
    in_a_process([&] { EXPECT_EQ(prepare_all(make_engine(), problems), counts) << reason; });
  }

  // Kernels.
  const std::uint64_t forward = kernels_of(forward_problem).size(), backward = kernels_of(backward_problem).size();
  const std::vector<mhcjit_problem> forward_alone = {forward_problem}, both = {forward_problem, backward_problem};
};

// Everything in children: a forked child may use CUDA only when its parent has not.
TEST_F(UpgradeTest, AnotherCompilersKernelsAreMisses) {
  if (driver().is_initialised()) GTEST_SKIP() << "an earlier test of this process used CUDA; run this test alone";
  const Counts compiled = {forward + backward, 0}, found = {0, forward + backward};
  expect_counts(compiled, both, "the folder is empty");
  expect_counts(found, both, "the folder is warm");
  install(other_build());
  expect_counts(compiled, both, "a kernel of the old compiler was used for the new one's");
  expect_counts(found, both, "the new compiler's kernels are there too");
  install(read_file(FAKE_NVRTC));
  expect_counts(found, both, "after the downgrade the old kernels are right again");
}

TEST_F(UpgradeTest, AProcessThatKnowsTheOldCompilerGoesOn) {
  const EnginePtr engine = make_engine();
  prepare(engine, forward_problem);
  install(other_build());
  EXPECT_EQ(prepare_all(engine, both), (Counts{forward + backward, 0}));
  EXPECT_EQ(warnings, std::vector<std::string>{});
  const ForwardCall call(forward_problem, 5, workspace_bytes(prepare(engine, forward_problem), 5));
  EXPECT_EQ(mhcjit_pre_forward(prepare(engine, forward_problem), &call.args, nullptr), MHCJIT_SUCCESS)
      << mhcjit_last_error();
}

// The process knows the old compiler by its file and opens the new one: what that compiles may not stand in the folder
// as the old one's work.
TEST_F(UpgradeTest, WhatAnotherCompilerMadeIsNotPublishedAsTheOldOnes) {
  if (driver().is_initialised()) GTEST_SKIP() << "an earlier test of this process used CUDA; run this test alone";
  expect_counts({forward, 0}, forward_alone, "the folder is empty");
  in_a_process([&] {
    const EnginePtr engine = make_engine();
    prepare(engine, forward_problem);
    install(other_build());
    EXPECT_EQ(prepare_all(engine, both), (Counts{backward, forward}));
    mhcjit_counters counters = {};
    EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
    EXPECT_EQ(counters.publish_failures, backward);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find("NVRTC was replaced while this process runs"), std::string::npos) << warnings[0];
  });
  install(read_file(FAKE_NVRTC));
  expect_counts({backward, forward}, both, "the old compiler's key has a kernel that it did not make");
}

}  // namespace
}  // namespace mhcjit::test
