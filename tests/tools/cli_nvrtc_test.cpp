// Which NVRTC the program finds by itself, and what it says where there is none.
#include <algorithm>

#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

namespace fs = std::filesystem;

// A copy of the program in a folder of its own, which nothing in the environment leads to NVRTC.
class CliNvrtc : public ::testing::Test {
 protected:
  CliNvrtc() {
    fs::create_directory(cli.file("bin"));
    fs::copy_file(std::string(MHCJIT_CLI_FOLDER) + "/mhcjit", program);
    cli.environment.erase("MHCJIT_NVRTC");
  }

  std::string nvrtc(const char* field) const {
    const llvm::json::Object found = json_of(cli.shell(program + " doctor --json"));
    return found.getObject("nvrtc")->getString(field).value_or("").str();
  }

  Cli cli;
  const std::string program = cli.file("bin/mhcjit");
};

TEST_F(CliNvrtc, FindsAnNvrtcBesideTheProgram) {
  fs::create_symlink(MHCJIT_TEST_NVRTC, cli.file("bin/libnvrtc.so.13"));
  EXPECT_EQ(nvrtc("found_by"), "beside the program");
  EXPECT_EQ(nvrtc("path"), fs::canonical(MHCJIT_TEST_NVRTC));
  fs::permissions(cli.file("bin"), fs::perms::all);
  EXPECT_NE(nvrtc("found_by"), "beside the program") << "anybody may have put it there";
}

// The build folder's own is what README's commands compile with.
TEST_F(CliNvrtc, TheBuildFolderHasTheNvrtcOfTheScripts) {
  const llvm::json::Object found = json_of(cli("doctor --json"));
  const llvm::json::Object& nvrtc = *found.getObject("nvrtc");
  EXPECT_EQ(nvrtc.getString("found_by"), "beside the program");
  EXPECT_EQ(nvrtc.getString("problem").value_or(""), "");
}

TEST_F(CliNvrtc, WithoutNvrtcListsTheFoldersAndTheErrorCountsThem) {
  if (const std::string path = nvrtc("path"); !path.empty())
    GTEST_SKIP() << "this machine has an NVRTC of its own: " << path;
  const CliResult doctor = cli.shell(program + " doctor");
  EXPECT_EQ(doctor.exit_code, 0) << doctor.err;
  EXPECT_NE(doctor.out.find("\n  searched    " + cli.file("bin") + " (beside the program)\n              "),
            std::string::npos)
      << doctor.out;

  const CliResult warmup = cli.shell(program + " warmup --n 1 --d 8 --arch sm_80 --json");
  EXPECT_EQ(warmup.exit_code, 1);
  const llvm::json::Object json = json_of(warmup);
  const std::string text = (*json.getArray("errors"))[0].getAsObject()->getString("text").value_or("").str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

// A folder that has entries of a compiler gives the failure another way.
TEST_F(CliNvrtc, WithoutNvrtcAllProblemsHaveOneErrorOfFiveLines) {
  if (const std::string path = nvrtc("path"); !path.empty())
    GTEST_SKIP() << "this machine has an NVRTC of its own: " << path;
  ASSERT_EQ(cli("warmup --n 1 --d 8 --arch sm_80").exit_code, 0);
  const CliResult warmup = cli.shell(program + " warmup --n 1 --d 8,16,32 --arch sm_80");
  EXPECT_EQ(warmup.exit_code, 1);
  EXPECT_EQ(warmup.err.find("mhcjit: failed: pre_forward n=1 D=16 bf16 sm_80: NVRTC was not found;"), 0u) << warmup.err;
  const auto lines = std::count(warmup.err.begin(), warmup.err.end(), '\n');
  EXPECT_EQ(lines, 5 + 3) << warmup.err;
}

}  // namespace
}  // namespace mhcjit::test
