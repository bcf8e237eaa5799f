// A hash table that only grows, so that a look-up needs no lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <utility>

#include <llvm/ADT/Hashing.h>

namespace mhcjit::cache {

// From Key (with == and hash_value()) to Value. Entries stay, where they are, until the table is destroyed.
template <class Key, class Value>
class InsertOnlyTable {
 public:
  InsertOnlyTable() = default;
  InsertOnlyTable(const InsertOnlyTable&) = delete;
  InsertOnlyTable& operator=(const InsertOnlyTable&) = delete;
  ~InsertOnlyTable() {
    for (std::atomic<const Node*>& first : buckets_)
      for (const Node* node = first; node != nullptr;) delete std::exchange(node, node->next);
  }

  // nullptr where the key is not. From any number of threads at the same time, beside an insert too.
  const Value* find(const Key& key) const {
    const Node* node = buckets_[bucket_of(key)].load(std::memory_order_acquire);
    while (node != nullptr && !(node->key == key)) node = node->next;
    return node == nullptr ? nullptr : &node->value;
  }

  // A key that is not in the table yet. From one thread at a time.
  void insert(const Key& key, const Value& value) {
    std::atomic<const Node*>& first = buckets_[bucket_of(key)];
    first.store(new Node{key, value, first.load(std::memory_order_relaxed)}, std::memory_order_release);
  }

 private:
  struct Node {
    Key key;
    Value value;
    const Node* next;
  };

  // For a few hundred entries. More only make longer chains.
  static constexpr std::size_t buckets = 256;

  static std::size_t bucket_of(const Key& key) {
    using llvm::hash_value;  // for keys that are numbers
    return static_cast<std::size_t>(hash_value(key)) % buckets;
  }

  std::array<std::atomic<const Node*>, buckets> buckets_ = {};
};

}  // namespace mhcjit::cache
