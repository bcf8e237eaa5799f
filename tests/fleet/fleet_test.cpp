// What examples/fleet says of pods and images, done on this machine with a made-up device. tests/fleet/slurm_array does
// it for Slurm.
#include <regex>

#include <gtest/gtest.h>
#include <llvm/Support/SourceMgr.h>
#include <llvm/Support/YAMLParser.h>

#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

// As JSON has it; every scalar is a string. A failure where the text is no YAML.
llvm::json::Value value_of(llvm::yaml::Node* node) {
  if (auto* map = llvm::dyn_cast_or_null<llvm::yaml::MappingNode>(node)) {
    llvm::json::Object object;
    for (llvm::yaml::KeyValueNode& entry : *map) {
      llvm::SmallString<32> storage;
      const std::string key = llvm::cast<llvm::yaml::ScalarNode>(entry.getKey())->getValue(storage).str();
      object[key] = value_of(entry.getValue());
    }
    return object;
  }
  if (auto* sequence = llvm::dyn_cast_or_null<llvm::yaml::SequenceNode>(node)) {
    llvm::json::Array array;
    for (llvm::yaml::Node& element : *sequence) array.push_back(value_of(&element));
    return array;
  }
  llvm::SmallString<32> storage;
  if (auto* scalar = llvm::dyn_cast_or_null<llvm::yaml::ScalarNode>(node)) return scalar->getValue(storage).str();
  ADD_FAILURE() << "no YAML";
  return nullptr;
}

llvm::json::Object yaml_of(const std::string& text) {
  llvm::SourceMgr sources;
  llvm::yaml::Stream stream(text, sources);
  const llvm::json::Value value = value_of(stream.begin()->getRoot());
  EXPECT_FALSE(stream.failed());
  const llvm::json::Object* object = value.getAsObject();
  return object == nullptr ? llvm::json::Object() : *object;
}

std::vector<std::string> strings_of(const llvm::json::Array& array) {
  std::vector<std::string> strings;
  for (const llvm::json::Value& value : array) strings.push_back(value.getAsString()->str());
  return strings;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// Trials and choices, without the header.
std::set<std::string> lines_of(const std::string& record) {
  std::set<std::string> lines;
  llvm::StringRef rest = llvm::StringRef(record).split('\n').second;
  while (!rest.empty()) {
    auto [line, others] = rest.split('\n');
    lines.insert(line.str());
    rest = others;
  }
  return lines;
}

class Fleet : public testing::Test {
 protected:
  Fleet() { write_file(cli.file("shapes.json"), R"({"n": 4, "d": [256, 2560], "t": [1, 64, 8192], "dtype": "bf16"})"); }

  Cli cli;
  const std::string examples = MHCJIT_FLEET_EXAMPLES;
};

TEST_F(Fleet, PodsOfTheJobMakeTheRecordOfOneSweep) {
  const llvm::json::Object job = yaml_of(read_file(examples + "/tune-job.yaml"));
  EXPECT_EQ(job.getString("apiVersion"), "batch/v1");
  EXPECT_EQ(job.getString("kind"), "Job");
  const llvm::json::Object& spec = *job.getObject("spec");
  EXPECT_EQ(spec.getString("completionMode"), "Indexed");
  int pods = 0;
  ASSERT_FALSE(spec.getString("completions")->getAsInteger(10, pods));
  const llvm::json::Object& pod = *spec.getObject("template")->getObject("spec");
  EXPECT_EQ(pod.getString("restartPolicy"), "Never");
  const llvm::json::Object& container = *(*pod.getArray("containers"))[0].getAsObject();
  EXPECT_EQ(strings_of(*container.getArray("command")), std::vector<std::string>{"mhcjit"});
  std::set<llvm::StringRef> volumes, mounts;
  for (const llvm::json::Value& volume : *pod.getArray("volumes"))
    volumes.insert(*volume.getAsObject()->getString("name"));
  for (const llvm::json::Value& mount : *container.getArray("volumeMounts"))
    mounts.insert(*mount.getAsObject()->getString("name"));
  EXPECT_EQ(volumes, mounts);

  std::string merge = "tune merge tuned.jsonl";
  for (int i = 0; i < pods; ++i) {
    std::vector<std::string> arguments = strings_of(*container.getArray("args"));
    for (std::string& argument : arguments) {
      argument = with(argument, "$(JOB_COMPLETION_INDEX)", std::to_string(i));
      for (const std::string folder : {"/shapes/", "/records/"}) argument = with(argument, folder, cli.file(""));
    }
    const CliResult result = cli(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    merge += " " + std::to_string(i) + ".jsonl";
  }
  ASSERT_EQ(cli(merge).exit_code, 0);
  ASSERT_EQ(cli("tune --shapes shapes.json -o whole.jsonl").exit_code, 0);
  const std::set<std::string> whole = lines_of(read_file(cli.file("whole.jsonl")));
  EXPECT_GT(whole.size(), 12u);
  EXPECT_EQ(lines_of(read_file(cli.file("tuned.jsonl"))), whole);
}

// Docker itself is not at hand.
TEST_F(Fleet, TheDockerfileHasInstructionsAloneAndStagesThatAreThere) {
  const std::string text = std::regex_replace(read_file(examples + "/Dockerfile"), std::regex("\\\\\n"), " ");
  const std::regex instruction("(FROM|ARG|COPY|ENV|RUN|WORKDIR) ([^ ].*)"), stage("([^ ]+)( AS ([a-z]+))?"),
      source("--from=([a-z]+) .*");
  std::set<std::string> stages;
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(text).split(lines, '\n', -1, /*KeepEmpty=*/false);
  for (const llvm::StringRef each : lines) {
    const std::string line = each.str();
    if (each.starts_with("#")) continue;
    std::smatch part, name;
    ASSERT_TRUE(std::regex_match(line, part, instruction)) << line;
    const std::string what = part[1], value = part[2];
    if (what == "FROM") {
      ASSERT_TRUE(std::regex_match(value, name, stage)) << line;
      EXPECT_TRUE(stages.contains(name[1]) || name[1].str().starts_with("debian:12")) << line;
      stages.insert(name[3]);
    } else if (what == "COPY" && std::regex_match(value, name, source)) {
      EXPECT_TRUE(stages.contains(name[1])) << line;
    }
  }
  EXPECT_TRUE(stages.contains("build")) << "docs/fleet.md names it";
}

// With the image's variables another warm-up finds all in the image's folder.
TEST_F(Fleet, AnImageHasWhatItsJobsAskFor) {
  write_file(cli.file("shapes.json"), R"({"n": 4, "d": 256, "t": [1, 64, 8192], "dtype": "bf16"})");
  ASSERT_EQ(cli("tune --shapes shapes.json -o tuned.jsonl").exit_code, 0);
  const std::string text = with(read_file(examples + "/Dockerfile"), "/opt/", cli.file("opt/"));
  std::smatch run;
  ASSERT_TRUE(std::regex_search(text, run, std::regex("\nRUN (cp [^\n]*)\nRUN (mhcjit warmup [^\n]*)")));
  const CliResult warm = cli.shell("mkdir opt && ARCH=sm_90a && " + run[1].str() + " && " + run[2].str());
  ASSERT_EQ(warm.exit_code, 0) << warm.err;

  const std::regex variable("\nENV (MHCJIT_[A-Z_]*)=([^\n]*)");
  for (std::sregex_iterator it(text.begin(), text.end(), variable), end; it != end; ++it)
    cli.environment[(*it)[1]] = (*it)[2];
  for (const char* const name : {"MHCJIT_CACHE_RO", "MHCJIT_NO_COMPILE", "MHCJIT_TUNED"})
    EXPECT_TRUE(cli.environment.contains(name)) << name;
  cli.environment["MHCJIT_CACHE_DIR"] = cli.file("of-the-job");
  const llvm::json::Object again = json_of(cli("warmup --shapes shapes.json --arch sm_90a --json"));
  EXPECT_EQ(again.getInteger("hits"), 2);
  EXPECT_EQ(again.getInteger("compiled"), 0);
  EXPECT_EQ(again.getInteger("failed"), 0);
}

}  // namespace
}  // namespace mhcjit::test
