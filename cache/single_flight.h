// The memory tier: values that are made once, however many threads ask.
#pragma once

#include <exception>
#include <future>
#include <map>
#include <mutex>
#include <utility>
#include <variant>

#include <llvm/Support/Error.h>

#include "cache/insert_only_table.h"
#include "support/error.h"

namespace mhcjit::cache {

// A map from Key (with <, == and hash_value()) to Value (cheap to copy: a pointer) whose missing values are made by the
// first thread that asks for them while the others wait. Values stay until the map is destroyed. Every member may be
// called from any number of threads at the same time.
template <class Key, class Value>
class SingleFlight {
 public:
  // The value when it is ready, else nullptr; never waits for one that is being made. Cost: a hash and a comparison.
  const Value* find(const Key& key) const { return ready_.find(key); }

  // The value, made by `create` (called as llvm::Expected<Value>()) when there is none. `create` runs in one thread
  // per key without a lock, so distinct keys do not wait for each other; it must not ask for its own key. Its failure,
  // status and text, is the answer of every thread that waited, and is not kept: the next call creates again.
  template <class Create>
  llvm::Expected<Value> get_or_create(const Key& key, Create&& create) {
    if (const Value* ready = find(key)) return *ready;
    std::promise<Outcome> promise;
    std::shared_future<Outcome> flight;
    {
      const std::lock_guard lock(mutex_);
      // It may have become ready since the look-up above.
      if (const Value* ready = find(key)) return *ready;
      const auto [place, leads] = flights_.try_emplace(key);
      if (leads) place->second = promise.get_future().share();
      if (!leads) flight = place->second;
    }
    if (flight.valid()) return to_expected(flight.get());
    return lead(key, promise, std::forward<Create>(create));
  }

 private:
  using Outcome = std::variant<Value, Failure>;

  static llvm::Expected<Value> to_expected(const Outcome& outcome) {
    if (const Value* value = std::get_if<Value>(&outcome)) return *value;
    const Failure& failure = std::get<Failure>(outcome);
    return make_error(failure.status, failure.text);
  }

  template <class Create>
  llvm::Expected<Value> lead(const Key& key, std::promise<Outcome>& promise, Create&& create) {
    try {
      llvm::Expected<Value> made = create();
      const Outcome outcome = made ? Outcome(std::move(*made)) : Outcome(take_failure(made.takeError()));
      land(key, std::get_if<Value>(&outcome));
      promise.set_value(outcome);
      return to_expected(outcome);
    } catch (...) {
      // Nobody may wait for ever: the waiters get the exception that this thread gets.
      land(key, nullptr);
      promise.set_exception(std::current_exception());
      throw;
    }
  }

  void land(const Key& key, const Value* value) {
    const std::lock_guard lock(mutex_);
    flights_.erase(key);
    if (value != nullptr) ready_.insert(key, *value);
  }

  InsertOnlyTable<Key, Value> ready_;
  std::mutex mutex_;  // for inserting into ready_ and for flights_
  std::map<Key, std::shared_future<Outcome>> flights_;
};

}  // namespace mhcjit::cache
