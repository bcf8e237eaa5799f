// A thread keeps values that it has found out lately by key, in a table of fixed size: a look-up needs neither a lock
// nor an allocation.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <llvm/Support/Error.h>

namespace mhcjit::runtime {

// Key has ==, a default that nobody asks for, and `std::uint64_t number() const`, which chooses its place. A place
// holds one key: another key that belongs there takes it. For one thread; constant-initialised, so that as a
// thread_local it costs nothing to reach.
template <typename Key, typename Value, std::size_t places>
class Recent {
 public:
  // The value kept for `key`, valid until the next call. If there is none, `make`, called as llvm::Error(Value&),
  // writes it; a failure is not kept.
  template <typename Make>
  llvm::Expected<const Value*> get_or_make(const Key& key, Make&& make) {
    Place& place = places_[place_of(key)];
    if (place.key == key) [[likely]]
      return &place.value;
    place.key = {};
    if (llvm::Error error = make(place.value)) return error;
    place.key = key;
    return &place.value;
  }

 private:
  struct Place {
    Key key = {};
    [[no_unique_address]] Value value = {};
  };

  // Addresses differ in few bits, low ones or high ones: a product with 2^64 over the golden ratio brings all of them
  // into its highest bits.
  static std::size_t place_of(const Key& key) {
    static_assert(std::has_single_bit(places));
    return key.number() * 0x9e3779b97f4a7c15u >> (64 - std::countr_zero(places));
  }

  std::array<Place, places> places_ = {};
};

}  // namespace mhcjit::runtime
