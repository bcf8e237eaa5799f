// A small kernel with all that a pipeline over a cluster needs, for the simulator's own tests: a producer of tiles, two
// warps that read them, one that sends their sums to the block that owns the tile, one that finishes the tile there.
//
// out[tile, row] = sum over columns of x[tile, row, column] * factor[column]; totals[block, row] = sum over the block's
// tiles of out[tile, row]. Each block has 64 of the columns.
#pragma once

#include <device/async.cuh>

namespace ring {

using device::SharedAddress;

constexpr int threads = 5 * device::warp_size;
constexpr int stages = 2;
constexpr int rows = 8;  // of a tile
constexpr int columns = 64;
constexpr int tile_bytes = rows * columns * 2;
constexpr int max_blocks = 8;

// Bytes of shared memory, behind its base.
constexpr unsigned tiles_at = 0;                                        // a tile of x for each stage
constexpr unsigned factors_at = tiles_at + stages * tile_bytes;         // of the block's columns
constexpr unsigned partials_at = factors_at + columns * 4;              // a sum for each 8 elements of the tile
constexpr unsigned exchange_at = partials_at + rows * columns / 8 * 4;  // sums of the rows, from each block
constexpr unsigned credit_at = exchange_at + max_blocks * rows * 4;     // what comes with a credit, from each owner
constexpr unsigned staged_at = credit_at + max_blocks * 16;             // sums of the rows of two tiles
constexpr unsigned staged_bytes = 128;                                  // of a tile: to where a box is aligned
constexpr unsigned barriers_at = staged_at + 2 * staged_bytes;
constexpr unsigned shared_bytes = barriers_at + (2 * stages + 4 + max_blocks) * 8;

struct Args {
  device::TensorMap x;       // bf16, boxes of 64 columns and 8 rows
  device::TensorMap out;     // fp32, boxes of 8 rows
  device::TensorMap totals;  // fp32, boxes of 8 rows
  const float* factors;      // of all columns
  int tiles;
  int blocks;
};

class Block {
 public:
  explicit Block(const Args& args)
      : args_(args),
        base_(device::shared_base()),
        rank_(device::cluster_rank()),
        warp_(device::thread_index() / device::warp_size),
        lane_(device::thread_index() % device::warp_size) {}

  void run() {
    init();
    device::cluster_arrive();
    device::cluster_wait();
    switch (warp_) {
      case 0: return produce();
      case 1:
      case 2: return consume();
      case 3: return reduce();
      default: return finish();
    }
  }

 private:
  SharedAddress barrier(int index) const { return base_ + barriers_at + 8 * static_cast<unsigned>(index); }
  SharedAddress full(int stage) const { return barrier(stage); }
  SharedAddress empty(int stage) const { return barrier(stages + stage); }
  SharedAddress factors_full() const { return barrier(2 * stages); }
  SharedAddress partials_full() const { return barrier(2 * stages + 1); }
  SharedAddress partials_empty() const { return barrier(2 * stages + 2); }
  SharedAddress exchange_full() const { return barrier(2 * stages + 3); }
  SharedAddress credit(int owner) const { return barrier(2 * stages + 4 + owner); }

  SharedAddress tile(int stage) const { return base_ + tiles_at + static_cast<unsigned>(stage * tile_bytes); }
  SharedAddress partial(int index) const { return base_ + partials_at + 4 * static_cast<unsigned>(index); }
  SharedAddress exchanged(int rank, int row) const {
    return base_ + exchange_at + 4 * static_cast<unsigned>(rank * rows + row);
  }
  SharedAddress staged(int turn) const { return base_ + staged_at + staged_bytes * static_cast<unsigned>(turn % 2); }

  void init() const {
    if (device::thread_index() != 0) return;
    for (int stage = 0; stage < stages; ++stage) {
      device::barrier_init(full(stage), 1);
      device::barrier_init(empty(stage), 2 * device::warp_size);
    }
    device::barrier_init(factors_full(), 1);
    device::barrier_init(partials_full(), 2 * device::warp_size);
    device::barrier_init(partials_empty(), device::warp_size);
    device::barrier_init(exchange_full(), 1);
    for (int owner = 0; owner < args_.blocks; ++owner) device::barrier_init(credit(owner), 1);
    device::barrier_init_fence();
  }

  void produce() const {
    if (lane_ != 0) return;
    device::barrier_arrive_expect(factors_full(), columns * 4);
    device::copy_bytes(base_ + factors_at, args_.factors + rank_ * columns, columns * 4, factors_full());
    for (int i = 0; i < args_.tiles; ++i) {
      const int stage = i % stages;
      device::barrier_wait(empty(stage), (i / stages + 1) % 2);
      device::barrier_arrive_expect(full(stage), tile_bytes);
      device::copy_box(tile(stage), args_.x, rank_ * columns, i * rows, 0, full(stage));
    }
  }

  // A lane has 8 elements of a row.
  void consume() const {
    const int row = (warp_ - 1) * 4 + lane_ / 8;
    const int chunk = lane_ % 8;
    device::barrier_wait(factors_full(), 0);
    const SharedAddress factors = base_ + factors_at + 32 * static_cast<unsigned>(chunk);
    for (int i = 0; i < args_.tiles; ++i) {
      const int stage = i % stages;
      device::barrier_wait(full(stage), i / stages % 2);
      const auto words =
          device::load_shared_words<4>(tile(stage) + static_cast<unsigned>(row * 128 + (chunk ^ row) * 16));
      float sum = 0.0f;
      for (int word = 0; word < 4; ++word) {
        const auto factor = device::load_shared_2(factors + 8 * static_cast<unsigned>(word));
        sum = device::fma(device::low_half<device::bf16>(words[word]), factor[0], sum);
        sum = device::fma(device::high_half<device::bf16>(words[word]), factor[1], sum);
      }
      device::barrier_arrive(empty(stage));
      device::barrier_wait(partials_empty(), (i + 1) % 2);
      device::store_shared(partial(row * 8 + chunk), sum);
      device::barrier_arrive(partials_full());
    }
  }

  void reduce() const {
    for (int i = 0; i < args_.tiles; ++i) {
      const int owner = i % args_.blocks;
      device::barrier_wait(partials_full(), i % 2);
      float sum = 0.0f;
      for (int chunk = 0; chunk < 8; ++chunk) sum += device::load_shared(partial(lane_ % rows * 8 + chunk));
      device::barrier_arrive(partials_empty());
      device::Vector<float, 4> four;
      for (int k = 0; k < 4; ++k) four[k] = device::shuffle(sum, lane_ % 2 * 4 + k);
      if (lane_ >= 2) continue;
      const int turn = i / args_.blocks;
      if (turn > 0) {
        if (lane_ == 0) device::barrier_arrive_expect(credit(owner), 16);
        device::barrier_wait_cluster(credit(owner), (turn - 1) % 2);
      }
      device::send(device::in_block(exchanged(rank_, lane_ * 4), owner), four,
                   device::in_block(exchange_full(), owner));
    }
  }

  void finish() const {
    for (int i = rank_; i < args_.tiles; i += args_.blocks) {
      const int turn = i / args_.blocks;
      if (lane_ == 0) device::barrier_arrive_expect(exchange_full(), args_.blocks * rows * 4);
      device::barrier_wait_cluster(exchange_full(), turn % 2);
      // Lane 0 has stored the sums that stood in this place; lane 1 has added those of the tile before.
      if (lane_ == 0) device::store_wait_read<1>();
      if (lane_ == 1) device::store_wait<0>();
      device::warp_barrier();
      if (lane_ < rows) {
        float sum = 0.0f;
        for (int rank = 0; rank < args_.blocks; ++rank) sum += device::load_shared(exchanged(rank, lane_));
        device::store_shared(staged(turn) + 4 * static_cast<unsigned>(lane_), sum);
        device::copy_fence();
      }
      device::warp_barrier();
      if (lane_ == 0) device::store_box(args_.out, 0, i, 0, staged(turn));
      if (lane_ == 1) device::add_box(args_.totals, 0, rank_, 0, staged(turn));
      device::store_commit();
      // A block that sends again waits for the credit; nobody would wait for the last one.
      if (lane_ < args_.blocks && i + args_.blocks < args_.tiles)
        device::send(device::in_block(base_ + credit_at + 16 * static_cast<unsigned>(rank_), lane_), {},
                     device::in_block(credit(rank_), lane_));
    }
    device::store_wait_read<0>();
  }

  const Args& args_;
  SharedAddress base_;
  int rank_;
  int warp_;
  int lane_;
};

}  // namespace ring
