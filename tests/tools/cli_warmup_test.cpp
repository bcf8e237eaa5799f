// warmup, emit and doctor: a warm-up leaves in the cache exactly what emit prints, compiles nothing twice, and says
// plainly when it left nothing behind.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <chrono>
#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llvm/ADT/STLExtras.h>

#include "codegen/shipped_record.h"
#include "tests/codegen/tuned_records.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

std::string all_files_in(const std::string& folder) {
  std::string text;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) text += read_file(entry.path());
  return text;
}

TEST(CliWarmup, SecondRunCompilesNothing) {
  const Cli cli;
  const std::string command = "warmup --n 2 --d 64 --dtype bf16 --arch sm_80,sm_90a --gamma --json";
  const CliResult first = cli(command);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const llvm::json::Object cold = json_of(first);
  EXPECT_EQ(cold.getInteger("compiled"), 4);
  EXPECT_EQ(cold.getInteger("hits"), 0);
  EXPECT_EQ(cold.getInteger("failed"), 0);
  EXPECT_GT(cold.getNumber("ms").value(), 0);
  ASSERT_EQ(cold.getArray("kernels")->size(), 4u);
  for (const llvm::json::Value& kernel : *cold.getArray("kernels")) {
    EXPECT_EQ(kernel.getAsObject()->getBoolean("cache_hit"), false);
    EXPECT_EQ(kernel.getAsObject()->getString("digest")->size(), 64u);
    EXPECT_GT(kernel.getAsObject()->getInteger("cubin_bytes").value(), 1000);
  }
  EXPECT_EQ((*cold.getArray("kernels"))[3].getAsObject()->getString("problem"),
            "pre_backward n=2 D=64 bf16 gamma sm_90a");
  // A run of 10 s says how far it is.
  if (cold.getNumber("ms").value() < 9000) {
    EXPECT_EQ(first.err, "") << "a short run that succeeds has nothing to say";
  }

  const CliResult second = cli(command);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  const llvm::json::Object warm = json_of(second);
  EXPECT_EQ(warm.getInteger("compiled"), 0);
  EXPECT_EQ(warm.getInteger("hits"), 4);
  EXPECT_EQ(warm.getInteger("failed"), 0);
}

TEST(CliWarmup, TheLogVariableSaysHowMuchGoesToStderr) {
  const auto said = [](const std::string& level) {
    Cli cli;
    cli.environment["MHCJIT_LOG"] = level;
    const CliResult result = cli("warmup --n 1 --d 8 --arch sm_80 --json");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(json_of(result).getInteger("compiled"), 2) << "stdout is the report's alone";
    return result.err;
  };
  EXPECT_EQ(said("warning"), "");
  const std::string info = said("info");
  EXPECT_NE(info.find("mhcjit: info: compiled pre_forward n=1 D=8 bf16 sm_80"), std::string::npos) << info;
  EXPECT_EQ(info.find("event="), std::string::npos) << info;
  EXPECT_NE(said("trace").find("mhcjit: trace: event=compile problem=\"pre_forward n=1 D=8 bf16 sm_80\" digest="),
            std::string::npos);
  Cli cli;
  cli.environment["MHCJIT_LOG"] = "verbose";
  const CliResult refused = cli("warmup --n 1 --d 8 --arch sm_80");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("MHCJIT_LOG is 'verbose', allowed: warning, info, trace"), std::string::npos);
}

TEST(CliWarmup, CacheDirOptionWinsOverTheVariable) {
  const Cli cli;
  const CliResult result = cli("warmup --n 1 --d 8 --arch sm_80 --cache-dir " + cli.file("other"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(std::filesystem::exists(cli.cache()));
  EXPECT_NE(result.out.find("2 compiled, 0 hits, 0 failed of 2"), std::string::npos) << result.out;
  EXPECT_FALSE(std::filesystem::is_empty(cli.file("other")));
}

TEST(CliWarmup, CompilesWhatEmitPrints) {
  const Cli cli;
  ASSERT_EQ(cli("warmup --n 3 --d 100 --dtype fp16 --arch sm_90a").exit_code, 0);
  const std::string entries = all_files_in(cli.cache());
  for (const std::string op : {"pre_forward", "pre_backward"}) {
    const CliResult emitted = cli("emit --op " + op + " --n 3 --d 100 --dtype fp16 --arch sm_90a");
    ASSERT_EQ(emitted.exit_code, 0) << emitted.err;
    EXPECT_EQ(emitted.err, "");
    const std::vector<std::string> units = units_in(emitted.out);
    ASSERT_GT(units.size(), 1u);
    for (const std::string& unit : units) {
      ASSERT_GT(unit.size(), 200u);
      EXPECT_NE(entries.find(unit), std::string::npos) << "no entry's key has this source of " << op << ":\n" << unit;
    }
    // Another problem finds only the kernels that both have.
    const CliResult gamma = cli("emit --op " + op + " --n 3 --d 100 --dtype fp16 --arch sm_90a --gamma");
    const std::vector<std::string> gamma_units = units_in(gamma.out);
    EXPECT_NE(gamma_units, units) << "--gamma changes nothing in " << op;
    for (const std::string& unit : gamma_units)
      EXPECT_EQ(entries.find(unit) != std::string::npos, llvm::is_contained(units, unit)) << unit;
  }
}

TEST(CliWarmup, ThePlanOfTheEnvironmentIsEmittedToo) {
  Cli cli;
  const std::string forward = "emit --op pre_forward --n 4 --d 1024 --arch sm_90a";
  const std::string chosen = cli(forward).out, two_pass = cli(forward + " --plan two_pass").out,
                    one_pass = cli(forward + " --plan one_pass").out;
  const std::string backward = "emit --op pre_backward --n 4 --d 1024 --arch sm_90a",
                    chosen_backward = cli(backward).out;
  ASSERT_NE(chosen, two_pass) << "the library chooses two passes, too";
  cli.environment["MHCJIT_PLAN"] = "two_pass";
  EXPECT_EQ(cli(forward).out, two_pass);
  EXPECT_EQ(cli(forward + " --plan one_pass").out, one_pass) << "the option stands in place of the variable";
  ASSERT_EQ(cli("warmup --n 4 --d 1024 --arch sm_90a").exit_code, 0);
  const std::string entries = all_files_in(cli.cache());
  for (const std::string& unit : units_in(two_pass)) EXPECT_NE(entries.find(unit), std::string::npos) << unit;

  EXPECT_EQ(cli(backward).out, chosen_backward) << "backward has no such family";
  cli.environment["MHCJIT_PLAN"] = "fast";
  const CliResult wrong = cli(forward);
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(wrong.err.find("plan or MHCJIT_PLAN: "), std::string::npos) << wrong.err;
}

// A file where the folder should be: no user can write there, not even root.
TEST(CliWarmup, CacheThatCannotBeWrittenIsAFailure) {
  const Cli cli;
  write_file(cli.file("file"), "");
  const CliResult result = cli("warmup --n 1 --d 8 --arch sm_80 --json --cache-dir " + cli.file("file/cache"));
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getInteger("failed"), 2);
  EXPECT_EQ(json.getInteger("compiled"), 0);
  const llvm::json::Object& error = *(*json.getArray("errors"))[0].getAsObject();
  EXPECT_EQ(error.getString("code"), "MHCJIT_ERROR_IO");
  EXPECT_NE(result.err.find("not written to the cache folder '" + cli.file("file/cache")), std::string::npos)
      << result.err;
}

TEST(CliWarmup, NoCacheFolderAtAllIsWrongUsage) {
  Cli cli;
  cli.environment.erase("HOME");
  cli.environment.erase("MHCJIT_CACHE_DIR");
  const CliResult result = cli("warmup --n 1 --d 8 --arch sm_80");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("pass --cache-dir, or set MHCJIT_CACHE_DIR or HOME"), std::string::npos) << result.err;
}

TEST(CliWarmup, NoNvrtcIsAFailureThatNamesThePath) {
  Cli cli;
  cli.environment["MHCJIT_NVRTC"] = "/nonexistent";
  const CliResult result = cli("warmup --n 1 --d 8 --arch sm_80 --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getInteger("failed"), 2);
  const llvm::json::Object& error = *(*json.getArray("errors"))[0].getAsObject();
  EXPECT_EQ(error.getString("code"), "MHCJIT_ERROR_NO_NVRTC");
  EXPECT_NE(error.getString("text")->find("/nonexistent"), llvm::StringRef::npos) << error.getString("text")->str();
}

// One architecture that this NVRTC does not know: the others are compiled all the same.
TEST(CliWarmup, OneFailureDoesNotStopTheOthers) {
  const CliResult result = Cli()("warmup --n 1 --d 8 --arch sm_80,sm_199a --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getInteger("compiled"), 2);
  EXPECT_EQ(json.getInteger("failed"), 2);
  for (const std::string op : {"pre_forward", "pre_backward"})
    EXPECT_NE(result.err.find("mhcjit: failed: " + op + " n=1 D=8 bf16 sm_199a: "), std::string::npos) << result.err;
  EXPECT_EQ((*json.getArray("errors"))[0].getAsObject()->getString("code"), "MHCJIT_ERROR_COMPILATION_FAILED");
}

class CliWarmupSignal : public testing::TestWithParam<std::string> {};

// One after the first kernel: what is done stays, the summary is still one JSON object, and the next run goes on.
TEST_P(CliWarmupSignal, KeepsWhatIsDone) {
  const Cli cli;
  const std::string command = "mhcjit warmup --n 1 --d 8,16,24,32 --arch sm_80 --jobs 1 --json";
  const CliResult result = cli.shell(command +
                                     " & mhcjit=$!; "
                                     "until ls cache/*.mhcjit > /dev/null 2>&1; do sleep 0.01; done; "
                                     "kill -" +
                                     GetParam() + " $mhcjit; wait $mhcjit");
  EXPECT_EQ(result.exit_code, 130) << result.err;
  const llvm::json::Object json = json_of(result);
  const std::int64_t compiled = json.getInteger("compiled").value_or(0);
  EXPECT_GE(compiled, 1);
  EXPECT_EQ(compiled + json.getInteger("skipped").value_or(0), 8);
  EXPECT_GT(json.getInteger("skipped").value_or(0), 0);

  const llvm::json::Object rest = json_of(cli.shell(command));
  EXPECT_EQ(rest.getInteger("hits"), compiled);
  EXPECT_EQ(rest.getInteger("compiled"), 8 - compiled);
}

// While it waits for another process, for up to 30 s: it says so at once, and a second one ends it.
TEST_P(CliWarmupSignal, IsAnsweredWhileAnotherProcessCompiles) {
  Cli cli;
  ASSERT_EQ(::mkdir(cli.cache().c_str(), 0700), 0);
  const int lock = ::open((cli.cache() + "/compile.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct flock every_byte = {};
  every_byte.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(lock, F_OFD_SETLK, &every_byte), 0);
  cli.environment["MHCJIT_LOG"] = "trace";
  const auto start = std::chrono::steady_clock::now();
  const CliResult result = cli.shell(
      "said() { for i in $(seq 1000); do grep -qs \"$1\" said && return; sleep 0.01; done; }; "
      "mhcjit warmup --n 1 --d 8 --arch sm_80 --jobs 1 2> said & mhcjit=$!; "
      "said event=miss; kill -" +
      GetParam() + " $mhcjit; said once; kill -0 $mhcjit && kill -" + GetParam() + " $mhcjit; wait $mhcjit");
  ::close(lock);
  EXPECT_EQ(result.exit_code, 128 + (GetParam() == "INT" ? SIGINT : SIGTERM));
  const std::string said = read_file(cli.file("said"));
  EXPECT_NE(said.find("mhcjit: interrupted: finishing the compiles that are under way, here or in a process that is "
                      "waited for; once more ends at once\n"),
            std::string::npos)
      << said;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

INSTANTIATE_TEST_SUITE_P(CliWarmup, CliWarmupSignal, testing::Values("INT", "TERM"),
                         [](const auto& info) { return info.param; });

TEST(CliWarmup, ARecordThatWasCutIsNamedAndTheRestIsCompiled) {
  const Cli cli;
  write_file(cli.file("history"), "{\"n\":1,\"d\":8,\"dtype\":\"fp32\",\"ops\":[\"pre_forward\"]}\n{\"n\":4,\"d\":40");
  const CliResult result = cli("warmup --shapes history --arch sm_80 --json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(json_of(result).getInteger("compiled"), 1);
  EXPECT_EQ(result.err.find("mhcjit: history: line 2 is passed over: it is a record that was cut short"), 0u)
      << result.err;
}

// The whole file, for each architecture, once each: two shapes name one problem.
TEST(CliWarmup, ShapesFileIsCompiledForEveryArchitecture) {
  const Cli cli;
  write_file(cli.file("shapes.json"),
             "{\"n\":1,\"d\":[8,16],\"dtype\":\"bf16\",\"ops\":\"pre_forward\"}\n"
             "{\"n\":1,\"d\":16,\"dtype\":\"bf16\",\"ops\":[\"pre_forward\"]}\n"
             "{\"n\":1,\"d\":8,\"dtype\":\"fp32\",\"batch_invariant\":true,\"ops\":[\"pre_backward\"]}\n");
  const std::string command = "warmup --shapes shapes.json --arch sm_80,sm_90a --jobs 2 --json";
  const llvm::json::Object cold = json_of(cli(command));
  EXPECT_EQ(cold.getInteger("compiled"), 6);
  EXPECT_EQ(cold.getInteger("jobs"), 2);
  std::vector<std::string> names;
  for (const llvm::json::Value& kernel : *cold.getArray("kernels"))
    names.push_back(kernel.getAsObject()->getString("problem")->str());
  EXPECT_EQ(names, (std::vector<std::string>{"pre_forward n=1 D=8 bf16 sm_80", "pre_forward n=1 D=16 bf16 sm_80",
                                             "pre_backward n=1 D=8 fp32 batch_invariant sm_80",
                                             "pre_forward n=1 D=8 bf16 sm_90a", "pre_forward n=1 D=16 bf16 sm_90a",
                                             "pre_backward n=1 D=8 fp32 batch_invariant sm_90a"}));

  const llvm::json::Object warm = json_of(cli(command));
  EXPECT_EQ(warm.getInteger("compiled"), 0);
  EXPECT_EQ(warm.getInteger("hits"), 6);
}

TEST(CliWarmup, AWrongShapesFileCompilesNothing) {
  const Cli cli;
  write_file(cli.file("shapes.json"), "{\"n\":1,\"d\":8,\"dtype\":\"bf16\"}\n{\"n\":1,\"d\":8,\"dtype\":\"f32\"}\n");
  const CliResult result = cli("warmup --shapes shapes.json --arch sm_80 --json");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE");
  EXPECT_NE(result.err.find("shapes.json: line 2: dtype is 'f32', allowed: bf16, fp16, fp32"), std::string::npos)
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(cli.cache()));
}

// script gives the program a terminal.
TEST(CliWarmup, ATerminalShowsABarThatGoesAway) {
  const Cli cli;
  const CliResult result = cli.shell("script -qec 'mhcjit warmup --n 1 --d 8 --arch sm_80' /dev/null < /dev/null");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("[########################] 2/2, 2 compiled, 0 hits, 0 failed, 0 s left\r\x1b[K2 compiled"),
            std::string::npos)
      << result.out;
}

TEST(CliDoctor, ReportsNvrtcAndCacheWithoutAGpu) {
  Cli cli;
  cli.environment["CUDA_VISIBLE_DEVICES"] = "";
  const CliResult result = cli("doctor --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getString("version"), MHCJIT_TEST_VERSION);
  EXPECT_EQ(json.getBoolean("gpu_ready"), false);
  EXPECT_EQ(json.getArray("devices")->size(), 0u);
  EXPECT_EQ(json.getObject("nvrtc")->get("problem")->kind(), llvm::json::Value::Null);
  EXPECT_NE(json.getObject("nvrtc")->getString("path")->find("libnvrtc"), llvm::StringRef::npos);
  EXPECT_FALSE(json.getObject("nvrtc")->getString("identity")->empty());
  EXPECT_EQ(json.getObject("cache")->getString("root"), cli.cache());
  EXPECT_FALSE(std::filesystem::exists(cli.cache())) << "doctor made the cache folder";

  const CliResult text = cli("doctor");
  EXPECT_EQ(text.exit_code, 0);
  for (const std::string part : {"driver", "nvrtc", "cache", "the CPU path"})
    EXPECT_NE(text.out.find(part), std::string::npos) << text.out;
}

TEST(CliDoctor, ShowsMeasuredPlans) {
  Cli cli;
  const codegen::TunedRecord& shipped = *codegen::shipped_record({9, 0, 'a'});
  write_file(cli.file("tuned.jsonl"), text_of(shipped));
  write_file(cli.file("wrong.jsonl"), "no record\n");
  cli.environment["MHCJIT_TUNED"] = cli.file("tuned.jsonl");
  llvm::json::Object json = json_of(cli("doctor --json"));
  EXPECT_EQ(json.getObject("tuned_record")->getString("path"), cli.file("tuned.jsonl"));
  EXPECT_EQ(json.getObject("tuned_record")->getString("device"), shipped.header.device);
  EXPECT_EQ(json.getObject("tuned_record")->getInteger("problems"), shipped.choices.size());
  EXPECT_EQ(json.getObject("tuned_record")->get("problem")->kind(), llvm::json::Value::Null);
  ASSERT_EQ(json.getArray("shipped_records")->size(), 1u);
  EXPECT_EQ(json.getArray("shipped_records")->front().getAsObject()->getString("architecture"), "sm_90a");
  const std::string has_rows = fmt::format("\n  for         sm_90a\n  has         {} T's of {} problems, measured on",
                                           8 * shipped.choices.size(), shipped.choices.size());
  const std::string text = cli("doctor").out;
  EXPECT_NE(text.find("tuned record\n  path        " + cli.file("tuned.jsonl") + has_rows), std::string::npos) << text;
  EXPECT_NE(text.find("shipped plans" + has_rows), std::string::npos) << text;

  cli.environment["MHCJIT_TUNED"] = cli.file("wrong.jsonl");
  const std::string wrong = cli("doctor").out;
  EXPECT_NE(wrong.find("  problem     it is not used: " + cli.file("wrong.jsonl")), std::string::npos) << wrong;
  json = json_of(cli("doctor --json"));
  EXPECT_EQ(json.getObject("tuned_record")->get("device")->kind(), llvm::json::Value::Null);
  EXPECT_NE(json.getObject("tuned_record")->getString("problem")->find("unset MHCJIT_TUNED"), llvm::StringRef::npos);
}

TEST(CliDoctor, SaysWhatToDoAboutAMissingNvrtc) {
  Cli cli;
  cli.environment["MHCJIT_NVRTC"] = "/nonexistent";
  const CliResult result = cli("doctor --json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const llvm::json::Object json = json_of(result);
  const std::optional<llvm::StringRef> problem = json.getObject("nvrtc")->getString("problem");
  ASSERT_TRUE(problem.has_value()) << result.out;
  EXPECT_NE(problem->find("/nonexistent"), llvm::StringRef::npos) << problem->str();
}

}  // namespace
}  // namespace mhcjit::test
