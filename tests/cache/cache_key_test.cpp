// Two different compilations must never share a key, and a key must never change between builds of one schema.
#include "cache/cache_key.h"

#include <gtest/gtest.h>

namespace mhcjit::cache {
namespace {

CacheKey key_of(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  CacheKey key;
  for (const auto& [field, value] : fields) key.add(field, value);
  return key;
}

TEST(CacheKey, StartsWithItsSchemaAndReadsAsFieldValueLines) {
  EXPECT_EQ(key_of({{"architecture", "sm_90a"}, {"n", "4"}}).text(),
            "6,1 schema=3\n12,6 architecture=sm_90a\n1,1 n=4\n");
}

// The digest was computed by Python's hashlib from FORMAT.md's rule.
TEST(CacheKey, DigestIsTheSha256OfTheTextForEver) {
  const CacheKey key = key_of({{"architecture", "sm_90a"}, {"source", "line one\nsource=line two\n"}, {"empty", ""}});
  EXPECT_EQ(key.digest(), "98bdc33c0f58f440dedb611634a86c166eda2f143ce0fb072f85297323e72755");
  EXPECT_EQ(key.digest(), key.digest()) << "asking twice changes the answer";
}

TEST(CacheKey, FieldsThatShiftTheirBoundariesDiffer) {
  const CacheKey keys[] = {
      key_of({{"a", "bc"}}),
      key_of({{"ab", "c"}}),
      key_of({{"a", "b"}, {"c", ""}}),
      key_of({{"a", "b\n1,1 c=d"}}),
      key_of({{"a", "b"}, {"c", "d"}}),
      key_of({{"a", "b\n"}, {"c", "d"}}),
      key_of({{"c", "d"}, {"a", "b"}}),
      key_of({{"a", "=b"}}),
      key_of({{"a=", "b"}}),
      key_of({{"", "a=b"}}),
      key_of({{"a", "b"}, {"a", "b"}}),
      key_of({{"a", std::string_view("b\0", 2)}}),
      key_of({}),
  };
  for (const CacheKey& left : keys) {
    for (const CacheKey& right : keys) {
      EXPECT_EQ(&left == &right, left.text() == right.text()) << left.text() << right.text();
      EXPECT_EQ(&left == &right, left.digest() == right.digest()) << left.text() << right.text();
    }
  }
}

}  // namespace
}  // namespace mhcjit::cache
