// Drivers load cut cubins and cubins of another architecture with success, so none of those may get to one.
#include "cache/cubin_check.h"

#include <llvm/Support/Endian.h>

#include "support/error.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace endian = llvm::support::endian;

const char* const architectures[] = {"sm_80", "sm_90a", "sm_100a", "sm_120a"};
const char* const compilers[] = {"12", "13"};

std::string cubin_of(const std::string& compiler, const std::string& architecture) {
  return data_file("scale_nvrtc" + compiler + "." + architecture + ".cubin");
}

std::string refusal(llvm::StringRef cubin, llvm::StringRef architecture) {
  return take_failure(check_cubin(cubin, architecture)).text;
}

TEST(CubinCheck, AcceptsBothElfAbisOfTheirOwnArchitectureOnly) {
  for (const char* compiler : compilers) {
    for (const std::string architecture : architectures) {
      const std::string cubin = cubin_of(compiler, architecture);
      for (const std::string asked : architectures) {
        EXPECT_EQ(refusal(cubin, asked).empty(), asked == architecture) << compiler << architecture << asked;
      }
    }
  }
  EXPECT_EQ(refusal(cubin_of("12", "sm_80"), "sm_90a"), "cubin: SM number is 80, it should be 90");
  EXPECT_EQ(refusal(cubin_of("13", "sm_120a"), "sm_100f"), "cubin: SM number is 120, it should be 100");
}

TEST(CubinCheck, RefusesEveryCut) {
  for (const char* compiler : compilers) {
    for (const std::string architecture : architectures) {
      const std::string cubin = cubin_of(compiler, architecture);
      for (std::size_t size = 0; size < cubin.size(); ++size) {
        ASSERT_NE(refusal(llvm::StringRef(cubin).take_front(size), architecture), "") << size;
      }
    }
  }
}

TEST(CubinCheck, RefusesWhatIsNoCudaExecutable) {
  const std::string sound = cubin_of("13", "sm_90a");
  const auto refusal_with = [&](std::size_t offset, std::uint16_t value) {
    std::string changed = sound;
    endian::write16le(changed.data() + offset, value);
    return refusal(changed, "sm_90a");
  };
  EXPECT_EQ(refusal("", "sm_90a"), "cubin: size is 0, it should be at least 64");
  EXPECT_EQ(refusal_with(0, 0x4142), "cubin: ELF magic is 1179402562, it should be 1179403647");
  EXPECT_EQ(refusal_with(4, 0x0101), "cubin: ELF class is 1, it should be 2");
  EXPECT_EQ(refusal_with(4, 0x0202), "cubin: ELF byte order is 2, it should be 1");
  EXPECT_EQ(refusal_with(16, 1), "cubin: ELF type is 1, it should be 2");
  EXPECT_EQ(refusal_with(18, 62), "cubin: ELF machine is 62, it should be 190");
  EXPECT_EQ(refusal_with(52, 63), "cubin: size of the ELF header is 63, it should be 64");
  EXPECT_EQ(refusal_with(54, 55), "cubin: size of a segment header is 55, it should be 56");
  EXPECT_EQ(refusal_with(58, 65), "cubin: size of a section header is 65, it should be 64");
  EXPECT_EQ(refusal_with(62, 15), "cubin: index of the section of names is 15, it should be less than 15");
  EXPECT_EQ(refusal_with(60, 0), "cubin: index of the section of names is 1, it should be less than 0");
}

TEST(CubinCheck, RefusesTablesAndContentsThatEndOutside) {
  const std::string sound = cubin_of("13", "sm_90a");
  const std::size_t sections = endian::read64le(sound.data() + 40);
  const std::size_t segments = endian::read64le(sound.data() + 32);
  const std::size_t text_section = sections + 12 * 64;
  const std::size_t empty_section = sections + 13 * 64;
  const auto refusal_with = [&](std::size_t offset, std::uint64_t value) {
    std::string changed = sound;
    endian::write64le(changed.data() + offset, value);
    return refusal(changed, "sm_90a");
  };
  for (const std::uint64_t outside : {std::uint64_t{sound.size()}, UINT64_MAX, UINT64_MAX - 63, UINT64_MAX / 2}) {
    EXPECT_NE(refusal_with(40, outside), "") << "section table at " << outside;
    EXPECT_NE(refusal_with(32, outside), "") << "segment table at " << outside;
    EXPECT_NE(refusal_with(text_section + 24, outside), "") << "section at " << outside;
    EXPECT_NE(refusal_with(text_section + 32, outside), "") << "section of size " << outside;
    EXPECT_NE(refusal_with(segments + 8, outside), "") << "segment at " << outside;
    EXPECT_NE(refusal_with(segments + 32, outside), "") << "segment of size " << outside;
    EXPECT_EQ(refusal_with(empty_section + 32, outside), "") << "shared memory takes no bytes of the file";
  }
  EXPECT_EQ(refusal_with(text_section + 32, 4000),
            "cubin: section 12 is 4000 bytes at offset 1536, it should end within the file's 3704");
}

TEST(CubinCheck, NamesAnArchitectureThatIsNone) {
  for (const char* wrong : {"", "sm_", "90a", "sm_90b", "sm_90aa", "compute_90", "sm_-1", "sm_256", "sm_4294967386"}) {
    const Failure failure = take_failure(check_cubin(cubin_of("13", "sm_90a"), wrong));
    EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT) << wrong;
    EXPECT_EQ(failure.text, std::string("architecture is '") + wrong +
                                "', it should be sm_ and a number up to 255, with a or f or nothing after it");
  }
}

}  // namespace
}  // namespace mhcjit::cache
