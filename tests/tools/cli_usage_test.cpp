// What a user meets first: help whose examples run, the version, and wrong usage answered with exit code 2 and a text
// that says what is allowed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/operators.h"
#include "tests/codegen/tuned_records.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

// Those whose examples run on any machine.
const std::vector<std::string> all_commands = {"doctor", "emit", "explain", "warmup", "run", "make-inputs"};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CliUsage, Version) {
  const CliResult result = Cli()("--version");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "mhcjit " MHCJIT_TEST_VERSION "\n");
  EXPECT_EQ(result.err, "");
}

TEST(CliUsage, HelpNamesEveryCommandAndExitCode) {
  const CliResult result = Cli()("--help");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  for (const std::string& command : all_commands) EXPECT_TRUE(has(result.out, command)) << command;
  EXPECT_TRUE(has(result.out, "bench"));
  for (const std::string code : {"0 success", "1 failed", "2 wrong usage", "3 no usable GPU"})
    EXPECT_TRUE(has(result.out, code)) << code;
}

TEST(CliUsage, HelpOfACommandNamesItsDocumentedOptions) {
  const std::map<std::string, std::vector<std::string>> documented = {
      {"doctor", {"--json"}},
      {"emit", {"--op", "--n", "--d", "--dtype", "--arch", "--gamma", "--batch-invariant", "--fp32-dx"}},
      {"explain",
       {"--op", "--n", "--d", "--t", "--dtype", "--arch", "--gamma", "--batch-invariant", "--fp32-dx", "--tuned",
        "--json"}},
      {"warmup",
       {"--shapes", "--tuned", "--n", "--d", "--dtype", "--arch", "--gamma", "--batch-invariant", "--fp32-dx", "--jobs",
        "--cache-dir", "--json"}},
      {"run",
       {"--inputs", "--outputs", "--device", "--backward", "--fp32-dx", "--check", "--json", "--norm-eps", "--hc-eps",
        "--cache-dir"}},
      {"bench", {"--op", "--shapes", "--chain", "--host", "--quick", "--results", "--commit", "--cache-dir", "--json"}},
      {"tune",
       {"--shapes", "--op", "--n", "--d", "--t", "--dtype", "--gamma", "--batch-invariant", "--fp32-dx", "-o",
        "--budget", "--devices", "--shard", "--margin", "--most", "--jobs", "--cache-dir", "--json"}},
      {"make-inputs", {"--t", "--n", "--d", "--dtype", "--seed", "--std", "--gamma", "-o"}},
  };
  const Cli cli;
  for (const auto& [command, options] : documented) {
    const CliResult result = cli(command + " --help");
    EXPECT_EQ(result.exit_code, 0) << command;
    for (const std::string& option : options)
      EXPECT_TRUE(has(result.out, "\n  " + option + " ")) << option << " in\n" << result.out;
    EXPECT_FALSE(has(result.out, "print-options")) << "an option of the option parser shows in\n" << result.out;
  }
}

// The commands of each help text, in its order and in one folder, as a user would paste them.
class CliExamples : public testing::TestWithParam<std::string> {};

TEST_P(CliExamples, Run) {
  const Cli cli;
  write_file(cli.file("shapes.json"), R"({"n": 2, "d": [64, 128], "dtype": "bf16", "ops": "pre_forward"})");
  const codegen::Problem problem = {&codegen::pre_forward, 4, 4096, codegen::DType::bf16, false, false, {9, 0, 'a'}};
  const std::string plan = to_string(*llvm::cantFail(codegen::choose(problem)).back().plan);
  write_file(cli.file("tuned.jsonl"), text_of(*codegen::record_of({{problem, {{codegen::max_tokens, plan}}, {}}})));
  expect_examples_run(cli, GetParam());
}

INSTANTIATE_TEST_SUITE_P(CliUsage, CliExamples, testing::ValuesIn(all_commands), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

struct Wrong {
  const char* name;
  std::string arguments;
  std::string text;  // part of stderr
};

class CliWrongUsage : public testing::TestWithParam<Wrong> {};

TEST_P(CliWrongUsage, IsExitCode2AndSaysWhatIsAllowed) {
  const Cli cli;
  const CliResult result = cli(GetParam().arguments);
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(has(result.err, GetParam().text)) << result.err;
  EXPECT_EQ(cli.folder().file_count(), 0) << "something was written";
}

const std::string make = "make-inputs -o in.safetensors ";
const std::string warm = "warmup --arch sm_90a ";

INSTANTIATE_TEST_SUITE_P(
    CliUsage, CliWrongUsage,
    testing::Values(
        Wrong{"nothing", "", "allowed: doctor, emit, explain, warmup, run, make-inputs, bench"},
        Wrong{"command", "compile", "command is 'compile', allowed: doctor, emit, explain, warmup, run, make-inputs"},
        Wrong{"option", "run --input in.safetensors",
              "--backward, --cache-dir, --check, --device, --fp32-dx, --hc-eps, --inputs"},
        Wrong{"positional", "doctor now", "'now' is not an option; options of doctor: --json"},
        Wrong{"empty_value", "run --inputs a --outputs b --cache-dir=",
              "--cache-dir has no value, allowed: --cache-dir DIR; options of run: --backward"},
        Wrong{"value_of_a_flag", "run --check=no", "--check is 'no', allowed: no value; options of run"},
        Wrong{"option_twice", "warmup --n 4 --d 8 --n 2", "--n is given twice, allowed: once; options of warmup"},
        Wrong{"one_hyphen", "warmup -n 4 --d 8", "'-n' is not an option; options of warmup: --arch"},
        Wrong{"glued_value", "make-inputs --t 1 -oin.safetensors",
              "'-oin.safetensors' is not an option, allowed: -o FILE"},
        Wrong{"option_without_value", "run --inputs", "options of run: --backward"},
        Wrong{"run_no_inputs", "run --outputs out.safetensors", "--inputs is missing"},
        Wrong{"run_no_outputs", "run --inputs in.safetensors", "--outputs is missing"},
        Wrong{"run_device", "run --inputs a --outputs b --device gpu", "--device is 'gpu', allowed: auto, cpu, cuda:K"},
        Wrong{"run_device_negative", "run --inputs a --outputs b --device cuda:-1", "allowed: auto, cpu, cuda:K"},
        Wrong{"run_norm_eps", "run --inputs a --outputs b --norm-eps -1",
              "--norm-eps is '-1', allowed: a finite number of at least 0"},
        Wrong{"run_hc_eps", "run --inputs a --outputs b --hc-eps nan", "--hc-eps is 'nan', allowed: a finite number"},
        Wrong{"run_post_mult", "run --inputs a --outputs b --post-mult inf", "--post-mult is 'inf', allowed: a finite"},
        Wrong{"run_post_mult_overflow", "run --inputs a --outputs b --post-mult 1e300", "a number that fp32 holds"},
        Wrong{"run_eps_overflow", "run --inputs a --outputs b --hc-eps 1e300", "allowed: a number that fp32 holds"},
        Wrong{"run_fp32_dx", "run --inputs a --outputs b --fp32-dx", "--fp32-dx is given without --backward"},
        Wrong{"make_no_t", make + "--n 4 --d 8", "--t is missing"},
        Wrong{"make_t", make + "--t -1 --n 4 --d 8", "--t is '-1', allowed: an integer of 0 to 2147483647"},
        Wrong{"make_n", make + "--t 1 --n 17 --d 8", "--n is '17', allowed: an integer of 1 to 16"},
        Wrong{"make_d", make + "--t 1 --n 4 --d 0", "--d is '0', allowed: an integer of 1 to 16777216"},
        Wrong{"make_dtype", make + "--t 1 --n 4 --d 8 --dtype int8", "dtype is 'int8', allowed: bf16, fp16, fp32"},
        Wrong{"make_seed", make + "--t 1 --n 4 --d 8 --seed x", "--seed is 'x', allowed: an integer"},
        Wrong{"make_std", make + "--t 1 --n 4 --d 8 --std inf", "--std is 'inf', allowed: a finite number"},
        Wrong{"make_no_output", "make-inputs --t 1 --n 4 --d 8", "-o is missing"},
        Wrong{"warmup_n", warm + "--n 17 --d 8", "--n is '17', allowed: an integer of 1 to 16"},
        Wrong{"warmup_d", warm + "--n 4 --d 0", "--d is '0', allowed: an integer of 1 to 16777216"},
        Wrong{"warmup_list", warm + "--n 4, --d 8", "--n is missing"},
        Wrong{"warmup_twice", warm + "--n 4,4 --d 8", "--n is '4,4', allowed: each value once"},
        Wrong{"warmup_dtype", warm + "--n 4 --d 8 --dtype f32", "dtype is 'f32', allowed: bf16, fp16, fp32"},
        Wrong{"warmup_arch", "warmup --n 4 --d 8 --arch sm_70", "architecture is 'sm_70', allowed: sm_80 and newer"},
        Wrong{"warmup_no_arch", "warmup --n 4 --d 8", "--arch is missing"},
        Wrong{"warmup_jobs", warm + "--n 4 --d 8 --jobs 0", "--jobs is '0', allowed: an integer of 1 to 256"},
        Wrong{"warmup_both", warm + "--shapes shapes.json --d 8",
              "--d is given with --shapes, allowed: one of the two"},
        Wrong{"warmup_both_flags", warm + "--shapes shapes.json --batch-invariant",
              "--batch-invariant is given with --shapes, allowed: one of the two"},
        Wrong{"warmup_shapes_no_arch", "warmup --shapes shapes.json", "--arch is missing"},
        Wrong{"bench_no_op", "bench", "--op is missing"},
        Wrong{"bench_op", "bench --op sideways", "op is 'sideways', allowed: pre_forward, pre_backward"},
        Wrong{"bench_chain", "bench --chain 0", "--chain is '0', allowed: an integer of 1 to 1000"},
        Wrong{"bench_chain_op", "bench --chain 2 --op pre_forward",
              "--op is given with --chain, allowed: one of the two"},
        Wrong{"bench_option", "bench --op pre_forward --shape a", "--host, --json, --op, --quick, --results, --shapes"},
        Wrong{"emit_no_op", "emit --n 4 --d 8 --arch sm_80", "--op is missing"},
        Wrong{"emit_fp32_dx", "emit --op pre_forward --n 4 --d 8 --arch sm_80 --fp32-dx",
              "--fp32-dx is given with pre_forward, allowed: with pre_backward"},
        Wrong{"emit_op", "emit --op sideways --n 4 --d 8 --arch sm_80",
              "op is 'sideways', allowed: pre_forward, pre_backward"},
        Wrong{"emit_n", "emit --op pre_forward --n 0 --d 8 --arch sm_80", "--n is '0', allowed: an integer of 1 to 16"},
        Wrong{"emit_two", "emit --op pre_forward --n 2,4 --d 8 --arch sm_80", "name 2 problems, allowed: 1"}),
    [](const auto& info) { return std::string(info.param.name); });

// What a user may mistype, or expect of the library that the options are declared with.
TEST(CliUsage, NoCommandHasAnOptionThatItsHelpDoesNotName) {
  const Cli cli;
  for (const std::string command :
       {"doctor", "emit", "warmup", "run", "make-inputs", "bench", "cache ls", "cache stats", "cache verify",
        "cache prune", "cache clear", "cache export", "cache import"})
    for (const std::string option : {"--hc_eps", "--host-name", "--hits", "--h", "-hh", "-help", "--help-list",
                                     "--help-hidden", "--help-list-hidden", "--version", "-version", "--print-options",
                                     "--print-all-options", "--color", "--jso", "-json"}) {
      const std::string arguments = fmt::format("{} {}", command, option);
      const CliResult result = cli(arguments);
      EXPECT_EQ(result.exit_code, 2) << arguments;
      EXPECT_EQ(result.out, "") << arguments;
      EXPECT_TRUE(has(result.err, fmt::format("mhcjit: '{}' is not an option; options of {}: ", option, command)))
          << result.err;
    }
}

TEST(CliUsage, AnArgumentThatNamesAFileIsNotReadFromIt) {
  const Cli cli;
  write_file(cli.file("arguments"), "--json");
  const CliResult option = cli("doctor @arguments");
  EXPECT_EQ(option.exit_code, 2);
  EXPECT_TRUE(has(option.err, "'@arguments' is not an option; options of doctor: --json")) << option.err;
  const CliResult value = cli("make-inputs --t 1 --n 1 --d 1 -o @arguments");
  EXPECT_EQ(value.exit_code, 0) << value.err;
  EXPECT_TRUE(std::filesystem::exists(cli.file("@arguments")));
}

TEST(CliUsage, AValueStandsBehindABlankOrAnEqualsSign) {
  const Cli cli;
  EXPECT_EQ(cli("make-inputs --t=1 --n 1 --d=1 -o=a=b").exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(cli.file("a=b")));
  EXPECT_TRUE(has(cli("cache import -- --json").err, "bundle '--json' is not imported"));
}

TEST(CliUsage, WrongUsageWithJsonIsOneErrorObject) {
  const Cli cli;
  for (const std::string arguments :
       {"warmup --json --n 17 --d 8 --arch sm_80", "run --json --frobnicate", "frobnicate --json", "run --json"}) {
    const CliResult result = cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_INVALID_ARGUMENT") << arguments;
  }
}

TEST(CliUsage, TheErrorObjectHasTheReason) {
  const Cli cli;
  for (const auto& [arguments, reason] :
       std::map<std::string, std::string>{{"run --json=yes --json", "--json is 'yes', allowed: no value"},
                                          {"run --json --inputs", "--inputs has no value, allowed: --inputs FILE"},
                                          {"warmup --json --gamma=true", "--gamma is 'true', allowed: no value"}}) {
    const CliResult result = cli(arguments);
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_INVALID_ARGUMENT") << arguments;
    EXPECT_TRUE(has(json_of(result).getObject("error")->getString("text")->str(), reason)) << result.out;
  }
}

TEST(CliUsage, StdoutThatCannotBeWrittenIsAFailure) {
  const CliResult result = Cli().shell("mhcjit --help > /dev/full");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(result.err, "cannot write to stdout")) << result.err;
}

}  // namespace
}  // namespace mhcjit::test
