// What the reader takes is what the writer wrote, a failed write leaves the old file alone, and a file that somebody
// truncated, damaged or forged is refused with a text that names the file and the fault.
#include <cstring>
#include <random>

#include <sys/resource.h>
#include <sys/stat.h>
#include <csignal>

#include <gtest/gtest.h>

#include "support/error.h"
#include "tests/tools/temporary_folder.h"
#include "tools/safetensors.h"

namespace mhcjit::tools {
namespace {

using test::read_file;
using test::TemporaryFolder;
using test::write_file;

// A file of this header and this byte buffer, as they are.
std::string file_of(const std::string& header, const std::string& buffer) {
  std::string length(8, '\0');
  const std::uint64_t bytes = header.size();
  std::memcpy(length.data(), &bytes, sizeof bytes);
  return length + header + buffer;
}

Failure failure_of(const std::string& path) {
  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  if (file) return {};
  return take_failure(file.takeError());
}

std::string random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

llvm::ArrayRef<std::byte> view(const std::string& bytes) {
  return {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
}

const std::string small_header =
    R"({"__metadata__":{"format":"pt"},"x":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
    R"("phi":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})";

std::string small_file() { return file_of(small_header, random_bytes(20, 1)); }

TEST(Safetensors, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::string x = random_bytes(2 * 3 * 5 * 2, 2);
  const std::string phi = random_bytes(7 * 4, 3);
  const std::string scalar = random_bytes(4, 4);
  const std::vector<TensorToWrite> written = {{"x", "BF16", {2, 3, 5}, view(x)},
                                              {"phi", "F32", {7}, view(phi)},
                                              {"no \"tokens\"", "F16", {0, 4}, {}},
                                              {"scalar", "F32", {}, view(scalar)}};
  ASSERT_EQ(take_failure(write_safetensors(path, written)).text, "");

  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  ASSERT_TRUE(static_cast<bool>(file)) << llvm::toString(file.takeError());
  EXPECT_EQ(file->tensors().size(), written.size());
  for (const TensorToWrite& expected : written) {
    const TensorInfo* tensor = file->find(expected.name);
    ASSERT_NE(tensor, nullptr) << expected.name;
    EXPECT_EQ(tensor->dtype, expected.dtype);
    EXPECT_EQ(tensor->shape, expected.shape);
    llvm::Expected<HostBuffer> bytes = file->read(*tensor);
    ASSERT_TRUE(static_cast<bool>(bytes)) << llvm::toString(bytes.takeError());
    EXPECT_EQ(bytes->bytes(), expected.bytes) << expected.name;
  }
  EXPECT_EQ(file->find("gamma"), nullptr);
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Safetensors, WritesEveryTensorAlignedToItsDtype) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::string odd = random_bytes(3 * 2, 2);
  const std::string wide = random_bytes(5 * 4, 3);
  ASSERT_EQ(
      take_failure(write_safetensors(path, {{"odd", "BF16", {3}, view(odd)}, {"wide", "F32", {5}, view(wide)}})).text,
      "");
  std::uint64_t header_bytes = 0;
  const std::string bytes = read_file(path);
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  EXPECT_EQ(header_bytes % 8, 0u);
  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  ASSERT_TRUE(static_cast<bool>(file)) << llvm::toString(file.takeError());
  EXPECT_EQ(file->find("wide")->begin % 4, 0u);
  EXPECT_EQ(file->find("odd")->begin % 2, 0u);
}

TEST(Safetensors, FileWrittenByPyTorch) {
  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(MHCJIT_TEST_DATA "/pytorch_bf16.safetensors");
  ASSERT_TRUE(static_cast<bool>(file)) << llvm::toString(file.takeError());
  const TensorInfo* x = file->find("x");
  ASSERT_NE(x, nullptr);
  EXPECT_EQ(x->dtype, "BF16");
  EXPECT_EQ(x->shape, (std::vector<std::int64_t>{2, 3, 4, 16}));
  // The script that made the file sets these values.
  llvm::Expected<HostBuffer> bytes = file->read(*x);
  ASSERT_TRUE(static_cast<bool>(bytes)) << llvm::toString(bytes.takeError());
  const std::uint16_t first[] = {0x3f80, 0xc000, 0x3f00, 0x4040};
  EXPECT_EQ(std::memcmp(bytes->data(), first, sizeof first), 0);
  llvm::Expected<HostBuffer> alpha = file->read(*file->find("alpha"));
  ASSERT_TRUE(static_cast<bool>(alpha)) << llvm::toString(alpha.takeError());
  const float scales[] = {1.1f, 0.9f, 1.05f};
  ASSERT_EQ(alpha->size(), sizeof scales);
  EXPECT_EQ(std::memcmp(alpha->data(), scales, sizeof scales), 0);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::string whole = small_file();
  write_file(path, whole);
  ASSERT_EQ(failure_of(path).text, "");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write_file(path, whole.substr(0, length));
    const Failure failure = failure_of(path);
    EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE) << length;
    EXPECT_NE(failure.text.find(path), std::string::npos) << failure.text;
  }
  write_file(path, whole + "x");
  EXPECT_EQ(failure_of(path).status, MHCJIT_ERROR_BAD_FILE);
}

TEST(Safetensors, EveryFlippedBitOfTheHeaderLengthIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  for (int bit = 0; bit < 64; ++bit) {
    std::string bytes = small_file();
    bytes[static_cast<std::size_t>(bit / 8)] ^= static_cast<char>(1 << bit % 8);
    write_file(path, bytes);
    EXPECT_EQ(failure_of(path).status, MHCJIT_ERROR_BAD_FILE) << bit;
  }
}

// Whatever byte is changed, what is accepted still lies inside the file and covers it.
TEST(Safetensors, AnyChangedHeaderByteIsRefusedOrConsistent) {
  int refused = 0;
  for (std::size_t at = 0; at < small_header.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string header = small_header;
      header[at] = static_cast<char>(value);
      llvm::Expected<std::vector<TensorInfo>> tensors = parse_safetensors_header("f", header, 20);
      if (!tensors) {
        llvm::consumeError(tensors.takeError());
        ++refused;
        continue;
      }
      std::uint64_t covered = 0;
      for (const TensorInfo& tensor : *tensors) {
        ASSERT_EQ(tensor.begin, covered) << header;
        ASSERT_LE(tensor.end, 20u) << header;
        covered = tensor.end;
      }
      ASSERT_EQ(covered, 20u) << header;
    }
  }
  EXPECT_GT(refused, 1000);
}

struct Forged {
  const char* name;
  std::string header;
  std::string text;  // part of the error
};

class ForgedHeader : public testing::TestWithParam<Forged> {};

TEST_P(ForgedHeader, IsRefusedWithItsFault) {
  llvm::Expected<std::vector<TensorInfo>> tensors = parse_safetensors_header("in.safetensors", GetParam().header, 8);
  ASSERT_FALSE(static_cast<bool>(tensors));
  const Failure failure = take_failure(tensors.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_NE(failure.text.find("in.safetensors: "), std::string::npos) << failure.text;
  EXPECT_NE(failure.text.find(GetParam().text), std::string::npos) << failure.text;
}

// One tensor of a header, its fields as JSON text.
std::string member(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":{},"shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

// A header of one tensor 'a'.
std::string tensor_a(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format("{{{}}}", member("a", dtype, shape, offsets));
}

// A header of a tensor 'a' and one of another name, both fp32.
std::string two_tensors(const std::string& shape_a, const std::string& offsets_a, const std::string& name,
                        const std::string& shape, const std::string& offsets) {
  return fmt::format("{{{},{}}}", member("a", "\"F32\"", shape_a, offsets_a), member(name, "\"F32\"", shape, offsets));
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, ForgedHeader,
    testing::Values(
        Forged{"empty", "", "does not begin with '{'"}, Forged{"array", "[]", "does not begin with '{'"},
        Forged{"leading_space", " {}", "does not begin with '{'"}, Forged{"not_json", "{\"a\":", "is not JSON"},
        Forged{"trailing_text", "{} x", "is not JSON"}, Forged{"invalid_utf8", "{\"\xff\":1}", "is not JSON"},
        Forged{"deep", "{\"a\":{\"shape\":" + std::string(100000, '['), "nests deeper than the 3 levels"},
        Forged{"tensor_twice", two_tensors("[1]", "[0,4]", "a", "[2]", "[0,8]"), "has the name 'a' twice"},
        Forged{"tensor_twice_escaped", two_tensors("[1]", "[0,4]", "\\u0061", "[2]", "[0,8]"),
               "has the name 'a' twice"},
        Forged{"field_twice", R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
               "has the name 'dtype' twice"},
        Forged{"metadata_array", R"({"__metadata__":[]})", "__metadata__ is not an object"},
        Forged{"metadata_number", R"({"__metadata__":{"k":1}})", "__metadata__ 'k' is not a string"},
        Forged{"tensor_number", R"({"a":1})", "tensor 'a': is not an object"},
        Forged{"no_dtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "tensor 'a': dtype is not a string"},
        Forged{"no_shape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "tensor 'a': shape is not an array"},
        Forged{"no_offsets", R"({"a":{"dtype":"F32","shape":[2]}})", "tensor 'a': data_offsets is not an array"},
        Forged{"negative_dimension", tensor_a("\"F32\"", "[-2]", "[0,8]"), "shape[0] is not an integer of 0 to"},
        Forged{"fractional_dimension", tensor_a("\"F32\"", "[2.5]", "[0,8]"), "shape[0] is not an integer of 0 to"},
        Forged{"huge_dimension", tensor_a("\"F32\"", "[1,18446744073709551615]", "[0,8]"),
               "shape[1] is not an integer of 0 to"},
        Forged{"product_overflows", tensor_a("\"F32\"", "[4294967296,4294967296,2]", "[0,8]"),
               "shape [4294967296, 4294967296, 2] of 'F32' is not a size"},
        // 2^61 * 32 bits wraps to 0 and 2^61 + 2 to 64 bits in arithmetic that does not look.
        Forged{"product_wraps", tensor_a("\"F32\"", "[2305843009213693954]", "[0,8]"), "is not a size"},
        Forged{"half_bytes", tensor_a("\"F4\"", "[15]", "[0,8]"), "is not a size"},
        Forged{"three_offsets", tensor_a("\"F32\"", "[2]", "[0,4,8]"), "data_offsets has 3 numbers, allowed: 2"},
        Forged{"offsets_reversed", tensor_a("\"F32\"", "[2]", "[8,0]"), "data_offsets is [8, 0], allowed"},
        Forged{"offset_outside", tensor_a("\"F32\"", "[2]", "[1,9]"), "allowed: begin <= end <= 8"},
        Forged{"size_differs", tensor_a("\"F32\"", "[1]", "[0,8]"), "takes 4 bytes, but data_offsets [0, 8] holds 8"},
        Forged{"overlap", two_tensors("[2]", "[0,8]", "b", "[1]", "[4,8]"),
               "tensor 'b': data_offsets begins at 4, allowed: 8"},
        Forged{"gap", two_tensors("[0]", "[0,0]", "b", "[1]", "[4,8]"),
               "tensor 'b': data_offsets begins at 4, allowed: 0"},
        Forged{"uncovered_end", tensor_a("\"F32\"", "[1]", "[0,4]"), "end at byte 4 of the buffer, but the file has 8"},
        Forged{"unknown_dtype_outside", tensor_a("\"Q7\"", "[1]", "[0,12]"), "allowed: begin <= end <= 8"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, UnknownDtypeIsKeptByItsOffsets) {
  llvm::Expected<std::vector<TensorInfo>> tensors =
      parse_safetensors_header("f", tensor_a("\"Q7\"", "[1]", "[0,8]"), 8);
  ASSERT_TRUE(static_cast<bool>(tensors)) << llvm::toString(tensors.takeError());
  EXPECT_EQ(tensors->front().dtype, "Q7");
  EXPECT_EQ(tensors->front().bytes(), 8u);
}

TEST(Safetensors, HugeHeaderIsRefusedBeforeItIsRead) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  write_file(path, file_of(std::string(max_safetensors_header_bytes + 1, ' '), ""));
  EXPECT_NE(failure_of(path).text.find("the header length is 16777217, allowed: at most 16777216"), std::string::npos)
      << failure_of(path).text;
}

TEST(Safetensors, WhatIsNotARegularFileIsRefusedWithoutBlocking) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder / "absent", folder.path(), folder / "fifo"}) {
    const Failure failure = failure_of(path);
    EXPECT_EQ(failure.status, MHCJIT_ERROR_IO) << path;
    EXPECT_NE(failure.text.find(path), std::string::npos) << failure.text;
  }
}

TEST(Safetensors, FileThatShrinksWhileOpenIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  write_file(path, small_file());
  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  ASSERT_TRUE(static_cast<bool>(file)) << llvm::toString(file.takeError());
  std::filesystem::resize_file(path, small_file().size() - 1);
  llvm::Expected<HostBuffer> bytes = file->read(*file->find("phi"));
  ASSERT_FALSE(static_cast<bool>(bytes));
  const Failure failure = take_failure(bytes.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_NE(failure.text.find("became shorter"), std::string::npos) << failure.text;
}

// A full disk is played by a limit on the size of a file.
TEST(Safetensors, FailedWriteLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  write_file(path, "old");
  const std::string bytes = random_bytes(4096, 5);

  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight = {1024, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const Failure failure = take_failure(write_safetensors(path, {{"a", "F32", {1024}, view(bytes)}}));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_EQ(failure.status, MHCJIT_ERROR_IO);
  EXPECT_NE(failure.text.find("File too large"), std::string::npos) << failure.text;
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Safetensors, OutputThatIsNotARegularFileIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = random_bytes(4, 6);
  const std::vector<TensorToWrite> tensors = {{"a", "F32", {1}, view(bytes)}};
  for (const std::string& path : {folder.path(), std::string("/dev/null"), folder / "absent/a.safetensors"}) {
    const Failure failure = take_failure(write_safetensors(path, tensors));
    EXPECT_EQ(failure.status, MHCJIT_ERROR_IO) << path;
    EXPECT_NE(failure.text.find(path), std::string::npos) << failure.text;
  }
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(Safetensors, LinkIsWrittenThrough) {
  const TemporaryFolder folder;
  write_file(folder / "target", "old");
  std::filesystem::create_symlink("target", folder / "link");
  const std::string bytes = random_bytes(4, 7);
  ASSERT_EQ(take_failure(write_safetensors(folder / "link", {{"a", "F32", {1}, view(bytes)}})).text, "");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(failure_of(folder / "target").text, "");
}

}  // namespace
}  // namespace mhcjit::tools
