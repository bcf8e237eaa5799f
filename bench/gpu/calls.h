// One call of an operator with all its tensors on the device, each between guard words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gpu/device_buffer.h"
#include "mhcjit/mhcjit.h"
#include "oracle/pre.h"
#include "oracle/random_inputs.h"
#include "oracle/storage.h"

namespace mhcjit::gpu {

// Storage bytes by the tensor's name in mhcjit.h.
using Tensors = std::map<std::string, std::vector<std::byte>, std::less<>>;

// A problem with its T and its random inputs.
struct Case {
  oracle::RandomOptions random;
  bool batch_invariant = false;
  bool fp32_dx = false;  // of the operators that have dx
  // Alignment of every tensor, where it is more than the interface asks for; an allocator gives 256.
  std::size_t least_alignment = 1;

  const oracle::Shape& shape() const { return random.shape; }
  oracle::DTypes dtypes() const { return {random.dtype, fp32_dx}; }
};

std::string to_string(const Case& item);
mhcjit_problem problem_of(const Case& item, mhcjit_op op);

class Call {
 public:
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  virtual mhcjit_status run(CUstream stream = nullptr) const = 0;
  // With overlap_previous.
  virtual mhcjit_status run_overlapped(CUstream stream) const = 0;
  // The operator's public argument struct.
  virtual const void* arguments() const = 0;

  // Before every run: fills the outputs that are not accumulated into, and the workspace, with `byte`.
  void poison(unsigned char byte = 0xff) const;
  Tensors outputs() const;
  // The tensor around which something was written; "" when there is none.
  std::string damaged() const;

  const DeviceBuffer& buffer(std::string_view tensor) const { return buffers_.at(std::string(tensor)); }
  bool has(std::string_view tensor) const { return buffers_.contains(tensor); }
  // The values of these tokens, in the order given, of a tensor that has a row for each token.
  std::vector<double> rows_of(std::string_view tensor, std::span<const std::int64_t> tokens) const;
  std::vector<double> values_of(std::string_view tensor) const;

 protected:
  Call(const Gpu& gpu, const Case& item, const mhcjit_operator* op) : gpu_(gpu), case_(item), op_(op) {}

  enum class Use { input, output, accumulated, workspace };
  void* add(const char* tensor, std::int64_t count, Use use);
  void* add_input(const char* tensor, std::span<const double> values);
  void* add_workspace(std::size_t& bytes);

  const Gpu& gpu_;
  const Case case_;
  const mhcjit_operator* const op_;

 private:
  std::vector<double> values_in(std::string_view tensor, std::size_t offset, std::size_t bytes) const;

  std::map<std::string, DeviceBuffer, std::less<>> buffers_;
  std::map<std::string, Use, std::less<>> uses_;
};

}  // namespace mhcjit::gpu
