// The columns of a warp that exist, counted from its first.
#pragma once

#include <device/device.cuh>

struct ColumnRange {
  int begin;
  int end;

  // One condition and not two in turn: loads that depend on it are then under way together.
  MHCJIT_DEVICE bool contains(int column) const { return (column >= begin) & (column < end); }
  MHCJIT_DEVICE ColumnRange counted_from(int column) const { return {begin - column, end - column}; }
};
