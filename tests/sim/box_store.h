// A box of shared memory on its way to a tensor, from the moment it was asked for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "tensor_map.h"

namespace mhcjit::sim {

struct BoxStore {
  TensorShape shape;
  std::array<std::int32_t, 3> first = {};
  const std::byte* from = nullptr;  // in the block's shared memory
  std::uint32_t address = 0;        // that it has there
  bool adds = false;
};

// Does it in two steps, each once.
class PendingStore {
 public:
  explicit PendingStore(const BoxStore& store) : store_(store) {}

  void read() {
    if (!rows_) rows_ = read_box(store_.shape, store_.from, store_.address);
  }
  void write() {
    read();
    if (std::exchange(is_written_, true)) return;
    (store_.adds ? add_box : write_box)(store_.shape, store_.first, *rows_);
  }

  bool is_read() const { return rows_.has_value(); }
  bool is_written() const { return is_written_; }

 private:
  BoxStore store_;
  std::optional<std::vector<std::byte>> rows_;
  bool is_written_ = false;
};

}  // namespace mhcjit::sim
