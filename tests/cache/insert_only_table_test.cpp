// A look-up without a lock finds what was inserted before it, whole, also while more is inserted into the same chain.
#include "cache/insert_only_table.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace mhcjit::cache {
namespace {

// Every other key shares a bucket with all such keys.
struct Key {
  int id;
  bool operator==(const Key&) const = default;
  friend std::size_t hash_value(const Key& key) { return key.id % 2 == 0 ? 0 : static_cast<std::size_t>(key.id); }
};

TEST(InsertOnlyTable, FindsEveryKeyAndNoOther) {
  InsertOnlyTable<Key, int> table;
  EXPECT_EQ(table.find({0}), nullptr);
  constexpr int keys = 1000;  // more than there are buckets
  std::vector<const int*> places;
  for (int id = 0; id < keys; ++id) {
    EXPECT_EQ(table.find({id}), nullptr);
    table.insert({id}, 7 * id);
    places.push_back(table.find({id}));
  }
  for (int id = 0; id < keys; ++id) {
    ASSERT_NE(table.find({id}), nullptr) << id;
    EXPECT_EQ(*table.find({id}), 7 * id);
    EXPECT_EQ(table.find({id}), places[id]) << "it has moved";
  }
  EXPECT_EQ(table.find({keys}), nullptr);
}

TEST(InsertOnlyTable, ReadersBesideAnInsertSeeWholeValues) {
  InsertOnlyTable<Key, std::shared_ptr<const int>> table;
  constexpr int keys = 4000;
  std::atomic<int> inserted = 0;
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 3; ++thread)
    readers.emplace_back([&] {
      for (int seen = 0; seen < keys;) {
        seen = inserted;
        for (const int id : {seen / 2, std::max(seen - 1, 0), seen}) {
          const std::shared_ptr<const int>* found = table.find({id});
          if (found != nullptr)
            EXPECT_EQ(**found, id);
          else
            EXPECT_GE(id, seen);
        }
      }
    });
  for (int id = 0; id < keys; ++id) {
    table.insert({id}, std::make_shared<const int>(id));
    inserted = id + 1;
  }
  for (std::thread& reader : readers) reader.join();
}

// What was inserted is freed with the table.
TEST(InsertOnlyTable, FreesItsValues) {
  const auto value = std::make_shared<const int>(3);
  {
    InsertOnlyTable<Key, std::shared_ptr<const int>> table;
    for (int id = 0; id < 10; ++id) table.insert({id}, value);
    EXPECT_EQ(value.use_count(), 11);
  }
  EXPECT_EQ(value.use_count(), 1);
}

}  // namespace
}  // namespace mhcjit::cache
