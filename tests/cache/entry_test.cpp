// A damaged, cut or forged entry must never be taken for a sound one, and reading it must be safe.
#include "cache/entry.h"

#include <llvm/Support/Endian.h>

#include "support/error.h"
#include "tests/cache/resealed.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace endian = llvm::support::endian;

bool decodes(std::string bytes) {
  llvm::Expected<Entry> entry = decode(std::move(bytes));
  if (entry) return true;
  const Failure failure = take_failure(entry.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  return false;
}

std::string refusal(std::string bytes) {
  llvm::Expected<Entry> entry = decode(std::move(bytes));
  return entry ? "decoded" : take_failure(entry.takeError()).text;
}

std::string with_u32(std::string bytes, std::size_t offset, std::uint32_t value) {
  endian::write32le(bytes.data() + offset, value);
  return resealed(std::move(bytes));
}

TEST(Entry, ReadsBackAsWritten) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const Entry entry = sample(seed, seed).entry;
    llvm::Expected<Entry> read = decode(encode(entry));
    ASSERT_TRUE(static_cast<bool>(read)) << take_failure(read.takeError()).text;
    EXPECT_EQ(*read, entry);
  }
}

// A format that is not read any more is a miss by its version, never by chance.
TEST(Entry, RefusesTheGoldenFileOfFormat1ByItsVersion) {
  EXPECT_EQ(refusal(data_file("golden_format1.mhcjit")), "cache entry: format version is 1, it should be 2");
}

TEST(Entry, ReadsTheGoldenFileOfFormat2) {
  const std::string golden = data_file("golden_format2.mhcjit");
  llvm::Expected<Entry> read = decode(golden);
  ASSERT_TRUE(static_cast<bool>(read)) << take_failure(read.takeError()).text;

  Entry expected;
  expected.key_text = "6,1 schema=2\n12,6 architecture=sm_90a\n6,25 source=line one\nsource=line two\n\n5,0 empty=\n";
  expected.architecture = "sm_90a";
  expected.kernels = {{{"scale", 12, 0, 0, 0, 1024}, data_file("scale_nvrtc13.sm_90a.cubin")},
                      {{"mhcjit_second", 255, 16, 24, 49152, 128}, data_file("scale_nvrtc12.sm_90a.cubin")}};
  expected.created_unix_seconds = 1767225600;
  EXPECT_EQ(*read, expected);
  EXPECT_EQ(encode(expected), golden) << "the writer's bytes are not format 2 any more";
}

TEST(Entry, RefusesEveryFlippedBitAndByte) {
  const std::string sound = encode(sample().entry);
  std::string damaged = sound;
  for (std::size_t offset = 0; offset < sound.size(); ++offset) {
    for (const int mask : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      damaged[offset] = static_cast<char>(sound[offset] ^ mask);
      ASSERT_FALSE(decodes(damaged)) << "byte " << offset << " xor " << mask;
    }
    damaged[offset] = sound[offset];
  }
  EXPECT_TRUE(decodes(damaged));
}

TEST(Entry, RefusesEveryCutAndEveryExtension) {
  const std::string sound = encode(sample().entry);
  for (std::size_t size = 0; size < sound.size(); ++size) {
    ASSERT_FALSE(decodes(sound.substr(0, size))) << size;
  }
  EXPECT_FALSE(decodes(sound + '\0'));
  EXPECT_FALSE(decodes(sound + sound));
}

// What the checksum cannot catch, because the writer computed it too.
TEST(Entry, RefusesForgedLengths) {
  Entry entry = sample().entry;
  entry.key_text.assign(10, 'k');
  const std::string sound = resealed(encode(entry));
  ASSERT_TRUE(decodes(sound));
  const std::size_t record = 40 + entry.key_text.size() + entry.architecture.size();
  const auto cubin_bytes = static_cast<std::uint32_t>(entry.kernels[0].cubin.size());

  for (const std::uint32_t huge : {0xffffffffu, 0x80000000u, 0x7fffffffu, static_cast<std::uint32_t>(sound.size())}) {
    for (const std::size_t offset : {std::size_t{12}, std::size_t{24}, std::size_t{28}, record}) {
      EXPECT_FALSE(decodes(with_u32(sound, offset, huge))) << offset << " holds " << huge;
    }
  }
  for (const std::uint32_t wrong : {UINT32_MAX, UINT32_MAX / 2, cubin_bytes + 16, cubin_bytes - 16}) {
    EXPECT_FALSE(decodes(with_u32(sound, record + 24, wrong))) << "cubin length " << wrong;
  }
  EXPECT_FALSE(decodes(with_u32(sound, 28, 0))) << "an architecture of no bytes";
}

TEST(Entry, NamesTheFieldItsValueAndWhatIsAllowed) {
  Entry entry = sample().entry;
  const std::string sound = encode(entry);
  const std::string size = std::to_string(sound.size());
  EXPECT_EQ(refusal("short"), "cache entry: size is 5, it should be 56 to 67108864");
  EXPECT_EQ(refusal("GARBAGE!" + sound.substr(8)),
            "cache entry: magic is 4741524241474521, it should be 4d48434a49540d0a");
  EXPECT_EQ(refusal(with_u32(sound, 8, 3)), "cache entry: format version is 3, it should be 2");
  EXPECT_EQ(refusal(sound + "x"),
            "cache entry: total length is " + size + ", it should be " + std::to_string(sound.size() + 1));
  const std::size_t records = 40 + entry.key_text.size() + entry.architecture.size();
  const std::size_t last_record = records + 28 + entry.kernels[0].resources.name.size();
  const auto last_cubin_bytes = static_cast<std::uint32_t>(entry.kernels[1].cubin.size());
  EXPECT_EQ(refusal(with_u32(sound, last_record + 24, last_cubin_bytes - 7)),
            "cache entry: bytes between the cubins and the checksum is 7, it should be 0");
  std::string unsealed = sound;
  unsealed.back() = static_cast<char>(unsealed.back() ^ 1);
  EXPECT_TRUE(llvm::StringRef(refusal(unsealed)).starts_with("cache entry: checksum is "));
}

TEST(Entry, CubinsAreAlignedPartsOfItsBytes) {
  for (std::size_t length = 1; length <= 40; ++length) {
    Entry entry = sample().entry;
    entry.key_text.assign(length, 'k');
    const Bytes bytes = encode(entry);
    llvm::Expected<Entry> read = decode(bytes);
    ASSERT_TRUE(static_cast<bool>(read));
    for (const CompiledKernel& kernel : read->kernels) {
      EXPECT_EQ((kernel.cubin.data() - bytes.data()) % 16, 0) << length;
      EXPECT_GT(kernel.cubin.data(), bytes.data());
      EXPECT_LE(kernel.cubin.data() + kernel.cubin.size(), bytes.data() + bytes.size());
    }
  }
}

TEST(Entry, RefusesAnythingButZerosBeforeACubin) {
  Entry entry = sample().entry;
  entry.kernels[0].cubin = entry.kernels[0].cubin.str() + "odd";
  std::string bytes = encode(entry);
  const std::size_t padding = bytes.size() - 16 - entry.kernels[1].cubin.size() - 1;
  ASSERT_EQ(bytes[padding], '\0');
  bytes[padding] = 1;
  EXPECT_TRUE(llvm::StringRef(refusal(resealed(bytes))).starts_with("cache entry: the zeros before a cubin is 0"));
}

TEST(Entry, LimitsHoldForWriterAndReaderAlike) {
  const auto refused = [](const char* text, void (*change)(Entry&)) {
    Entry entry = sample().entry;
    change(entry);
    const Failure failure = take_failure(check_limits(entry));
    EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
    EXPECT_EQ(failure.text, text);
    EXPECT_EQ(refusal(encode(entry)), text);
  };
  refused("cache entry: length of a kernel's name is 0, it should be 1 to 4096",
          [](Entry& entry) { entry.kernels[1].resources.name.clear(); });
  refused("cache entry: length of a kernel's name is 4097, it should be 1 to 4096",
          [](Entry& entry) { entry.kernels[0].resources.name.assign(4097, 'k'); });
  refused("cache entry: registers is 4294967295, it should be 0 to 2147483647",
          [](Entry& entry) { entry.kernels[0].resources.registers = -1; });
  refused("cache entry: most threads of a block is 2147483648, it should be 0 to 2147483647",
          [](Entry& entry) { entry.kernels[1].resources.max_threads_per_block = INT32_MIN; });
  refused("cache entry: length of the architecture is 0, it should be 1 to 32",
          [](Entry& entry) { entry.architecture.clear(); });
  refused("cache entry: length of the architecture is 33, it should be 1 to 32",
          [](Entry& entry) { entry.architecture.assign(33, 'a'); });
  refused("cache entry: number of kernels is 0, it should be 1 to 256", [](Entry& entry) { entry.kernels.clear(); });
  refused("cache entry: number of kernels is 257, it should be 1 to 256",
          [](Entry& entry) { entry.kernels.resize(257, entry.kernels[0]); });
  refused("cache entry: length of the key text is 16777217, it should be 0 to 16777216",
          [](Entry& entry) { entry.key_text.assign((std::size_t{16} << 20) + 1, 'k'); });
}

TEST(Entry, MoreThanTheMostBytesIsRefused) {
  Entry entry = sample().entry;
  std::string cubin = entry.kernels[1].cubin.str();
  cubin.resize(max_entry_bytes - (encode(entry).size() - cubin.size()), 'c');
  entry.kernels[1].cubin = cubin;
  EXPECT_FALSE(static_cast<bool>(check_limits(entry))) << "the most that is allowed";
  EXPECT_TRUE(decodes(encode(entry)));
  entry.kernels[1].cubin = cubin + 'c';
  EXPECT_EQ(take_failure(check_limits(entry)).text,
            "cache entry: total length is 67108865, it should be 0 to 67108864");
  EXPECT_FALSE(decodes(encode(entry)));
}

}  // namespace
}  // namespace mhcjit::cache
