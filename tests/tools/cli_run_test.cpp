// run and make-inputs: the numbers are checked, the output file has what is documented, and every bad input is refused
// with its text, its exit code and no output file.
#include <cstring>

#include <gtest/gtest.h>

#include "oracle/storage.h"
#include "support/error.h"
#include "tests/tools/cli.h"
#include "tools/safetensors.h"

namespace mhcjit::test {
namespace {

using tools::HostBuffer;
using tools::SafetensorsFile;
using tools::TensorInfo;
using tools::TensorToWrite;

constexpr const char* pytorch_file = MHCJIT_TEST_DATA "/pytorch_bf16.safetensors";

// Every tensor of a file, to be changed and written to another.
struct Tensors {
  std::vector<TensorInfo> infos;
  std::vector<std::string> bytes;

  TensorInfo& info(const std::string& name) {
    return *std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& tensor) { return tensor.name == name; });
  }
  std::string& content(const std::string& name) { return bytes[static_cast<std::size_t>(&info(name) - infos.data())]; }
  void remove(const std::string& name) {
    bytes.erase(bytes.begin() + (&info(name) - infos.data()));
    infos.erase(infos.begin() + (&info(name) - infos.data()));
  }
};

Tensors read_tensors(const std::string& path) {
  Tensors tensors;
  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  if (!file) {
    ADD_FAILURE() << llvm::toString(file.takeError());
    return tensors;
  }
  for (const TensorInfo& tensor : file->tensors()) {
    HostBuffer buffer = llvm::cantFail(file->read(tensor));
    tensors.infos.push_back(tensor);
    tensors.bytes.emplace_back(reinterpret_cast<const char*>(buffer.data()), buffer.size());
  }
  return tensors;
}

void write_tensors(const std::string& path, const Tensors& tensors) {
  std::vector<TensorToWrite> list;
  for (std::size_t i = 0; i < tensors.infos.size(); ++i)
    list.push_back({tensors.infos[i].name,
                    tensors.infos[i].dtype,
                    tensors.infos[i].shape,
                    {reinterpret_cast<const std::byte*>(tensors.bytes[i].data()), tensors.bytes[i].size()}});
  EXPECT_EQ(take_failure(tools::write_safetensors(path, list)).text, "");
}

using Shapes = std::map<std::string, std::pair<std::string, std::vector<std::int64_t>>>;

Shapes shapes_of(const std::string& path) {
  Shapes shapes;
  for (const TensorInfo& tensor : read_tensors(path).infos) shapes[tensor.name] = {tensor.dtype, tensor.shape};
  return shapes;
}

TEST(CliRun, FileWrittenByPyTorchForwardAndBackward) {
  const Cli cli;
  const CliResult result = cli(
      {"run", "--inputs", pytorch_file, "--outputs", "out.safetensors", "--device", "cpu", "--backward", "--check"});
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(shapes_of(cli.file("out.safetensors")), (Shapes{{"h_in", {"BF16", {2, 3, 16}}},
                                                            {"h_post", {"F32", {2, 3, 4}}},
                                                            {"h_res", {"F32", {2, 3, 4, 4}}},
                                                            {"inv_rms", {"F32", {2, 3}}},
                                                            {"h_mix", {"F32", {2, 3, 24}}},
                                                            {"h_pre", {"F32", {2, 3, 4}}},
                                                            {"dx", {"BF16", {2, 3, 4, 16}}},
                                                            {"dphi", {"F32", {24, 64}}},
                                                            {"dgamma", {"F32", {4, 16}}},
                                                            {"dalpha", {"F32", {3}}},
                                                            {"dbias", {"F32", {24}}}}));
  for (const std::string name : {"h_in", "h_res", "dx", "dphi", "dgamma", "dalpha", "dbias"})
    EXPECT_NE(result.out.find("\n" + name + " "), std::string::npos) << result.out;
  EXPECT_NE(result.err.find("running on cpu: T=6 n=4 D=16 bf16 gamma"), std::string::npos) << result.err;
}

TEST(CliRun, ForwardAloneOfThreeDimensionsWithoutGamma) {
  const Cli cli;
  ASSERT_EQ(cli("make-inputs --t 7 --n 3 --d 24 --dtype fp16 --seed 3 -o in.safetensors").exit_code, 0);
  const CliResult result = cli("run --inputs in.safetensors --outputs out.safetensors --device cpu");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(shapes_of(cli.file("out.safetensors")), (Shapes{{"h_in", {"F16", {7, 24}}},
                                                            {"h_post", {"F32", {7, 3}}},
                                                            {"h_res", {"F32", {7, 3, 3}}},
                                                            {"inv_rms", {"F32", {7}}},
                                                            {"h_mix", {"F32", {7, 15}}},
                                                            {"h_pre", {"F32", {7, 3}}}}));
}

// h_post of a factor is h_post of 1 times the factor, and --check compares with it.
TEST(CliRun, PostMultScalesHPostAlone) {
  const Cli cli;
  ASSERT_EQ(cli("make-inputs --t 5 --n 2 --d 8 --gamma -o in").exit_code, 0);
  const auto run = [&](const std::string& options) {
    const CliResult result = cli("run --inputs in --outputs out --device cpu --backward --check " + options);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    return read_tensors(cli.file("out"));
  };
  const auto h_post = [](Tensors tensors) {
    std::vector<float> values(tensors.content("h_post").size() / sizeof(float));
    std::memcpy(values.data(), tensors.content("h_post").data(), values.size() * sizeof(float));
    return values;
  };
  const std::vector<float> once = h_post(run("--post-mult 1"));
  for (const auto& [options, factor] : {std::pair{"", 2.0f}, {"--post-mult 2", 2.0f}, {"--post-mult -0.5", -0.5f}}) {
    Tensors scaled = run(options);
    std::vector<float> expected = once;
    for (float& value : expected) value *= factor;
    EXPECT_EQ(h_post(scaled), expected) << options;
    EXPECT_EQ(scaled.content("h_in"), run("--post-mult 1").content("h_in")) << options;
  }
  EXPECT_EQ(h_post(run("--post-mult 0")), std::vector<float>(once.size()));
}

// The same dx before it is rounded; --check holds it to the bound of fp32.
TEST(CliRun, Fp32Dx) {
  const Cli cli;
  ASSERT_EQ(cli("make-inputs --t 5 --n 2 --d 8 --gamma -o in").exit_code, 0);
  const auto run = [&](const std::string& options) {
    const CliResult result = cli("run --inputs in --outputs out --device cpu --backward --check --json " + options);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_EQ(json_of(result).getBoolean("fp32_dx"), !options.empty());
    return read_tensors(cli.file("out"));
  };
  Tensors rounded = run(""), exact = run("--fp32-dx");
  ASSERT_EQ(rounded.info("dx").dtype, "BF16");
  ASSERT_EQ(exact.info("dx").dtype, "F32");
  const auto values = [](Tensors& tensors, mhcjit_dtype dtype) {
    return oracle::from_storage(tensors.content("dx").data(), 5 * 2 * 8, dtype);
  };
  const std::vector<double> expected = values(rounded, MHCJIT_BF16);
  std::vector<double> dx = values(exact, MHCJIT_FP32);
  EXPECT_NE(dx, expected);
  for (double& value : dx) value = oracle::round_to(value, MHCJIT_BF16);
  EXPECT_EQ(dx, expected);
  EXPECT_EQ(exact.content("dphi"), rounded.content("dphi"));
}

struct Case {
  const char* name;
  std::string make;
};

class CliRunChecked : public testing::TestWithParam<Case> {};

bool is_parameter_gradient(llvm::StringRef tensor) {
  return tensor == "dphi" || tensor == "dgamma" || tensor == "dalpha" || tensor == "dbias";
}

TEST_P(CliRunChecked, EveryOutputIsWithinItsBound) {
  const Cli cli;
  const CliResult made = cli("make-inputs -o in.safetensors " + GetParam().make);
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out, "");
  const CliResult result =
      cli("run --inputs in.safetensors --outputs out.safetensors --device cpu --backward --check --json");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getString("device"), "cpu");
  EXPECT_EQ(json.getBoolean("ok"), true);
  const bool gamma = GetParam().make.find("--gamma") != std::string::npos;
  ASSERT_EQ(json.getArray("check")->size(), gamma ? 11u : 10u);
  for (const llvm::json::Value& row : *json.getArray("check")) {
    EXPECT_EQ(row.getAsObject()->getBoolean("ok"), true);
    const bool rounded = row.getAsObject()->getBoolean("rounded").value();
    const double bound = row.getAsObject()->getNumber("bound").value();
    EXPECT_TRUE(row.getAsObject()->getNumber("error").value() <= bound || rounded);
    EXPECT_GT(bound, 0);
    // Outputs that have a row for each token say which is the worst.
    const std::optional<double> row_error = row.getAsObject()->getNumber("row_error");
    const bool is_sum = is_parameter_gradient(row.getAsObject()->getString("tensor").value());
    EXPECT_EQ(row_error.has_value(), !is_sum && json.getInteger("T") != 0);
    EXPECT_EQ(row.getAsObject()->getInteger("worst_row").has_value(), row_error.has_value());
    if (!row_error) continue;
    EXPECT_EQ(row.getAsObject()->getNumber("row_bound"), 3.0 * bound);
    EXPECT_TRUE(*row_error <= 3.0 * bound || rounded);
    EXPECT_LT(row.getAsObject()->getInteger("worst_row"), json.getInteger("T"));
  }
  EXPECT_EQ(shapes_of(cli.file("out.safetensors")).size(), gamma ? 11u : 10u);
}

INSTANTIATE_TEST_SUITE_P(CliRun, CliRunChecked,
                         testing::Values(Case{"bf16", "--t 13 --n 4 --d 64 --dtype bf16 --seed 1 --std 1.0"},
                                         Case{"fp16", "--t 7 --n 2 --d 127 --dtype fp16 --seed 2 --std 0.05 --gamma"},
                                         Case{"fp32", "--t 5 --n 8 --d 33 --dtype fp32 --seed 3 --std 20 --gamma"},
                                         Case{"one_stream", "--t 1 --n 1 --d 1 --seed 4"},
                                         Case{"no_tokens", "--t 0 --n 4 --d 16 --gamma"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CliRun, EqualSeedsGiveEqualFilesAndOthersDoNot) {
  const Cli cli;
  const std::string make = "make-inputs --t 5 --n 2 --d 8 --seed ";
  ASSERT_EQ(cli(make + "1 -o a").exit_code, 0);
  ASSERT_EQ(cli(make + "1 -o b").exit_code, 0);
  ASSERT_EQ(cli(make + "2 -o c").exit_code, 0);
  ASSERT_EQ(cli("run --inputs a --outputs out_a --device cpu --backward").exit_code, 0);
  ASSERT_EQ(cli("run --inputs b --outputs out_b --device cpu --backward").exit_code, 0);
  EXPECT_EQ(read_file(cli.file("a")), read_file(cli.file("b")));
  EXPECT_NE(read_file(cli.file("a")), read_file(cli.file("c")));
  EXPECT_EQ(read_file(cli.file("out_a")), read_file(cli.file("out_b")));
}

TEST(CliRun, EpsilonsReachTheOperator) {
  const Cli cli;
  ASSERT_EQ(cli("make-inputs --t 5 --n 2 --d 8 --std 0.05 -o in").exit_code, 0);
  ASSERT_EQ(cli("run --inputs in --outputs plain --device cpu --check").exit_code, 0);
  ASSERT_EQ(cli("run --inputs in --outputs norm --device cpu --check --norm-eps 0.5").exit_code, 0);
  ASSERT_EQ(cli("run --inputs in --outputs hc --device cpu --check --hc-eps 0.5").exit_code, 0);
  Tensors plain = read_tensors(cli.file("plain")), norm = read_tensors(cli.file("norm")),
          hc = read_tensors(cli.file("hc"));
  EXPECT_NE(plain.content("inv_rms"), norm.content("inv_rms"));
  EXPECT_EQ(plain.content("inv_rms"), hc.content("inv_rms"));
  EXPECT_NE(plain.content("h_pre"), hc.content("h_pre"));
}

TEST(CliRun, AutoIsTheCpuWithoutAGpu) {
  Cli cli;
  ASSERT_EQ(cli("make-inputs --t 2 --n 2 --d 8 -o in").exit_code, 0);
  // Hides the GPUs of a machine that has some.
  cli.environment["CUDA_VISIBLE_DEVICES"] = "";
  const CliResult result = cli("run --inputs in --outputs out");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("running on cpu"), std::string::npos) << result.err;
}

TEST(CliRun, AbsentGpuIsExitCode3) {
  Cli cli;
  cli.environment["CUDA_VISIBLE_DEVICES"] = "";
  const CliResult result = cli({"run", "--inputs", pytorch_file, "--outputs", "out", "--device", "cuda:0", "--json"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_NO_DEVICE");
  EXPECT_EQ(cli.folder().file_count(), 0);
}

// A NaN in x is a NaN in the outputs: never "within the bound".
TEST(CliRun, NanFailsTheCheckAndWritesNothing) {
  const Cli cli;
  Tensors tensors = read_tensors(pytorch_file);
  const std::uint16_t nan = 0x7fc0;
  std::memcpy(tensors.content("x").data() + 20, &nan, sizeof nan);
  write_tensors(cli.file("in"), tensors);
  const CliResult result = cli("run --inputs in --outputs out --device cpu --check --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const llvm::json::Object json = json_of(result);
  EXPECT_EQ(json.getBoolean("ok"), false);
  const llvm::json::Object& h_in = *(*json.getArray("check"))[0].getAsObject();
  EXPECT_EQ(h_in.get("error")->kind(), llvm::json::Value::Null);
  EXPECT_EQ(h_in.get("row_error")->kind(), llvm::json::Value::Null);
  EXPECT_EQ(h_in.getInteger("worst_row"), 0);
  EXPECT_FALSE(std::filesystem::exists(cli.file("out")));
}

TEST(CliRun, AbsentOutputGradientsCountAsZero) {
  const Cli cli;
  Tensors tensors = read_tensors(pytorch_file);
  tensors.remove("dh_in");
  tensors.remove("dh_res");
  write_tensors(cli.file("in"), tensors);
  const CliResult result = cli("run --inputs in --outputs out --device cpu --backward --check");
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

struct Bad {
  const char* name;
  void (*damage)(Tensors&);
  std::string text;
};

class CliBadInput : public testing::TestWithParam<Bad> {};

TEST_P(CliBadInput, IsRefusedAndNothingIsWritten) {
  const Cli cli;
  Tensors tensors = read_tensors(pytorch_file);
  GetParam().damage(tensors);
  write_tensors(cli.file("in"), tensors);
  write_file(cli.file("out"), "old");
  const CliResult result = cli("run --inputs in --outputs out --device cpu --backward --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE");
  EXPECT_NE(result.err.find("in: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(GetParam().text), std::string::npos) << result.err;
  EXPECT_EQ(read_file(cli.file("out")), "old");
  EXPECT_EQ(cli.folder().file_count(), 2);
}

// Another shape of as many bytes, or of other bytes.
void reshape(Tensors& tensors, const std::string& name, std::vector<std::int64_t> shape) {
  tensors.info(name).shape = shape;
  tensors.content(name).resize(*tools::tensor_bytes(tensors.info(name).dtype, shape));
}

INSTANTIATE_TEST_SUITE_P(
    CliRun, CliBadInput,
    testing::Values(
        Bad{"no_x", [](Tensors& t) { t.remove("x"); }, "tensor 'x' is missing, the file has: "},
        Bad{"no_phi", [](Tensors& t) { t.remove("phi"); }, "tensor 'phi' is missing"},
        Bad{"no_alpha", [](Tensors& t) { t.remove("alpha"); }, "tensor 'alpha' is missing"},
        Bad{"no_bias", [](Tensors& t) { t.remove("bias"); }, "tensor 'bias' is missing"},
        Bad{"no_gradients",
            [](Tensors& t) {
              t.remove("dh_in");
              t.remove("dh_post");
              t.remove("dh_res");
            },
            "tensors 'dh_in', 'dh_post' and 'dh_res' are missing"},
        Bad{"x_int16", [](Tensors& t) { t.info("x").dtype = "I16"; },
            "tensor 'x': dtype is 'I16', allowed: BF16, F16, F32"},
        Bad{"phi_dtype",
            [](Tensors& t) {
              t.info("phi").dtype = "F16";
              reshape(t, "phi", {24, 64});
            },
            "tensor 'phi': dtype is 'F16', allowed: F32"},
        Bad{"dh_in_dtype", [](Tensors& t) { t.info("dh_in").dtype = "F16"; },
            "tensor 'dh_in': dtype is 'F16', allowed: BF16"},
        Bad{"x_rank", [](Tensors& t) { reshape(t, "x", {24, 16}); },
            "tensor 'x': shape is [24, 16], allowed: [T, n, D] or [B, S, n, D]"},
        Bad{"x_n_17", [](Tensors& t) { reshape(t, "x", {2, 17, 16}); }, "its n is 17, allowed: 1 to 16"},
        Bad{"x_n_0", [](Tensors& t) { reshape(t, "x", {2, 0, 16}); }, "its n is 0, allowed: 1 to 16"},
        Bad{"x_d_0", [](Tensors& t) { reshape(t, "x", {2, 4, 0}); }, "its D is 0, allowed: 1 to 16777216"},
        Bad{"phi_shape", [](Tensors& t) { reshape(t, "phi", {64, 24}); },
            "tensor 'phi': shape is [64, 24], expected: [24, 64], that is [n*n + 2n, n*D]"},
        Bad{"alpha_shape", [](Tensors& t) { reshape(t, "alpha", {1, 3}); }, "shape is [1, 3], expected: [3]"},
        Bad{"bias_shape", [](Tensors& t) { reshape(t, "bias", {25}); }, "shape is [25], expected: [24]"},
        Bad{"gamma_shape", [](Tensors& t) { reshape(t, "gamma", {64}); }, "shape is [64], expected: [4, 16]"},
        Bad{"dh_in_shape", [](Tensors& t) { reshape(t, "dh_in", {6, 16}); }, "shape is [6, 16], expected: [2, 3, 16]"},
        Bad{"dh_post_shape", [](Tensors& t) { reshape(t, "dh_post", {2, 3, 5}); }, "expected: [2, 3, 4]"},
        Bad{"dh_res_shape", [](Tensors& t) { reshape(t, "dh_res", {2, 3, 16}); }, "expected: [2, 3, 4, 4]"}),
    [](const auto& info) { return std::string(info.param.name); });

// More tokens than the operator takes, in a file that is small because the tensor has no elements.
TEST(CliRun, TooManyTokensAreRefused) {
  const Cli cli;
  Tensors tensors = read_tensors(pytorch_file);
  reshape(tensors, "x", {4294967296, 0, 4, 16});
  write_tensors(cli.file("in"), tensors);
  const CliResult result = cli("run --inputs in --outputs out --device cpu --json");
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE");
  EXPECT_NE(result.err.find("allowed: at most 2147483647 tokens"), std::string::npos) << result.err;
}

TEST(CliRun, TruncatedFileIsRefused) {
  const Cli cli;
  const std::string whole = read_file(pytorch_file);
  for (const std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() - 1}) {
    write_file(cli.file("in"), whole.substr(0, length));
    const CliResult result = cli("run --inputs in --outputs out --device cpu --json");
    EXPECT_EQ(result.exit_code, 1) << length;
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE") << length;
    EXPECT_FALSE(std::filesystem::exists(cli.file("out")));
  }
}

TEST(CliRun, PathsThatCannotBeUsed) {
  const Cli cli;
  const CliResult absent = cli("run --inputs absent --outputs out --device cpu --json");
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_EQ(error_code_of(absent), "MHCJIT_ERROR_IO");
  const CliResult unwritable =
      cli({"run", "--inputs", pytorch_file, "--outputs", "no/such/out", "--device", "cpu", "--json"});
  EXPECT_EQ(unwritable.exit_code, 1);
  EXPECT_EQ(error_code_of(unwritable), "MHCJIT_ERROR_IO");
  const CliResult make = cli("make-inputs --t 1 --n 1 --d 1 -o no/such/in");
  EXPECT_EQ(make.exit_code, 1);
  EXPECT_NE(make.err.find("cannot write 'no/such/in'"), std::string::npos) << make.err;
}

}  // namespace
}  // namespace mhcjit::test
