// `mhcjit bench` on a driver that runs no kernel: what it prints, writes and returns. Every result is wrong there, so
// every measured shape is a failure that must be told.
#include <set>
#include <vector>

#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <llvm/ADT/StringExtras.h>

#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

class CliBench : public testing::Test {
 protected:
  CliBench() {
    cli.environment["LD_LIBRARY_PATH"] = FAKE_DRIVER_FOLDER;
    cli.environment["MHCJIT_NVRTC"] = FAKE_NVRTC;
    write_file(cli.file("shapes.json"), R"({"n": 2, "d": [64, 63], "t": [1, 16], "dtype": "bf16", "gamma": true})");
  }

  Cli cli;
};

const llvm::json::Object& row_of(const llvm::json::Object& report, std::size_t index) {
  static const llvm::json::Object none;
  const llvm::json::Array* rows = report.getArray("operators");
  if (rows == nullptr || index >= rows->size()) {
    ADD_FAILURE() << "there is no operator " << index;
    return none;
  }
  return *(*rows)[index].getAsObject();
}

TEST(CliBenchWithoutGpu, IsExitCode3AndSaysWhatIsMissing) {
  Cli cli;
  cli.environment["CUDA_VISIBLE_DEVICES"] = "";
  const CliResult result = cli("bench --op pre_forward --json --results bench.tsv");
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_NO_DEVICE");
  EXPECT_NE(result.err.find("there is no usable GPU to measure on: "), std::string::npos) << result.err;
  EXPECT_EQ(error_code_of(cli("bench --host --json")), "MHCJIT_ERROR_NO_DEVICE");
  EXPECT_EQ(cli.folder().file_count(), 0) << "something was written";
}

TEST_F(CliBench, JsonHasTheMachineAndEachShape) {
  const CliResult result = cli("bench --op pre_forward --shapes shapes.json --quick --commit abc --json");
  EXPECT_EQ(result.exit_code, 1) << "results that are wrong were accepted";
  const llvm::json::Object report = json_of(result);
  EXPECT_EQ(report.getString("device"), "Fake GPU 0");
  EXPECT_EQ(report.getString("architecture"), "sm_90a");
  EXPECT_EQ(report.getString("driver"), "13.0");
  EXPECT_EQ(report.getString("commit"), "abc");
  EXPECT_EQ(report.getInteger("l2_bytes"), 1 << 20);
  EXPECT_GT(report.getNumber("copy_gigabytes_per_second").value_or(0), 0);
  ASSERT_EQ(report.getArray("operators")->size(), 4u);
  const llvm::json::Object& row = row_of(report, 1);
  EXPECT_EQ(row.getString("op"), "pre_forward");
  EXPECT_EQ(row.getInteger("n"), 2);
  EXPECT_EQ(row.getInteger("D"), 64);
  EXPECT_EQ(row.getInteger("T"), 16);
  EXPECT_EQ(row.getBoolean("gamma"), true);
  const llvm::StringRef family = row.getString("family").value_or("");
  EXPECT_FALSE(family.empty());
  EXPECT_TRUE(row.getString("plan").value_or("").starts_with((family + " ").str()));
  for (const char* timing : {"brief", "stream", "graph", "stream_warm", "graph_warm"}) {
    const llvm::json::Object* times = row.getObject(timing);
    ASSERT_NE(times, nullptr) << timing;
    for (const char* field : {"median_us", "p10_us", "p90_us", "floor_ratio", "gigabytes_per_second"})
      EXPECT_GT(times->getNumber(field).value_or(0), 0) << timing << " " << field;
  }
  EXPECT_EQ(row.getObject("errors")->size(), 6u);
  EXPECT_EQ(row.getBoolean("within_bounds"), false);
}

TEST_F(CliBench, BackwardIsComparedInEveryGradient) {
  const llvm::json::Object report = json_of(cli("bench --op pre_backward --shapes shapes.json --quick --json"));
  const llvm::json::Object* errors = row_of(report, 0).getObject("errors");
  ASSERT_NE(errors, nullptr);
  for (const char* tensor : {"dx", "dphi", "dgamma", "dalpha", "dbias"})
    EXPECT_NE(errors->getObject(tensor), nullptr) << tensor;
}

TEST_F(CliBench, AChainIsMeasuredAsAWhole) {
  write_file(cli.file("shapes.json"),
             R"({"n": 2, "d": [64, 128], "t": 16, "dtype": "bf16", "gamma": true, "fp32_dx": true})");
  const CliResult result = cli("bench --chain 3 --shapes shapes.json --quick --json");
  EXPECT_EQ(result.exit_code, 1) << "results that are wrong were accepted";
  const llvm::json::Object report = json_of(result);
  EXPECT_EQ(report.getArray("operators"), nullptr);
  const llvm::json::Array* rows = report.getArray("chains");
  ASSERT_NE(rows, nullptr) << result.err;
  ASSERT_EQ(rows->size(), 2u);
  const llvm::json::Object& row = *(*rows)[1].getAsObject();
  EXPECT_EQ(row.getString("failure"), std::nullopt);
  EXPECT_EQ(row.getString("op"), "chain");
  EXPECT_EQ(row.getInteger("D"), 128);
  EXPECT_EQ(row.getBoolean("fp32_dx"), true);
  EXPECT_EQ(row.getInteger("layers"), 3);
  EXPECT_EQ(row.getInteger("layer_sets"), 3);
  for (const char* op : {"pre_forward", "pre_backward"})
    EXPECT_FALSE(row.getObject("plans")->getString(op).value_or("").empty()) << op;
  for (const char* timing : {"graph", "graph_overlapped"}) {
    const llvm::json::Object* times = row.getObject(timing);
    ASSERT_NE(times, nullptr) << timing;
    const double median = times->getNumber("median_us").value_or(0), floor = row.getNumber("floor_us").value_or(0);
    EXPECT_GT(median, 0) << timing;
    EXPECT_NEAR(times->getNumber("floor_ratio").value_or(0), median / floor, 1e-3 * median / floor) << timing;
  }
  EXPECT_NE(row.getObject("errors")->getObject("dx"), nullptr);
  const auto bytes_of_layers = [&](const std::string& layers) {
    const llvm::json::Object other = json_of(cli("bench --chain " + layers + " --shapes shapes.json --quick --json"));
    return (*other.getArray("chains"))[1].getAsObject()->getInteger("bytes").value_or(0);
  };
  EXPECT_EQ(row.getInteger("bytes"), 3 * bytes_of_layers("1"));
}

// The lines of a TSV that are not comments, as their fields.
std::vector<std::vector<std::string>> fields_of(const std::string& tsv) {
  std::vector<std::vector<std::string>> lines;
  for (const llvm::StringRef line : llvm::split(llvm::StringRef(tsv).rtrim(), '\n')) {
    if (line.starts_with("#")) continue;
    std::vector<std::string>& fields = lines.emplace_back();
    for (const llvm::StringRef field : llvm::split(line, '\t')) fields.push_back(field.str());
  }
  return lines;
}

TEST_F(CliBench, TheHostsPartStandsAloneOrBesideAnOperator) {
  const CliResult alone = cli("bench --host --quick --json");
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  const llvm::json::Object report = json_of(alone);
  EXPECT_EQ(report.getArray("operators"), nullptr);
  const llvm::json::Object* host = report.getObject("host");
  ASSERT_NE(host, nullptr);
  for (const char* field : {"kernels", "call_us", "raw_launch_us", "prepare_us"})
    EXPECT_GT(host->getObject("launch")->getNumber(field).value_or(0), 0) << field;
  EXPECT_GT(host->getObject("load")->getNumber("load_us").value_or(0), 0);
  const llvm::json::Object* first_call = host->getObject("first_call");
  ASSERT_NE(first_call, nullptr);
  for (const char* cache : {"cold_cache", "warm_cache"}) {
    const llvm::json::Object* calls = first_call->getObject(cache);
    ASSERT_NE(calls, nullptr) << cache;
    EXPECT_EQ(calls->getInteger("processes"), 1);
    EXPECT_GT(calls->getNumber("first_call_ms").value_or(0), 0);
    EXPECT_EQ(calls->getNumber("compile_ms").value_or(-1) > 0, cache == std::string("cold_cache")) << cache;
  }

  const llvm::json::Object both = json_of(cli("bench --host --op pre_forward --shapes shapes.json --quick --json"));
  EXPECT_NE(both.getObject("host"), nullptr);
  EXPECT_EQ(both.getArray("operators")->size(), 4u);
}

TEST_F(CliBench, WithoutACompilerTheHostsPartSaysSo) {
  cli.environment["MHCJIT_NVRTC"] = "/absent/libnvrtc.so";
  const CliResult result = cli("bench --host --quick --json");
  EXPECT_EQ(result.exit_code, 1);
  const llvm::json::Object report = json_of(result);
  for (const char* part : {"first_call", "launch"})
    EXPECT_NE(report.getObject("host")->getObject(part)->getString("failure").value_or("").find("/absent"),
              llvm::StringRef::npos)
        << part;
}

// Column `name` of the rows of a TSV.
std::vector<std::string> column_of(const std::string& tsv, const std::string& name) {
  const std::vector<std::vector<std::string>> lines = fields_of(tsv);
  const auto found = std::ranges::find(lines.front(), name);
  std::vector<std::string> values;
  if (found == lines.front().end()) ADD_FAILURE() << "no column " << name;
  for (std::size_t i = 1; i < lines.size() && found != lines.front().end(); ++i)
    values.push_back(lines[i].at(static_cast<std::size_t>(found - lines.front().begin())));
  return values;
}

// The same measurements as the JSON has.
TEST_F(CliBench, ResultsAreALineEachOfATsv) {
  const CliResult result =
      cli("bench --op pre_forward --shapes shapes.json --quick --json --commit abc --results r.tsv");
  const std::string tsv = read_file(cli.file("r.tsv"));
  EXPECT_TRUE(tsv.starts_with("# device: Fake GPU 0\n# architecture: sm_90a\n")) << tsv;
  for (const char* comment : {"\n# commit: abc\n", "\n# copy_gigabytes_per_second: "})
    EXPECT_NE(tsv.find(comment), std::string::npos) << comment;
  const std::vector<std::vector<std::string>> lines = fields_of(tsv);
  ASSERT_EQ(lines.size(), 5u);
  for (const std::vector<std::string>& line : lines) EXPECT_EQ(line.size(), lines.front().size());
  const llvm::json::Object report = json_of(result);
  for (std::size_t i = 0; i < 4; ++i) {
    const llvm::json::Object& row = row_of(report, i);
    EXPECT_EQ(column_of(tsv, "op")[i], row.getString("op")->str());
    EXPECT_EQ(std::stoll(column_of(tsv, "T")[i]), row.getInteger("T"));
    EXPECT_EQ(column_of(tsv, "family")[i] + " " + column_of(tsv, "plan")[i], row.getString("plan")->str());
    EXPECT_EQ(column_of(tsv, "gamma")[i], "1");
    EXPECT_EQ(std::stoll(column_of(tsv, "bytes")[i]), row.getInteger("bytes"));
    for (const std::string timing : {"brief", "stream", "graph", "stream_warm", "graph_warm", "graph_overlapped"})
      for (const auto& [field, suffix] : {std::pair("median_us", "_us"), {"p10_us", "_p10_us"}, {"p90_us", "_p90_us"}})
        EXPECT_EQ(std::stod(column_of(tsv, timing + suffix)[i]), row.getObject(timing)->getNumber(field)) << timing;
    EXPECT_NE(column_of(tsv, "nearest_to_bound")[i].find(" of "), std::string::npos);
    EXPECT_EQ(column_of(tsv, "right")[i], "0");
  }
}

TEST_F(CliBench, AChainsResultsAreALineEachOfATsv) {
  const CliResult result = cli("bench --chain 3 --shapes shapes.json --quick --json --results chain.tsv");
  const std::string tsv = read_file(cli.file("chain.tsv"));
  const llvm::json::Object report = json_of(result);
  const llvm::json::Array& rows = *report.getArray("chains");
  ASSERT_EQ(fields_of(tsv).size(), rows.size() + 1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const llvm::json::Object& row = *rows[i].getAsObject();
    EXPECT_EQ(fields_of(tsv)[i + 1].size(), fields_of(tsv).front().size());
    EXPECT_EQ(column_of(tsv, "op")[i], "chain");
    EXPECT_EQ(column_of(tsv, "layers")[i], "3");
    for (const auto& [op, plan] : *row.getObject("plans"))
      EXPECT_NE(column_of(tsv, "plans")[i].find(plan.getAsString()->str()), std::string::npos);
    EXPECT_EQ(std::stod(column_of(tsv, "graph_us")[i]), row.getObject("graph")->getNumber("median_us"));
    EXPECT_EQ(std::stod(column_of(tsv, "floor_us")[i]), row.getNumber("floor_us"));
  }
}

TEST_F(CliBench, TheHostsPartIsCommentsOfTheResults) {
  cli("bench --host --quick --results host.tsv");
  const std::string tsv = read_file(cli.file("host.tsv"));
  EXPECT_NE(tsv.find("\n# host time of a call: "), std::string::npos) << tsv;
  EXPECT_NE(tsv.find("\n# first call of a process, "), std::string::npos) << tsv;
  EXPECT_EQ(fields_of(tsv).size(), 0u) << tsv;
}

TEST_F(CliBench, ResultsGoWhereALinkLeads) {
  std::filesystem::create_symlink("kept.tsv", cli.file("bench.tsv"));
  cli("bench --op pre_forward --shapes shapes.json --quick --results bench.tsv");
  EXPECT_EQ(fields_of(read_file(cli.file("kept.tsv"))).size(), 5u);
}

TEST_F(CliBench, ResultsThatAreWrongMakeNoTable) {
  const std::string table = "python3 " BENCH_TABLE " ";
  cli("bench --op pre_forward --shapes shapes.json --quick --results wrong.tsv");
  const CliResult refused = cli.shell(table + "wrong.tsv");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_EQ(refused.err, "wrong.tsv has 4 rows that failed or are wrong, expected 0\n");

  // As a device would have them.
  const CliResult printed = cli.shell("sed 's/\t0$/\t1/' wrong.tsv > right.tsv; " + table + "right.tsv");
  EXPECT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_TRUE(printed.out.starts_with("Fake GPU 0, driver of CUDA 13.0, NVRTC 13.0, commit unknown, ")) << printed.out;
  EXPECT_NE(printed.out.find("\n| pre_forward | 2 | 63 | 16 | bf16, gamma | "), std::string::npos) << printed.out;
}

TEST_F(CliBench, ChainsHaveATableToo) {
  const std::string table = "python3 " BENCH_TABLE " ";
  cli("bench --chain 3 --shapes shapes.json --quick --results wrong.tsv");
  const CliResult refused = cli.shell(table + "wrong.tsv");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(refused.err.ends_with(" rows that failed or are wrong, expected 0\n")) << refused.err;
  const CliResult printed = cli.shell("sed 's/\t0$/\t1/' wrong.tsv > right.tsv; " + table + "right.tsv");
  EXPECT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_NE(printed.out.find("| layers | floor us | graph us | overlapped us |"), std::string::npos) << printed.out;
  EXPECT_NE(printed.out.find(" | 3 | "), std::string::npos) << printed.out;
}

TEST_F(CliBench, ResultsThatCannotBeWrittenAreKnownBeforeAnythingIsMeasured) {
  const CliResult result = cli("bench --op pre_forward --shapes shapes.json --results absent/bench.tsv");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("cannot write 'absent/bench.tsv': "), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("1 of 4"), std::string::npos) << result.err;
}

TEST_F(CliBench, AFileWithoutTheOperatorIsRefused) {
  write_file(cli.file("shapes.json"), R"({"n": 2, "d": 64, "t": 1, "dtype": "bf16", "ops": "pre_forward"})");
  const CliResult result = cli("bench --op pre_backward --shapes shapes.json");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("shapes.json: holds no shape of pre_backward, allowed: one or more"), std::string::npos)
      << result.err;
}

TEST_F(CliBench, ASweepChoosesNoPlanWhoseResultsAreWrong) {
  const CliResult result = cli("tune --n 4 --d 512 --t 1,1100 --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const llvm::json::Object report = json_of(result);
  EXPECT_EQ(report.getString("device"), "Fake GPU 0");
  EXPECT_EQ(report.getInteger("rows_done"), 4);
  EXPECT_EQ(report.getArray("choices")->size(), 0u);
  ASSERT_EQ(report.getArray("failures")->size(), 4u);
  EXPECT_EQ((*report.getArray("failures"))[0].getAsString(),
            "pre_forward n=4 D=512 bf16 sm_90a T=1: none of its plans is right");
  const std::string record = read_file(cli.file("tuned.jsonl"));
  EXPECT_EQ(record.find(R"("outcome":"measured")"), std::string::npos);
  for (const char* tensor : {"h_in: error nan", "dalpha: error nan"})
    EXPECT_NE(record.find(tensor), std::string::npos) << tensor;
}

TEST_F(CliBench, AShapeThatFailsLeavesTheOthers) {
  // More workspace and tensors than the fake device has.
  write_file(cli.file("shapes.json"),
             R"({"n": 2, "d": 4096, "t": [100000, 1], "dtype": "bf16", "ops": "pre_forward"})");
  const CliResult result = cli("bench --op pre_forward --shapes shapes.json --quick --json --results bench.tsv");
  EXPECT_EQ(result.exit_code, 1);
  const std::string tsv = read_file(cli.file("bench.tsv"));
  EXPECT_EQ(fields_of(tsv).size(), 2u) << tsv;
  EXPECT_NE(tsv.find(" FAILED: "), std::string::npos) << tsv;
  const CliResult refused = cli.shell("sed 's/\t0$/\t1/' bench.tsv > right.tsv; python3 " BENCH_TABLE " right.tsv");
  EXPECT_EQ(refused.err, "right.tsv has 1 rows that failed or are wrong, expected 0\n");
  const llvm::json::Object report = json_of(result);
  EXPECT_NE(row_of(report, 0).getString("failure").value_or("").find("OUT_OF_MEMORY"), llvm::StringRef::npos);
  EXPECT_EQ(row_of(report, 1).getString("failure"), std::nullopt);
}

TEST_F(CliBench, InterruptedItSaysWhatIsMeasuredSoFar) {
  std::string shapes = R"({"n": 2, "d": 64, "dtype": "bf16", "ops": "pre_forward", "t": [1)";
  for (int t = 2; t < 5000; ++t) shapes += "," + std::to_string(t);
  write_file(cli.file("shapes.json"), shapes + "]}");
  for (const std::string signal : {"INT", "TERM"}) {
    const CliResult result = cli.shell("timeout --foreground --preserve-status -s " + signal +
                                       " 1 mhcjit bench --op pre_forward --shapes shapes.json --quick --json "
                                       "--results bench.tsv");
    EXPECT_EQ(result.exit_code, 130) << signal;
    const llvm::json::Object report = json_of(result);
    EXPECT_NE(report.getString("device"), std::nullopt);
    EXPECT_EQ(fields_of(read_file(cli.file("bench.tsv"))).size(), report.getArray("operators")->size() + 1);
    for (const char* part : {"interrupted: finishing the shape", "interrupted: what is measured so far stays"})
      EXPECT_NE(result.err.find(part), std::string::npos) << part;
  }
}

}  // namespace
}  // namespace mhcjit::test
