// A place in a ring of stages that a pipeline passes again and again, and the parity of its present use, which is what
// the barriers of the stage are waited for with.
#pragma once

#include <device/device.cuh>

template <int size>
struct RingPosition {
  int index = 0;
  int parity = 0;

  MHCJIT_DEVICE void advance(int by = 1) {
    index += by;
    if (index >= size) {
      index -= size;
      parity ^= 1;
    }
  }
};
