// A small kernel whose blocks wait for one another, for the simulator's own tests. In each round a warp of every block
// hands out words, and the other warp adds up those of all blocks, which decide what the block hands out next.
#pragma once

#include <device/matrix.cuh>

namespace exchange {

using device::u32;

constexpr int threads = 2 * device::warp_size;
constexpr unsigned shared_bytes = device::warp_size * 4;  // a sum for each lane

struct Args {
  u32* slots;   // four words for each round, block and lane, zeros before
  u32* totals;  // of the last round, for each block and lane
  u32* values;  // one for each slot
  int rounds;
  bool is_handed_whole;  // else the value stands in `values`, which no device orders before the slot
};

class Block {
 public:
  explicit Block(const Args& args)
      : args_(args), lane_(device::lane_index()), is_sender_(device::thread_index() < device::warp_size) {}

  void run() {
    const device::SharedAddress shared = device::shared_base() + 4 * static_cast<u32>(lane_);
    const int block = static_cast<int>(device::block_index_x());
    u32 total = 0;
    for (int round = 0; round < args_.rounds; ++round) {
      if (is_sender_)
        hand_out(slot(round, block), total % 97 + static_cast<u32>(block));
      else
        device::store_shared(shared, sum_of_all(round));
      device::block_barrier();
      total = device::float_bits(device::load_shared(shared));
      device::block_barrier();
    }
    if (is_sender_) args_.totals[block * device::warp_size + lane_] = total;
  }

 private:
  int slot(int round, int block) const {
    return (round * static_cast<int>(device::grid_size_x()) + block) * device::warp_size + lane_;
  }

  void hand_out(int slot, u32 value) const {
    if (!args_.is_handed_whole) args_.values[slot] = value;
    device::store_relaxed(args_.slots + 4 * slot, {{1, args_.is_handed_whole ? value : 0, 0, 0}});
  }

  u32 sum_of_all(int round) const {
    u32 sum = 0;
    for (int block = 0; block < device::grid_size_x(); ++block) {
      const int from = slot(round, block);
      device::Vector<u32, 4> words;
      while ((words = device::load_relaxed(args_.slots + 4 * from))[0] == 0) device::sleep_nanoseconds(20);
      sum += args_.is_handed_whole ? words[1] : args_.values[from];
    }
    return sum;
  }

  const Args& args_;
  int lane_;
  bool is_sender_;
};

}  // namespace exchange
